//! The fault suite: every way in which a plugin, a host or a machine goes wrong that we could think of, and what must
//! come of it. Each case is a test whose name begins with its number; its doc tells the fault and the expected outcome.
//!
//! What a run measured is kept in the build's folder (`faults/`, one file a row); with `WHARF_BLESS=1` it is written to
//! `RESULTS.md` beside this file. Figures are measured, not judged: a test waits for a state, within a generous bound.
//! `WHARF_CHAOS_SECONDS` and `WHARF_CHAOS_SEED` are for the random runs: F72 (60 s) and the history of calls (20 s).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic, and tells on stderr what it skips and what a host said before it failed"
)]

#[path = "../e2e/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the end-to-end tests, which use all of it")]
mod support;

mod harness;

mod admission;
mod answers;
mod beside;
mod chaos;
mod containment;
mod deaths;
mod fate;
mod history;
mod journal;
mod limits;
mod noise;
mod routing;
mod starts;
mod state;
mod time;
mod trees;
mod upgrade;
