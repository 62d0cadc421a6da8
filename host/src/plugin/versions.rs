//! What the versions of a plugin list that run beside each other: one is shown, the other is kept until it takes over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wharf_core::Revision;

use super::core::PluginCore;
use super::memory::Record;
use super::services::Services;

/// The versions of one plugin.
#[derive(Debug, Default)]
pub(super) struct Versions {
    state: Mutex<State>,
    muted: Arc<Muted>,
}

#[derive(Debug, Default)]
struct State {
    serving: Revision,
    other: Option<(Revision, Arc<Record>)>,
}

/// The version that takes no calls beside another: what it says outside of calls the other one says too. 0: none.
#[derive(Debug, Default)]
pub(super) struct Muted(AtomicU64);

/// What became of a proof.
pub(super) enum Published {
    /// It is what the plugin offers, in the place of this one.
    Shown(Option<Arc<Record>>),
    /// It is of a version that takes no calls now.
    Kept,
}

impl Muted {
    pub(super) fn is(&self, revision: Revision) -> bool {
        self.0.load(Ordering::Relaxed) == revision.0
    }
}

impl Versions {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn muted(&self) -> Arc<Muted> {
        Arc::clone(&self.muted)
    }

    /// This version is not heard; `None`: all are.
    pub(super) fn mute(&self, revision: Option<Revision>) {
        self.muted.0.store(revision.map_or(0, |revision| revision.0), Ordering::Relaxed);
    }
}

impl PluginCore {
    /// An instance of this version lists this now.
    pub(super) fn publish_proof(
        &self,
        revision: Revision,
        record: Arc<Record>,
        services: &Services,
    ) -> Published {
        let mut state = self.versions.state();
        if revision != state.serving {
            state.other = Some((revision, record));
            return Published::Kept;
        }
        let before = self.record.swap(Some(record));
        drop(state);
        services.catalog_dirty.notify_one();
        Published::Shown(before)
    }

    /// What a version that takes no calls lists.
    pub(super) fn kept_of(&self, revision: Revision) -> Option<Arc<Record>> {
        self.versions
            .state()
            .other
            .as_ref()
            .filter(|(of, _)| *of == revision)
            .map(|(_, kept)| Arc::clone(kept))
    }

    /// The version takes over, with what it lists; `with` is done at the same moment.
    pub(super) fn show(&self, to: Revision, with: impl FnOnce()) {
        let mut state = self.versions.state();
        let from = std::mem::replace(&mut state.serving, to);
        if let Some((_, record)) = state.other.take_if(|(of, _)| *of == to) {
            state.other = self.record.swap(Some(record)).map(|record| (from, record));
        }
        with();
    }

    /// There is no other version any more; what is launched from now on is this one.
    pub(super) fn settle(&self, revision: Revision) {
        let mut state = self.versions.state();
        (state.serving, state.other) = (revision, None);
        self.versions.mute(None);
    }

    /// Looks while no version takes over.
    pub(super) fn between<T>(&self, look: impl FnOnce() -> T) -> T {
        let _state = self.versions.state();
        look()
    }
}
