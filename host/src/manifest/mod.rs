//! Manifests: read, checked, watched.

#![allow(dead_code)]
mod problem;
mod render;
mod syntax;
mod tree;

pub use problem::{Place, Problem, ProblemCode, ProblemView, Severity, Source};
pub use render::render;
