//! The one owner of an instance's lifecycle: a task that turns what happens into events of the pure machine
//! ([`wharf_core::lifecycle`]) and carries out the effects.
//!
//! It sees commands, outcomes of its own effects, ends and timers, never a frame of a call, and it awaits nothing but the
//! next of these: every effect that takes time runs in a task of its own and answers by message.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::Instant;
use wharf_core::lifecycle::{Context, Event, Machine, Policy, State};
use wharf_core::{Generation, InstanceNo};
use wharf_plugin_api::{Cause, CauseKind, Hello, Link};

use super::core::PluginCore;
use super::inbox::GenerationInbox;
use super::instance::{Command, InstanceHandle, Load, Setup, Snapshot};
use super::prove::Proof;
use super::services::{Services, roll};
use super::view::LastExit;

/// Commands that may wait for a supervisor; a sender waits when it is full.
const COMMANDS: usize = 16;
/// Outcomes of effects that may wait; there are at most a handful per generation.
const OUTCOMES: usize = 16;
/// Lines of stderr that are kept with a death.
const TAIL: usize = 20;
/// After a plugin says that its lists changed: wait for more of the same (servers send several in a row).
const RELIST_AFTER: Duration = Duration::from_millis(200);

/// What an effect came to.
pub(super) enum Outcome {
    Prepared(Generation, Option<OwnedSemaphorePermit>),
    PrepareFailed(Generation, Cause),
    Opened(Generation, Arc<dyn Link>),
    OpenFailed(Generation, Cause),
    Proven(Generation, Proof),
    ProofFailed(Generation, Cause),
    Probed(Generation, bool),
    /// `Link::close` returned: nothing of it is left.
    Closed(Generation),
    /// The lists were read again while it serves.
    Relisted(Generation, Proof),
}

pub(super) struct Supervisor {
    pub(super) core: Arc<PluginCore>,
    pub(super) services: Arc<Services>,
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
    hello: Option<Arc<Hello>>,
    pub(super) proof: Option<Proof>,
    /// The leave to start; given back when the start has ended either way.
    pub(super) permit: Option<OwnedSemaphorePermit>,
    pub(super) serving: bool,
    pub(super) load: Arc<Load>,
    pub(super) probe_at: Option<Instant>,
    pub(super) answered: u64,
    pub(super) relist_at: Option<Instant>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    last_exit: Option<Arc<LastExit>>,
    retiring: bool,
}

/// Starts the supervisor of one instance. It waits for `after` (the end of whatever had this place before), and starts the
/// instance at once if `up`.
pub(super) fn supervise(
    core: &Arc<PluginCore>,
    services: &Arc<Services>,
    n: InstanceNo,
    setup: Setup,
    up: bool,
    after: Option<watch::Receiver<bool>>,
) -> InstanceHandle {
    let machine = Machine::new(Policy::from(&*setup.manifest), up, services.clock.now());
    let (commands, commands_rx) = mpsc::channel(COMMANDS);
    let (outcomes, outcomes_rx) = mpsc::channel(OUTCOMES);
    let load = Arc::<Load>::default();
    let (snapshot, snapshot_rx) = watch::channel(Arc::new(first_snapshot(&machine, up)));
    let supervisor = Supervisor {
        core: Arc::clone(core),
        services: Arc::clone(services),
        n,
        machine,
        setup,
        next_setup: None,
        outcomes,
        inbox: None,
        end: None,
        news: Arc::default(),
        link: None,
        hello: None,
        proof: None,
        permit: None,
        serving: false,
        load: Arc::clone(&load),
        probe_at: None,
        answered: 0,
        relist_at: None,
        snapshot,
        last_exit: None,
        retiring: false,
    };
    let span = tracing::info_span!(parent: None, "instance", plugin = %core.id, n = n.0);
    services.tasks.spawn(span, async move {
        if let Some(mut after) = after {
            // A sender that is gone has nothing left either.
            after.wait_for(|gone| *gone).await.ok();
        }
        supervisor.run(commands_rx, outcomes_rx, up).await;
    });
    InstanceHandle { n, snapshot: snapshot_rx, commands, load }
}

/// What is seen before the task runs: an instance that is wanted up is on its way, also while it waits for its place.
fn first_snapshot(machine: &Machine, up: bool) -> Snapshot {
    Snapshot {
        state: if up { State::Preparing } else { machine.state() },
        since: machine.since(),
        cause: None,
        next_attempt: None,
        generation: Generation(0),
        restarts: 0,
        pid: None,
        port: None,
        link: None,
        hello: None,
        last_exit: None,
    }
}

