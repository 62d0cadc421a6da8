//! An instance as everyone but its supervisor sees it.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use wharf_core::lifecycle::{Event, State};
use wharf_core::manifest::Manifest;
use wharf_core::{Generation, InstanceNo, Moment, Revision, Slot};
use wharf_plugin_api::{Cause, Hello, Link, Plugin};

use super::exits::Exits;
use super::face::Face;
use super::fuse::Fuse;

/// What an instance is launched from.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) plugin: Arc<dyn Plugin>,
    /// Which contents these are; given when it is seen that they are others.
    pub(crate) revision: Revision,
}

/// The state of an instance at one moment. Never changed, only replaced.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) state: State,
    pub(crate) since: Moment,
    pub(crate) cause: Option<Cause>,
    pub(crate) next_attempt: Option<Moment>,
    pub(crate) generation: Generation,
    /// What the generation was launched from.
    pub(crate) revision: Revision,
    pub(crate) restarts: u64,
    /// Whether it is meant to be up.
    pub(crate) wanted: bool,
    /// It waits for a call, or will once its end is over.
    pub(crate) asleep: bool,
    /// In quarantine, or on probation after it.
    pub(crate) quarantined: bool,
    pub(crate) pid: Option<u32>,
    pub(crate) port: Option<u16>,
    /// Takes calls; there only while it serves.
    pub(crate) link: Option<Arc<dyn Link>>,
    /// What the last handshake proved.
    pub(crate) hello: Option<Arc<Hello>>,
    /// Its last deaths.
    pub(crate) exits: Exits,
}

/// A word to a supervisor. The answer comes when the snapshot shows it.
pub(crate) enum Command {
    /// What an operator asks for.
    Operator(Event, oneshot::Sender<()>),
    /// Go by this from now on.
    Configure {
        /// The new setup.
        setup: Setup,
        /// What runs must be started anew for it, once its calls have ended.
        renew: bool,
    },
    /// End, for this reason, and let the supervisor end.
    Retire(&'static str),
    /// Likewise, once the calls in flight have ended or had their time.
    Leave(&'static str),
}

/// The handle of an instance. Cheap to clone; the supervisor lives as long as it is not retired.
#[derive(Clone)]
pub(crate) struct InstanceHandle(Arc<Shared>);

/// What all handles of an instance share.
pub(crate) struct Shared {
    pub(crate) n: InstanceNo,
    /// Its place.
    pub(crate) slot: Slot,
    pub(crate) snapshot: watch::Receiver<Arc<Snapshot>>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) load: Arc<Load>,
    /// What the choice of an instance looks at.
    pub(super) face: Arc<Face>,
    /// Whether calls are led to it.
    pub(crate) fuse: Arc<Fuse>,
    /// Rung by a call that wants it while it sleeps.
    pub(super) wake: Arc<Notify>,
}

/// The calls of an instance, counted by the callers themselves.
#[derive(Debug)]
pub(crate) struct Load {
    inflight: AtomicUsize,
    /// Those of them whose clients are asked.
    asking: AtomicUsize,
    answered: AtomicU64,
    born: Instant,
    /// When the last call left, milliseconds after the birth.
    left: AtomicU64,
    idle: Notify,
    /// Rung when a call leaves, for those who wait for a free place.
    freed: Arc<Notify>,
}

/// A call in flight; dropping it takes it off the count.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Load>);

/// How an instance begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// It is started as soon as its place is free.
    Up,
    /// It waits for its first call.
    Asleep,
    /// It waits for an operator's start.
    Down,
    /// It is switched off.
    Off,
}

/// What had a place before: nothing starts in it until that is gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Predecessors {
    /// Plugins of the same id that were removed.
    pub(crate) plugins: Vec<watch::Receiver<bool>>,
    /// The instance that had the same number.
    pub(crate) instance: Option<InstanceHandle>,
}

// === impl Setup ===

impl Setup {
    /// Of a manifest that is not compared with another one yet.
    pub(crate) fn new(manifest: Arc<Manifest>, plugin: Arc<dyn Plugin>) -> Self {
        Self { manifest, plugin, revision: Revision::default() }
    }
}

// === impl Predecessors ===

