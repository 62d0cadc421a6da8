//! Which instance takes a call, by what each of them shows at the moment: the pure choice is [`wharf_core::pick`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;
use wharf_core::InstanceNo;
use wharf_core::pick::{Candidate, Outlook, outlook, pick};
use wharf_plugin_api::Link;

use super::PluginHandle;
use super::instance::{InFlight, InstanceHandle, Snapshot};

/// An instance that takes a call, counted in as long as this lives.
pub(crate) struct Picked {
    pub(crate) n: InstanceNo,
    pub(crate) link: Arc<dyn Link>,
    pub(crate) instance: InstanceHandle,
    _inflight: InFlight,
}

impl Picked {
    pub(super) fn new(instance: InstanceHandle, link: Arc<dyn Link>, inflight: InFlight) -> Self {
        Self { n: instance.n, link, instance, _inflight: inflight }
    }
}

impl PluginHandle {
    /// Picks an instance for a call and counts the call in. `None`: none serves, or all that do are full.
    pub(crate) fn pick(&self) -> Option<Picked> {
        let manifest = self.manifest.load();
        let manifest = manifest.as_ref()?;
        let limit = manifest.limits.concurrency as usize;
        let instances = self.core.roster.load();
        // Another round only if the choice was overtaken; then what was chosen is no longer a candidate.
        loop {
            let snapshots: Vec<Arc<Snapshot>> = instances.iter().map(InstanceHandle::now).collect();
            let candidates: Vec<Candidate> = snapshots
                .iter()
                .zip(instances.iter())
                .map(|(snapshot, instance)| {
                    let inflight = instance.load.inflight();
                    Candidate {
                        state: snapshot.state,
                        linked: snapshot.link.is_some() && inflight < limit,
                        inflight,
                    }
                })
                .collect();
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let instance = instances.get(pick(&candidates, manifest.balance, turn)?)?.clone();
            let Some(inflight) = instance.load.enter(limit) else { continue };
            // Counted in before it is looked at again: a drain that begins now waits for this call.
            let Some(link) = instance.now().link.clone() else { continue };
            return Some(Picked::new(instance, link, inflight));
        }
    }

    /// Rung when a call leaves one of its instances.
    pub(crate) fn freed(&self) -> Arc<Notify> {
        Arc::clone(&self.core.freed)
    }

    /// Whether it is worth waiting for it.
    pub(crate) fn outlook(&self) -> Outlook {
        let wait = self
            .instances()
            .iter()
            .map(InstanceHandle::now)
            .any(|now| outlook(now.state, now.wanted) == Outlook::Wait);
        if wait { Outlook::Wait } else { Outlook::Fail }
    }
}
