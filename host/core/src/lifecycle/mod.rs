//! The lifecycle of an instance.

pub mod state;

pub use state::State;
