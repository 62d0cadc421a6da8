//! The one owner of an instance's lifecycle: a task that turns what happens into events of the pure machine
//! ([`wharf_core::lifecycle`]) and carries out the effects.
//!
//! It sees commands, outcomes of its own effects, ends and timers, never a frame of a call, and it awaits nothing but the
//! next of these: every effect that takes time runs in a task of its own and answers by message.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::DropGuard;
use wharf_core::breaker::State as Breaker;
use wharf_core::lifecycle::{Context, Event, Machine, Policy, State};
use wharf_core::manifest::{Manifest, Start};
use wharf_core::{Generation, InstanceNo, Moment, Slot};
use wharf_plugin_api::{Cause, CauseKind, Hello, Link};

use super::core::PluginCore;
use super::exits::Exits;
use super::face::Face;
use super::fuse::Fuse;
use super::inbox::GenerationInbox;
use super::instance::{Beginning, Command, InstanceHandle, Load, Predecessors, Setup, Shared, Snapshot};
use super::outcome::Outcome;
use super::prove::Proof;
use super::report::first_snapshot;
use super::services::{Leave, Services, roll};
use super::visit::Visit;

/// Commands that may wait for a supervisor; a sender waits when it is full.
const COMMANDS: usize = 16;
/// Outcomes of effects that may wait; there are at most a handful per generation.
const OUTCOMES: usize = 16;
/// After a plugin says that its lists changed: wait for more of the same (servers send several in a row).
const RELIST_AFTER: Duration = Duration::from_millis(200);
/// After lists that changed could not be read.
const RELIST_AGAIN: Duration = Duration::from_secs(5);

/// Bounds of the time for which lists hold by the plugin's word: no plugin makes the host busy, and none is forgotten.
const HOLD: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));

pub(super) struct Supervisor {
    pub(super) core: Arc<PluginCore>,
    pub(super) services: Arc<Services>,
    pub(super) slot: Slot,
    /// Its number, as in `slot`.
    pub(super) n: InstanceNo,
    pub(super) machine: Machine,
    pub(super) setup: Setup,
    /// What the next launch uses.
    pub(super) next_setup: Option<Setup>,
    pub(super) outcomes: mpsc::Sender<Outcome>,
    pub(super) inbox: Option<Arc<GenerationInbox>>,
    /// Tells the end of the living generation, with its cause.
    pub(super) end: Option<oneshot::Receiver<Cause>>,
    pub(super) news: Arc<Notify>,
    pub(super) link: Option<Arc<dyn Link>>,
    /// What the last handshake proved; kept while the instance is down.
    pub(super) hello: Option<Arc<Hello>>,
    pub(super) proof: Option<Proof>,
    /// The leave to start; given back when the start has ended either way.
    pub(super) leave: Option<Leave>,
    /// When the leave to start is given back at the latest.
    pub(super) settled_at: Option<Instant>,
    pub(super) serving: bool,
    pub(super) load: Arc<Load>,
    pub(super) face: Arc<Face>,
    pub(super) fuse: Arc<Fuse>,
    /// What was told of the breaker last: where it stands, and how often it had opened.
    pub(super) fuse_told: (Breaker, u64),
    pub(super) probe_at: Option<Instant>,
    /// Signs of life by the last probe.
    pub(super) heard: u64,
    pub(super) relisting: Relisting,
    /// Rung by a call that wants it.
    pub(super) wake: Arc<Notify>,
    /// When it is looked at whether it may sleep.
    pub(super) sleep_at: Option<Instant>,
    /// When it began to serve.
    pub(super) woken_at: Instant,
    /// It was started only to learn what it offers.
    pub(super) learning: bool,
    /// The end of this generation's connection has been asked for.
    pub(super) closing: Option<Generation>,
    pub(super) snapshot: watch::Sender<Arc<Snapshot>>,
    pub(super) exits: Exits,
    pub(super) retiring: bool,
    /// The client's session that the instance is for; `None`: all share it.
    pub(super) visit: Option<Arc<Visit>>,
    /// Tells the plugin what its clients want, as long as it serves.
    pub(super) tending: Option<DropGuard>,
}

/// When the lists of a plugin are read again.
#[derive(Default)]
pub(super) struct Relisting {
    /// It said that they changed, or they could not be read.
    pub(super) at: Option<Instant>,
    /// When they no longer hold, by the plugin's word.
    pub(super) stale_at: Option<Instant>,
    /// They are being read.
    pub(super) under_way: bool,
}

