//! What the handle of a plugin and the supervisors of its instances share.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;
use wharf_core::lifecycle::State;
use wharf_core::{InstanceNo, PluginId};

use super::instance::InstanceHandle;
use super::prove::Proof;
use super::services::Services;
use crate::process::logs::LogBook;

/// What a plugin's supervisors share with its handle.
pub(crate) struct PluginCore {
    pub(crate) id: PluginId,
    pub(crate) log: Arc<LogBook>,
    pub(super) proof: ArcSwapOption<Proof>,
    /// Bumped with every snapshot of an instance, for those who wait for a change.
    pub(super) changed: watch::Sender<u64>,
    pub(super) roster: ArcSwap<Vec<InstanceHandle>>,
}

impl PluginCore {
    pub(super) fn bump(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    pub(super) fn publish_proof(&self, proof: Proof, services: &Services) {
        self.proof.store(Some(Arc::new(proof)));
        services.catalog_dirty.notify_one();
    }

    /// Whether, of several instances, no other one serves or is about to.
    pub(super) fn is_last_serviceable(&self, n: InstanceNo) -> bool {
        let roster = self.roster.load();
        let serviceable = |state: State| {
            matches!(
                state,
                State::Ready
                    | State::Degraded
                    | State::Starting
                    | State::Preparing
                    | State::Backoff
                    | State::Draining
            )
        };
        roster.len() > 1 && !roster.iter().any(|other| other.n != n && serviceable(other.now().state))
    }
}
