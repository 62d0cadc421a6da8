//! The ways to the plugins that listen, for whoever speaks to them beside their links: health probes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::process::ports::Door;

/// The doors of one host's processes, by the main process's number.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    all: Mutex<HashMap<u32, Door>>,
}

impl Doors {
    /// A process listens.
    pub(super) fn put(&self, door: &Door) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).insert(door.pid(), door.clone());
    }

    /// A process has ended, or does not matter any more.
    pub(super) fn remove(&self, door: &Door) {
        // Its number may be that of another process by now.
        self.all.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, other| !other.is(door));
    }

    /// The way to a process.
    pub(crate) fn get(&self, pid: u32) -> Option<Door> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).get(&pid).cloned()
    }
}
