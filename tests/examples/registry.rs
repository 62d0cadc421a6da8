//! Tests of `examples/registry`: the registry as a plugin and as a server outside, on SQLite and on a stand-in for MongoDB;
//! its agents and the agent that finds them; and its deployment.

mod agents;
mod deploy;
mod mongo;
mod nginx;
mod outside;
mod plugin;
mod running;
mod setup;
