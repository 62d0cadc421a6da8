//! A process tree that cannot outlive us.

pub mod logs;

/// The first line of `main` of every program that embeds a host: in a shim it never returns.
pub fn init() {}
