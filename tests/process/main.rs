//! Real processes under a real shim: they start as asked, end as asked, and never outlive the host.
//!
//! Every wait is on a state, with a bound. The wharf binary serves as the shim; `host_program` is this test binary again,
//! as a host that can be killed.

mod harness;

mod containment;
mod lifecycle;
mod output;
