//! What the handle of a plugin and the supervisors of its instances share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Notify, Semaphore, watch};
use wharf_core::lifecycle::State;
use wharf_core::{InstanceNo, PluginId};

use super::drift::ListsChange;
use super::instance::InstanceHandle;
use super::memory::Record;
use super::open_tasks::OpenTasks;
use super::versions::Versions;
use super::watch::Watch;
use crate::process::logs::LogBook;

/// What a plugin's supervisors share with its handle.
pub(crate) struct PluginCore {
    pub(crate) id: PluginId,
    pub(crate) log: Arc<LogBook>,
    /// What it offers, by its last proof or by what is remembered of one.
    pub(super) record: ArcSwapOption<Record>,
    /// Which version that is of, and what another one offers.
    pub(super) versions: Versions,
    pub(crate) watch: Arc<Watch>,
    /// Bumped with every snapshot of an instance, for those who wait for a change.
    pub(super) changed: watch::Sender<u64>,
    pub(super) roster: ArcSwap<Vec<InstanceHandle>>,
    /// Held while a supervisor decides and shows what it decided, so that two instances that end at the same moment see each
    /// other. Never held over an await.
    pub(super) deciding: Mutex<()>,
    /// Leave to start, for the instances of this plugin.
    pub(super) starts: Arc<Semaphore>,
    /// When what it lists was last something else.
    pub(crate) drift: ArcSwapOption<ListsChange>,
    /// Its tasks that have not ended.
    pub(crate) tasks: OpenTasks,
    /// Sessions that have an instance of their own.
    pub(super) sessions: AtomicUsize,
    /// Rung when a call leaves an instance.
    pub(super) freed: Arc<Notify>,
}

/// Instances of one plugin that may be on their way up at the same time; what hangs in its start leaves room for others.
const STARTS: usize = 8;
/// The longest detail of a cause, bytes. What a plugin says in it may be of any length.
const DETAIL: usize = 2048;

impl PluginCore {
    pub(super) fn new(id: PluginId, log: Arc<LogBook>) -> Self {
        Self {
            id,
            log,
            record: ArcSwapOption::empty(),
            versions: Versions::default(),
            watch: Arc::default(),
            changed: watch::Sender::new(0),
            roster: ArcSwap::default(),
            deciding: Mutex::default(),
            starts: Arc::new(Semaphore::new(STARTS)),
            drift: ArcSwapOption::empty(),
            tasks: OpenTasks::default(),
            sessions: AtomicUsize::new(0),
            freed: Arc::default(),
        }
    }

    /// A text that a plugin may have had a part in, fit to be shown: without secrets, and short.
    pub(crate) fn clean(&self, text: &str) -> String {
        let text = self.log.clean(text);
        let end = text.floor_char_boundary(DETAIL);
        match text.get(..end) {
            Some(start) if end < text.len() => format!("{start}.."),
            Some(_) | None => text.into_owned(),
        }
    }

    pub(super) fn bump(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    /// Whether it is in use beside calls.
    pub(super) fn is_held(&self) -> bool {
        self.sessions.load(Ordering::Acquire) > 0 || self.tasks.any() || self.watch.holds()
    }

    /// Whether, of several instances, no other one serves, however it does.
    pub(super) fn is_only_one_up(&self, n: InstanceNo) -> bool {
        let roster = self.roster.load();
        let is_up = |other: &InstanceHandle| matches!(other.now().state, State::Ready | State::Degraded);
        roster.len() > 1 && !roster.iter().any(|other| other.n != n && is_up(other))
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
                    | State::Stopping
            )
        };
        let serves = |other: &InstanceHandle| {
            let now = other.now();
            now.wanted && serviceable(now.state)
        };
        roster.len() > 1 && !roster.iter().any(|other| other.n != n && serves(other))
    }
}