/// Starts the supervisor of one instance. It waits for what had its place before, and then begins.
pub(super) fn supervise(
    core: &Arc<PluginCore>,
    services: &Arc<Services>,
    slot: Slot,
    setup: Setup,
    beginning: Beginning,
    before: Predecessors,
    visit: Option<Arc<Visit>>,
) -> InstanceHandle {
    let up = beginning == Beginning::Up;
    let (machine, hello) = begun(core, &setup.manifest, beginning, services.clock.now());
    let (commands, commands_rx) = mpsc::channel(COMMANDS);
    let (outcomes, outcomes_rx) = mpsc::channel(OUTCOMES);
    // A call that leaves one instance makes room for those that wait for the same.
    let load = Load::new(if visit.is_none() { Arc::clone(&core.freed) } else { Arc::default() });
    let (face, news, wake) = (Arc::<Face>::default(), Arc::<Notify>::default(), Arc::<Notify>::default());
    let fuse =
        Fuse::new(setup.manifest.breaker.clone(), services.clock, Arc::clone(&load), Arc::clone(&news));
    let (snapshot, snapshot_rx) =
        watch::channel(Arc::new(first_snapshot(&machine, setup.revision, up, hello.clone())));
    let supervisor = Supervisor {
        core: Arc::clone(core),
        services: Arc::clone(services),
        slot,
        n: slot.n,
        machine,
        learning: up && visit.is_none() && setup.manifest.start == Start::Lazy,
        setup,
        next_setup: None,
        outcomes,
        inbox: None,
        end: None,
        news,
        link: None,
        hello,
        proof: None,
        leave: None,
        settled_at: None,
        serving: false,
        load: Arc::clone(&load),
        face: Arc::clone(&face),
        fuse: Arc::clone(&fuse),
        fuse_told: (Breaker::Closed, 0),
        probe_at: None,
        heard: 0,
        relisting: Relisting::default(),
        wake: Arc::clone(&wake),
        sleep_at: None,
        woken_at: Instant::now(),
        closing: None,
        snapshot,
        exits: Exits::default(),
        retiring: false,
        visit,
        tending: None,
    };
    let span = tracing::info_span!(parent: None, "instance", plugin = %core.id, n = slot.n.0);
    services.tasks.spawn(span, supervisor.run(commands_rx, outcomes_rx, before, up));
    InstanceHandle::new(Shared { n: slot.n, slot, snapshot: snapshot_rx, commands, load, face, fuse, wake })
}

/// The machine that it begins with; and what is remembered of the plugin, which does for its sleep.
fn begun(
    core: &PluginCore,
    manifest: &Manifest,
    beginning: Beginning,
    now: Moment,
) -> (Machine, Option<Arc<Hello>>) {
    let machine = Machine::new(Policy::from(manifest), beginning != Beginning::Off, now);
    if beginning != Beginning::Asleep {
        return (machine, None);
    }
    (machine.asleep(), core.record.load_full().map(|record| Arc::clone(&record.hello)))
}

