//! A plugin at run time: its instances, their supervisors, and what can be read of them.
//!
//! One task owns each instance ([`supervisor`]); everyone else holds an [`instance::InstanceHandle`]: commands go in,
//! snapshots come out. No frame of a call ever passes through a supervisor: the router takes the link from the snapshot.

pub(crate) mod asking;
pub mod asks;
mod canary;
mod commands;
pub(crate) mod core;
mod drift;
pub(crate) mod effects;
mod exits;
mod face;
mod fetchers;
pub(crate) mod fuse;
pub(crate) mod gate;
pub(crate) mod handle;
pub(crate) mod inbox;
pub(crate) mod instance;
pub(crate) mod kinds;
mod liveness;
pub(crate) mod memory;
pub(crate) mod meters;
pub(crate) mod notice;
pub(crate) mod open_tasks;
mod outcome;
pub(crate) mod own;
pub(crate) mod picking;
mod pins;
mod place;
pub(crate) mod probe;
pub(crate) mod prove;
mod report;
pub(crate) mod retries;
mod roster;
pub(crate) mod services;
pub(crate) mod sleep;
pub(crate) mod supervisor;
mod tend;
#[cfg(test)]
pub(crate) mod testkit;
#[cfg(test)]
mod tests;
mod upgrade;
mod versions;
pub mod view;
pub(crate) mod visit;
pub(crate) mod watch;

pub use drift::ListsChange;
pub(crate) use handle::PluginHandle;
pub(crate) use instance::{InstanceHandle, Setup, Snapshot};
pub(crate) use kinds::verdicts::Verdicts;
pub(crate) use memory::{Memory, Record};
pub(crate) use services::Services;
pub use view::{BreakerView, InstanceView, LastExit, OperationView, PluginView, ReplicasView, UpgradeView};
pub use visit::Ask;
