//! Clients and servers of other hands with the host in the middle, and a crowd of sessions on one plugin.
//!
//! `matrix` puts every client on every endpoint against every upstream; `crowd` checks that what belongs to one session
//! of many reaches that session and no other; `roots` that a server which asks for roots is told its own client's.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic, and tells on stderr what a host said before it failed"
)]

#[path = "../e2e/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the end-to-end tests, which use all of it")]
mod support;

mod clients;
mod crowd;
mod matrix;
mod roots;
mod upstreams;
mod wire;
