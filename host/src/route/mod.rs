//! The one path of a call: resolve, admit, pick, attempt, settle.

pub mod failure;
pub mod spec;

pub use failure::{Failure, FieldError};
pub use spec::{CallEvent, CallSpec, Settled};
