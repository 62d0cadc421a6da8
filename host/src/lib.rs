//! wharf: a plugin host. (Theory of operation: to come.)

pub mod cli;
pub(crate) mod dialect;
pub mod events;
pub mod host;
pub mod manifest;
pub mod mock;
pub mod native;
pub mod plugin;
pub mod process;
pub mod route;
pub mod serve;
pub mod tasks;
pub mod telemetry;

pub use host::Host;
