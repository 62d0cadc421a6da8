//! The decisions of wharf.
//!
//! Invariant: this crate depends on no tokio, reads no clock, no file, no socket and no environment. Time comes in as a
//! [`Moment`], randomness as a number, bytes as slices. What it returns are values and effects that `wharf` carries out.
//! So every decision can be tested with any order of events, stale and repeated ones included.

pub mod admit;
pub mod ask;
pub mod backoff;
pub mod breaker;
pub mod bucket;
pub mod budget;
pub mod catalog;
pub mod code;
pub mod digits;
pub mod frame;
pub mod hints;
pub mod id;
pub mod idempotency;
pub mod journal;
pub mod launcher;
pub mod lifecycle;
pub mod manifest;
pub mod meter;
pub mod moment;
pub mod names;
pub mod outcome;
pub mod pick;
pub mod settle;
pub mod slot;
pub mod splice;
pub mod spread;
pub mod sse;
pub mod tool_error;
pub mod trace_context;
pub mod upgrade;

pub use code::Code;
pub use id::{CallId, Generation, InstanceNo, PluginId};
pub use moment::Moment;
pub use outcome::Outcome;
pub use slot::{Revision, Role, Slot};
