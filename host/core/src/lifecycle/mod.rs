//! The life of an instance, as a pure state machine: [`Machine::on`] takes an event and the time and returns effects;
//! [`Machine::next_deadline`] says when it wants to hear [`Event::Tick`].
//!
//! ```text
//! stopped --start--> preparing --> starting (open, then prove) --> ready <--> degraded
//!    ^                   |            |                             |  |        |
//!    |                   v            v            drain: draining <+  | end    | probes fail
//!    +----- stop ---- backoff <---- stopping <-------------------------+--------+
//!                    quarantined  (until nothing of the generation is left)
//!                    fatal
//! ```
//!
//! The rules that its property test holds for any order of events, stale and repeated ones included:
//! * a generation begins only when the one before is gone;
//! * calls are let in only between a proof and the end of serving;
//! * from the loss of its connection on, none is let in;
//! * what sleeps is on its way up after a call's word, however its end was going on;
//! * an event of another generation changes nothing;
//! * every state that waits for time has a deadline, and every effect is asked for exactly when it is due.

mod counters;
mod down;
mod event;
mod machine;
mod operator;
mod sleep;
pub mod state;
#[cfg(test)]
mod tests;
mod up;

pub use counters::Counters;
pub use event::{Context, Effect, Event};
pub use machine::{Machine, Policy};
pub use state::State;
