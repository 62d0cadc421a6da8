//! Real processes under a real shim: they start as asked, end as asked, and never outlive the host.
//!
//! Every wait is on a state, with a bound. The wharf binary serves as the shim; `host_program` is this test binary again,
//! as a host that can be killed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test's helpers fail as its assertions do, and tell what the machine does not allow"
)]

mod harness;

mod containment;
mod groups;
mod ipc;
mod lifecycle;
mod limits;
mod memory;
mod network;
mod output;
mod sandbox;
mod undone;
