//! A plugin at run time: its instances, their supervisors, and what can be read of them.

pub mod view;

pub use view::{InstanceView, LastExit, OperationView, PluginView};