impl Supervisor {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut outcomes: mpsc::Receiver<Outcome>,
        before: Predecessors,
        up: bool,
    ) {
        if let Some(event) = self.wait(&mut commands, before, up).await {
            self.on(event);
        }
        let load = Arc::clone(&self.load);
        let (news, wake) = (Arc::clone(&self.news), Arc::clone(&self.wake));
        let mut wants = self.core.watch.changes();
        while !(self.retiring && self.machine.is_resting()) {
            let draining = self.machine.state() == State::Draining;
            let next = self.next_wake();
            tokio::select! {
                command = commands.recv() => self.command(command),
                Some(outcome) = outcomes.recv() => self.outcome(outcome),
                cause = ended(&mut self.end) => self.ended(cause),
                () = news.notified() => self.told(),
                () = wake.notified() => self.wake(),
                Ok(()) = wants.changed(), if self.machine.is_asleep() => {
                    // A subscription is a use.
                    if self.visit.is_none() && self.core.watch.holds() {
                        self.wake();
                    }
                }
                () = load.idle(), if draining => self.on(Event::Idle(self.machine.generation())),
                () = sleep_until(next) => self.woken(),
            }
        }
        self.services.catalog_dirty.notify_one();
    }

    /// Gives the machine an event and does what it says.
    pub(super) fn on(&mut self, event: Event) {
        let core = Arc::clone(&self.core);
        let _deciding = core.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        self.decide(event);
    }

    /// The same, for who holds the lock.
    pub(super) fn decide(&mut self, event: Event) {
        let before = (self.machine.state(), self.machine.generation());
        let cx = Context {
            now: self.services.clock.now(),
            roll: roll(),
            last_serviceable: self.visit.is_none() && self.core.is_last_serviceable(self.n),
        };
        for effect in self.machine.on(event, cx) {
            self.carry_out(effect);
        }
        if self.machine.is_resting() {
            self.forget();
        }
        if self.machine.state() != State::Preparing {
            // What was to be fetched is there, or had its time.
            self.leave.take_if(|leave| leave.fetches);
        }
        self.publish();
        self.tell(before);
    }

    fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Admitted(g, leave) => {
                if self.machine.generation() == g && self.machine.state() == State::Preparing {
                    self.settled_at = Some(Instant::now() + leave.lasts());
                    self.leave = Some(leave);
                }
                self.on(Event::Admitted(g));
            }
            Outcome::Prepared(g) => self.on(Event::Prepared(g)),
            Outcome::PrepareFailed(g, cause) => self.on(Event::PrepareFailed(g, self.clean(cause))),
            Outcome::Opened(g, link) => {
                self.listen();
                self.hello = Some(Arc::new(link.hello().clone()));
                self.link = Some(link);
                self.on(Event::Opened(g));
                self.look_for_loss();
            }
            Outcome::OpenFailed(g, cause) => {
                self.listen();
                self.note_exit(g, &cause);
                self.on(Event::OpenFailed(g, self.clean(cause)));
            }
            Outcome::Proven(g, proof) => {
                self.proof = Some(proof);
                self.on(Event::Proven(g));
            }
            Outcome::ProofFailed(g, cause) => self.on(Event::ProofFailed(g, self.clean(cause))),
            Outcome::Probed(generation, ok) => self.probed(generation, ok),
            Outcome::Tried(g, epoch, ending) => self.fuse_probed(g, epoch, ending),
            Outcome::Closed(g) if self.machine.generation() == g => {
                let told = self.end.as_mut().and_then(|end| end.try_recv().ok());
                self.ended(told.unwrap_or_else(|| Cause::new(CauseKind::Requested, "closed")));
            }
            Outcome::Relisted(g, proof) if self.machine.generation() == g && self.serving => {
                self.relisting.under_way = false;
                match proof {
                    Some(proof) => self.offer(proof, "relist"),
                    // The old lists stay, and the question is asked again.
                    None => self.relisting.at = Some(Instant::now() + RELIST_AGAIN),
                }
                self.told();
            }
            // Of a generation that is gone.
            Outcome::Closed(_) | Outcome::Relisted(..) => {}
        }
    }

    fn ended(&mut self, cause: Cause) {
        self.end = None;
        let generation = self.machine.generation();
        self.note_exit(generation, &cause);
        self.on(Event::Closed(generation, self.clean(cause)));
    }

    /// What a plugin says may hold its secrets, and be of any length.
    pub(super) fn clean(&self, cause: Cause) -> Cause {
        Cause { detail: self.core.clean(&cause.detail), ..cause }
    }

    /// The plugin told something outside of calls.
    pub(super) fn told(&mut self) {
        self.listen();
        self.look_for_loss();
        self.look_at_fuse();
        // What is listed is what the shared instances list.
        let may = self.serving && !self.relisting.under_way && self.visit.is_none();
        if may && self.inbox.as_ref().is_some_and(|inbox| inbox.take_lists_changed()) {
            self.relisting.at.get_or_insert_with(|| Instant::now() + RELIST_AFTER);
        }
        self.publish();
    }

    /// What it listed is what the plugin offers, for as long as it says.
    pub(super) fn offer(&mut self, proof: Proof, after: &'static str) {
        self.relisting.stale_at = proof.ttl.map(|ttl| Instant::now() + ttl.clamp(HOLD.0, HOLD.1));
        self.publish_proof(proof, after);
    }

    fn woken(&mut self) {
        let now = Instant::now();
        if self.probe_at.is_some_and(|at| at <= now) {
            self.probe_at = None;
            self.probe();
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.fuse_due()) {
            self.tick_fuse();
        }
        if due(self.relisting.at) || due(self.relisting.stale_at) {
            (self.relisting.at, self.relisting.stale_at) = (None, None);
            if !self.relisting.under_way {
                self.relist();
            }
        }
        if due(self.settled_at) {
            (self.leave, self.settled_at) = (None, None);
        }
        if due(self.sleep_at) {
            self.sleep_if_idle();
        }
        self.on(Event::Tick);
    }

    fn next_wake(&self) -> Option<Instant> {
        let machine = self.machine.next_deadline().map(|at| self.services.clock.instant(at));
        let settled = self.settled_at.filter(|_| self.leave.is_some());
        [
            machine,
            self.probe_at,
            self.relisting.at,
            self.relisting.stale_at,
            self.sleep_at,
            settled,
            self.fuse_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

async fn ended(end: &mut Option<oneshot::Receiver<Cause>>) -> Cause {
    match end {
        // A sender that is dropped without a word: the plugin broke its contract, and it is gone all the same.
        Some(end) => end
            .await
            .unwrap_or_else(|_| Cause::new(CauseKind::LinkLost, "the connection ended without a cause")),
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
