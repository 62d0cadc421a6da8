//! The examples, as their users run them: each is started by `wharf up` from the manifest in its folder, called over REST
//! and MCP, killed, seen to recover, and stopped with nothing left.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic, and tells on stderr what a host said before it failed"
)]

#[path = "../e2e/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the end-to-end tests, which use all of it")]
mod support;

mod agent;
mod incidents;
mod linkedin;
mod messenger;
mod registry;
mod wrapper;

use std::io::Write as _;

/// Tells what is not tested on this machine, and why. Not by `eprintln!`, which the test runner keeps to itself while a
/// test passes.
fn skipped(what: &str) {
    writeln!(std::io::stderr(), "\nSKIPPED: {what}").ok();
}
