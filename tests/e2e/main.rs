//! End-to-end tests: the real binary, real processes, real sockets. They know the documented surface only (manifests,
//! REST, command line) and nothing of the host's insides.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic, and tells on stderr what a host said before it failed"
)]

mod support;

mod admission;
mod bad_manifest;
mod bad_server;
mod calls;
mod cli;
mod crowd;
mod doctor;
mod drain;
mod eras;
mod fetching;
mod fidelity;
mod foreign;
mod groups;
mod idempotency;
mod isolation;
mod lazy;
mod lifecycle;
mod mcp_http;
mod mcp_sse;
mod mcp_stdio;
mod metrics;
mod native;
mod network;
mod operations;
mod places;
mod processes;
mod real;
mod remote;
mod rest_calls;
mod rest_door;
mod rest_feeds;
mod sandbox;
mod selftest;
mod shipped;
mod tasks;
mod traces;
mod upgrades;
