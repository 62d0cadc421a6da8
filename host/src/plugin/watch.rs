//! What the clients of a plugin want to be told of: resources and log messages. Wants are counted here; the plugin is told
//! their union ([`super::tend`]), in the words of its era, and told again after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use wharf_core::InstanceNo;
use wharf_plugin_api::RpcError;

/// Resources of one plugin that are watched at the same time; what a plugin is told after a restart is bounded by it.
const MOST: usize = 4096;
/// The severity of `info`. A plugin is never told to say less: clients that set no level share it, and are told from there up.
pub(super) const INFO: u8 = 1;

/// The wants of one plugin's clients.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    wants: Mutex<Wants>,
    /// Bumped with every change of the union.
    changed: watch::Sender<u64>,
    /// The version of the union that each shared instance which serves was told; `None`: none yet.
    reached: watch::Sender<BTreeMap<InstanceNo, Option<u64>>>,
}

#[derive(Debug, Default)]
struct Wants {
    counts: BTreeMap<Wanted, usize>,
    /// What the plugin would not do, with its answer.
    refused: BTreeMap<Wanted, RpcError>,
}

/// Something that a plugin can be asked to tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wanted {
    /// Changes of this resource (its URI at the plugin).
    Resource(String),
    /// What becomes of this task (its id at the plugin).
    Task(String),
    /// Log messages from this severity up: 0 is `debug`, 7 is `emergency`. The lowest counts, and `info` at least.
    Logs(u8),
}

/// A want; dropping it takes it back.
#[derive(Debug)]
pub(crate) struct Want {
    watch: Arc<Watch>,
    wanted: Wanted,
    /// Beyond the bound it is not.
    counted: bool,
}

/// All wants together, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Union {
    pub(super) version: u64,
    pub(super) resources: BTreeSet<String>,
    pub(super) tasks: BTreeSet<String>,
    /// The lowest level that is wanted.
    pub(super) logs: Option<u8>,
}

/// An instance that serves, as long as this lives.
pub(super) struct Serving {
    watch: Arc<Watch>,
    n: InstanceNo,
    /// One that only its own session uses is not waited for.
    counts: bool,
}

// === impl Watch ===

impl Watch {
    /// Wants this from now on.
    pub(crate) fn want(self: &Arc<Self>, wanted: Wanted) -> Want {
        let mut wants = self.wants.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !wants.counts.contains_key(&wanted);
        let counted = !is_new || wants.counts.len() < MOST;
        if counted {
            *wants.counts.entry(wanted.clone()).or_default() += 1;
        }
        if counted && is_new {
            self.changed.send_modify(|version| *version += 1);
        }
        Want { watch: Arc::clone(self), wanted, counted }
    }

    /// Resolves when what is wanted now has reached the plugin, each shared instance of it that serves: true if it did so in
    /// time. What a plugin refused has reached it too ([`Want::refusal`]).
    pub(crate) async fn told(&self, within: Duration) -> bool {
        let version = *self.changed.borrow();
        let all = |reached: &BTreeMap<InstanceNo, Option<u64>>| {
            !reached.is_empty() && reached.values().all(|told| told.is_some_and(|told| told >= version))
        };
        let mut reached = self.reached.subscribe();
        tokio::time::timeout(within, reached.wait_for(all)).await.is_ok_and(|told| told.is_ok())
    }

    /// Resolves when what is wanted now has reached each shared instance that serves now, or the time is over. What does not
    /// serve is told before it does.
    pub(crate) async fn taken(&self, within: Duration) {
        let version = *self.changed.borrow();
        let all =
            |reached: &BTreeMap<InstanceNo, Option<u64>>| reached.values().all(|told| *told >= Some(version));
        let mut reached = self.reached.subscribe();
        tokio::time::timeout(within, reached.wait_for(all)).await.ok();
    }

    /// What is wanted now.
    pub(super) fn union(&self) -> Union {
        let wants = self.wants.lock().unwrap_or_else(PoisonError::into_inner);
        // Changed under the lock only.
        let mut union = Union { version: *self.changed.borrow(), ..Union::default() };
        for wanted in wants.counts.keys() {
            match wanted {
                Wanted::Resource(uri) => drop(union.resources.insert(uri.clone())),
                Wanted::Task(id) => drop(union.tasks.insert(id.clone())),
                Wanted::Logs(level) => {
                    union.logs = Some(union.logs.unwrap_or(INFO).min(*level));
                }
            }
        }
        union
    }

    /// Whether somebody waits for what only a running plugin can tell. Log messages are listened to by the way.
    pub(super) fn holds(&self) -> bool {
        let wants = self.wants.lock().unwrap_or_else(PoisonError::into_inner);
        wants.counts.keys().any(|wanted| matches!(wanted, Wanted::Resource(_) | Wanted::Task(_)))
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// An instance begins to serve; it has been told nothing.
    pub(super) fn serving(self: &Arc<Self>, n: InstanceNo, is_shared: bool) -> Serving {
        if is_shared {
            self.reached.send_modify(|reached| {
                reached.insert(n, None);
            });
        }
        Serving { watch: Arc::clone(self), n, counts: is_shared }
    }

    /// What the plugin answered to a want: `None` if it does it.
    fn answered(&self, uri: &str, refusal: Option<RpcError>) {
        let wanted = Wanted::Resource(uri.to_owned());
        let mut wants = self.wants.lock().unwrap_or_else(PoisonError::into_inner);
        match refusal.filter(|_| wants.counts.contains_key(&wanted)) {
            Some(refusal) => drop(wants.refused.insert(wanted, refusal)),
            None => drop(wants.refused.remove(&wanted)),
        }
    }
}

// === impl Serving ===

impl Serving {
    /// What the plugin answered to a want: `None` if it does it. What an instance of one session does decides nothing for
    /// those who share the others.
    pub(super) fn answered(&self, uri: &str, refusal: Option<RpcError>) {
        if self.counts {
            self.watch.answered(uri, refusal);
        }
    }

    /// This version of the union has reached it.
    pub(super) fn reached(&self, version: u64) {
        if self.counts {
            self.watch.reached.send_modify(|reached| {
                reached.insert(self.n, Some(version));
            });
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.counts {
            self.watch.reached.send_modify(|reached| {
                reached.remove(&self.n);
            });
        }
    }
}

// === impl Want ===

impl Want {
    /// Why the plugin does not do it; `None`: it does, or was not told yet ([`Watch::told`]).
    pub(crate) fn refusal(&self) -> Option<RpcError> {
        if !self.counted {
            let text = format!("{MOST} resources of this plugin are watched already");
            return Some(RpcError::new(RpcError::INTERNAL, text));
        }
        self.watch.wants.lock().unwrap_or_else(PoisonError::into_inner).refused.get(&self.wanted).cloned()
    }
}

impl Drop for Want {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        let mut wants = self.watch.wants.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = wants.counts.get_mut(&self.wanted) else { return };
        *count -= 1;
        if *count == 0 {
            wants.counts.remove(&self.wanted);
            wants.refused.remove(&self.wanted);
            self.watch.changed.send_modify(|version| *version += 1);
        }
    }
}