impl Predecessors {
    /// Resolves when nothing of them is left, with the last generation of the place.
    pub(super) async fn gone(mut self) -> Generation {
        for plugin in &mut self.plugins {
            // A sender that is gone has nothing left either.
            plugin.wait_for(|gone| *gone).await.ok();
        }
        let Some(instance) = &self.instance else { return Generation::default() };
        instance.commands.closed().await;
        instance.now().generation
    }
}

// === impl InstanceHandle ===

impl Deref for InstanceHandle {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl InstanceHandle {
    pub(super) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// The state now.
    pub(crate) fn now(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Gives an operator's word and waits until the snapshot shows its first effect.
    pub(crate) async fn operate(&self, event: Event) {
        let (done, shown) = oneshot::channel();
        // A supervisor that is gone has nothing left to operate.
        if self.commands.send(Command::Operator(event, done)).await.is_ok() {
            shown.await.ok();
        }
    }
}

// === impl Load ===

impl Load {
    pub(crate) fn new(freed: Arc<Notify>) -> Arc<Self> {
        let born = Instant::now();
        let [inflight, asking] = [(); 2].map(|()| AtomicUsize::new(0));
        let [answered, left] = [(); 2].map(|()| AtomicU64::new(0));
        Arc::new(Self { inflight, asking, answered, born, left, idle: Notify::new(), freed })
    }

    /// Counts a call in until the guard is dropped, if fewer than `limit` are.
    pub(crate) fn enter(self: &Arc<Self>, limit: usize) -> Option<InFlight> {
        let more = |inflight: usize| (inflight < limit).then_some(inflight + 1);
        self.inflight.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).ok()?;
        Some(InFlight(Arc::clone(self)))
    }

    pub(crate) fn freed(&self) -> Arc<Notify> {
        Arc::clone(&self.freed)
    }

    pub(crate) fn inflight(&self) -> usize {
        self.inflight.load(Ordering::Relaxed)
    }

    /// When the last call left; before the first one did, the birth.
    pub(crate) fn left_at(&self) -> Instant {
        self.born + Duration::from_millis(self.left.load(Ordering::Relaxed))
    }

    fn leaves_now(&self) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.left.fetch_max(now, Ordering::Relaxed);
    }

    /// Whether the plugin owes somebody an answer. A call whose client is asked waits for that client, not for the plugin, and
    /// a call past its deadline is none any more.
    pub(crate) fn is_busy(&self) -> bool {
        self.inflight() > self.asking.load(Ordering::Relaxed)
    }

    /// A call begins to wait for its client, or has its answer.
    pub(crate) fn asks(&self, begins: bool) {
        if begins {
            self.asking.fetch_add(1, Ordering::Relaxed);
        } else {
            let fewer = |asking: usize| asking.checked_sub(1);
            // There is one to take away.
            self.asking.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).ok();
        }
    }

    /// Answers so far: proof of life that costs no probe.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub(crate) fn count_answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Resolves when the last call in flight ends; at once if there is none.
    pub(crate) async fn idle(&self) {
        loop {
            let notified = self.idle.notified();
            if self.inflight() == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl InFlight {
    /// The calls among which it is counted.
    pub(crate) fn load(&self) -> &Load {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // Who looks at the time does so where no call is in flight: only the last one has to tell it, before it is gone. Of
        // three that leave at once it may tell it just after; then the plugin goes to sleep a call too early, at worst.
        let few = self.0.inflight.load(Ordering::Acquire) <= 2;
        if few {
            self.0.leaves_now();
        }
        if self.0.inflight.fetch_sub(1, Ordering::AcqRel) == 1 {
            if !few {
                self.0.leaves_now();
            }
            self.0.idle.notify_waiters();
        }
        self.0.freed.notify_one();
    }
}

impl std::fmt::Debug for InstanceHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstanceHandle")
            .field("n", &self.n)
            .field("state", &self.now().state)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("manifest", &self.manifest).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Notify;
    use tokio::time::{Instant, advance};

    use super::Load;

    #[tokio::test(start_paused = true)]
    async fn the_last_call_that_leaves_tells_when() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let load = Load::new(Arc::new(Notify::new()));
        let (one, two) = (load.enter(2).unwrap(), load.enter(2).unwrap());
        advance(second).await;
        drop(one);
        advance(second).await;
        drop(two);
        assert_eq!((load.inflight(), load.left_at()), (0, begun + 2 * second));
    }
}
