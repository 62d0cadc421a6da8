//! The lifecycle without a runtime: a world that carries out the effects, any order of events, and single courses.

mod any_order;
mod cases;
mod fetching;
mod sleep;
mod world;