impl Supervisor {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut outcomes: mpsc::Receiver<Outcome>,
        up: bool,
    ) {
        if up {
            self.on(Event::Start);
        }
        let load = Arc::clone(&self.load);
        let news = Arc::clone(&self.news);
        while !(self.retiring && self.machine.is_resting()) {
            let draining = self.machine.state() == State::Draining;
            let wake = self.next_wake();
            tokio::select! {
                command = commands.recv() => self.command(command),
                Some(outcome) = outcomes.recv() => self.outcome(outcome),
                cause = ended(&mut self.end) => self.ended(cause),
                () = news.notified() => self.told(),
                () = load.idle(), if draining => self.on(Event::Idle(self.machine.generation())),
                () = sleep_until(wake) => self.woken(),
            }
        }
        self.services.catalog_dirty.notify_one();
    }

    /// Gives the machine an event and does what it says.
    pub(super) fn on(&mut self, event: Event) {
        let before = (self.machine.state(), self.machine.generation());
        let cx = Context {
            now: self.services.clock.now(),
            roll: roll(),
            last_serviceable: self.core.is_last_serviceable(self.n),
        };
        for effect in self.machine.on(event, cx) {
            self.carry_out(effect);
        }
        if self.machine.is_resting() {
            self.forget();
        }
        self.publish();
        self.tell(before);
    }

    fn command(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Operator(event, shown)) => {
                self.on(event);
                // Whoever asked may have gone.
                shown.send(()).ok();
            }
            Some(Command::Configure(setup)) => {
                self.next_setup = Some(setup);
                if self.machine.is_wanted() {
                    self.on(Event::Restart);
                }
            }
            Some(Command::Retire) | None => {
                self.retiring = true;
                self.on(Event::Stop);
            }
        }
    }

    fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Prepared(g, permit) => {
                if self.machine.generation() == g {
                    self.permit = permit;
                }
                self.on(Event::Prepared(g));
            }
            Outcome::PrepareFailed(g, cause) => self.on(Event::PrepareFailed(g, cause)),
            Outcome::Opened(g, link) => {
                self.hello = Some(Arc::new(link.hello().clone()));
                self.link = Some(link);
                self.on(Event::Opened(g));
            }
            Outcome::OpenFailed(g, cause) => {
                self.note_exit(g, &cause);
                self.on(Event::OpenFailed(g, cause));
            }
            Outcome::Proven(g, proof) => {
                self.proof = Some(proof);
                self.on(Event::Proven(g));
            }
            Outcome::ProofFailed(g, cause) => self.on(Event::ProofFailed(g, cause)),
            Outcome::Probed(generation, ok) => {
                let busy = self.load.inflight() > 0;
                self.on(Event::Probed { generation, ok, busy });
            }
            Outcome::Closed(g) if self.machine.generation() == g => {
                let told = self.end.as_mut().and_then(|end| end.try_recv().ok());
                self.ended(told.unwrap_or_else(|| Cause::new(CauseKind::Requested, "closed")));
            }
            Outcome::Relisted(g, proof) if self.machine.generation() == g && self.serving => {
                self.core.publish_proof(proof, &self.services);
            }
            // Of a generation that is gone.
            Outcome::Closed(_) | Outcome::Relisted(..) => {}
        }
    }

    fn ended(&mut self, cause: Cause) {
        self.end = None;
        let generation = self.machine.generation();
        self.note_exit(generation, &cause);
        self.on(Event::Closed(generation, cause));
    }

    fn note_exit(&mut self, generation: Generation, cause: &Cause) {
        let Some(exit) = &cause.exit else { return };
        self.last_exit = Some(Arc::new(LastExit {
            code: exit.code,
            signal: exit.signal,
            oom: exit.oom,
            uptime_ms: u64::try_from(exit.uptime.as_millis()).unwrap_or(u64::MAX),
            at: self.services.clock.wall(self.services.clock.now()),
            stderr_tail: self
                .core
                .log
                .tail_of(self.n.0, generation.0, TAIL)
                .into_iter()
                .map(|line| line.text)
                .collect(),
        }));
    }

    /// The plugin told something outside of calls.
    fn told(&mut self) {
        if self.inbox.as_ref().is_some_and(|inbox| inbox.take_lists_changed()) && self.serving {
            self.relist_at.get_or_insert_with(|| Instant::now() + RELIST_AFTER);
        }
        self.publish();
    }

    fn woken(&mut self) {
        let now = Instant::now();
        if self.probe_at.is_some_and(|at| at <= now) {
            self.probe_at = None;
            self.probe();
        }
        if self.relist_at.is_some_and(|at| at <= now) {
            self.relist_at = None;
            self.relist();
        }
        self.on(Event::Tick);
    }

    fn next_wake(&self) -> Option<Instant> {
        let machine = self.machine.next_deadline().map(|at| self.services.clock.instant(at));
        [machine, self.probe_at, self.relist_at].into_iter().flatten().min()
    }

    /// Nothing is alive: what belonged to the generation goes.
    fn forget(&mut self) {
        self.inbox = None;
        self.end = None;
        self.link = None;
        self.proof = None;
        self.permit = None;
        self.probe_at = None;
        self.relist_at = None;
    }

    fn publish(&mut self) {
        let facts = self.inbox.as_ref().map(|inbox| inbox.facts()).unwrap_or_default();
        let snapshot = Snapshot {
            state: self.machine.state(),
            since: self.machine.since(),
            cause: self.machine.cause().cloned(),
            next_attempt: self.machine.next_attempt(),
            generation: self.machine.generation(),
            restarts: self.machine.restarts(),
            pid: facts.pid,
            port: facts.port,
            link: if self.serving { self.link.clone() } else { None },
            hello: self.hello.clone(),
            last_exit: self.last_exit.clone(),
        };
        self.snapshot.send_replace(Arc::new(snapshot));
        self.core.bump();
    }

    /// Every transition is a record, in the log of the host and of the plugin and in the events.
    fn tell(&self, before: (State, Generation)) {
        let (to, generation) = (self.machine.state(), self.machine.generation());
        if before == (to, generation) {
            return;
        }
        let cause = self.machine.cause();
        let reason = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        tracing::info!(
            from = before.0.as_str(),
            to = to.as_str(),
            generation = generation.0,
            "state{reason}"
        );
        self.core.log.append(
            self.n.0,
            generation.0,
            "state",
            &format!("{} -> {}{reason}", before.0.as_str(), to.as_str()),
        );
        let next = self.machine.next_attempt().map(|at| self.services.clock.wall(at));
        self.services.events.publish(
            "plugin.state",
            json!({
                "plugin": self.core.id, "instance": self.n, "generation": generation,
                "from": before.0, "to": to, "cause": cause, "restarts": self.machine.restarts(),
                "next_attempt_at": next.map(|at| humantime::format_rfc3339_millis(at).to_string()),
            }),
        );
        self.services.catalog_dirty.notify_one();
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
