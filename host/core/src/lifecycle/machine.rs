//! The machine: one instance, from its first start to its last end.

use std::time::Duration;

use wharf_plugin_api::{Cause, CauseKind};

use super::counters::Counters;
use super::event::{Context, Effect, Event};
use super::state::State;
use crate::id::Generation;
use crate::manifest::{Manifest, Restart, Start};
use crate::moment::Moment;

/// After quarantine, an attempt must stay ready this long to count as healed.
const PROBATION: Duration = Duration::from_secs(60);

/// The times and rules of a manifest that the machine goes by.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `[restart]`.
    pub restart: Restart,
    /// Failed probes in a row that end an instance.
    pub failures: u32,
    /// Whether it sleeps until it is called, instead of running for as long as it is wanted.
    pub lazy: bool,
    /// Whether its command fetches what it runs: then the opening belongs to the preparation until the server is heard.
    pub fetches: bool,
    /// From the start of the opening, or the first word of a server that was fetched, to the proof.
    pub start_timeout: Duration,
    /// For what comes before that.
    pub prepare_timeout: Duration,
    /// How long calls in flight may go on in a drain.
    pub drain: Duration,
    /// How long an end may take by the stop policy; asked for again after that.
    pub stop: Duration,
}

/// One instance's life.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) policy: Policy,
    pub(super) wanted: Wanted,
    pub(super) phase: Phase,
    pub(super) generation: Generation,
    pub(super) since: Moment,
    pub(super) cause: Option<Cause>,
    pub(super) counters: Counters,
    /// Set by quarantine, cleared by a minute of being ready.
    pub(super) quarantined: bool,
    pub(super) restarts: u64,
    /// The next start follows a crash of what had been ready.
    pub(super) after_crash: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Up,
    /// Up as soon as it is called.
    Asleep,
    Down,
    Disabled,
}

#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Nothing is alive.
    Resting {
        as_state: State,
        until: Option<Moment>,
    },
    Preparing {
        deadline: Moment,
    },
    /// It is being opened, and fetches what it runs.
    Fetching {
        deadline: Moment,
    },
    Opening {
        deadline: Moment,
        /// It had all the time to fetch what it runs, and nothing was heard of the server yet.
        unheard: bool,
    },
    Proving {
        deadline: Moment,
    },
    Serving {
        ready_since: Moment,
        degraded: bool,
        misses: u32,
        hits: u32,
    },
    Draining {
        ready_since: Moment,
        deadline: Moment,
    },
    /// Waits until nothing is left. Without a failure the end was asked for.
    Ending {
        effect: Effect,
        failure: Option<Cause>,
        ready_for: Option<Duration>,
        remind: Moment,
    },
}

impl Machine {
    /// An instance that has not been started. `enabled` false: it is switched off.
    #[must_use]
    pub fn new(policy: Policy, enabled: bool, now: Moment) -> Self {
        let (wanted, as_state) =
            if enabled { (Wanted::Down, State::Stopped) } else { (Wanted::Disabled, State::Disabled) };
        Self {
            policy,
            wanted,
            phase: Phase::Resting { as_state, until: None },
            generation: Generation(0),
            since: now,
            cause: None,
            counters: Counters::default(),
            quarantined: false,
            restarts: 0,
            after_crash: false,
        }
    }

    /// An instance that waits for its first call instead of an operator's start.
    #[must_use]
    pub fn asleep(mut self) -> Self {
        if self.wanted == Wanted::Down {
            self.wanted = Wanted::Asleep;
            self.cause = Some(Cause::new(CauseKind::Lazy, "the first call starts it"));
        }
        self
    }

    /// Takes an event; returns what has to be done, in order.
    pub fn on(&mut self, event: Event, cx: Context) -> Vec<Effect> {
        let before = self.state();
        let effects = self.handle(event, cx);
        if self.state() != before {
            self.since = cx.now;
        }
        effects
    }

    /// When the next [`Event::Tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Resting { until, .. } => *until,
            Phase::Preparing { deadline }
            | Phase::Fetching { deadline }
            | Phase::Opening { deadline, .. }
            | Phase::Proving { deadline }
            | Phase::Draining { deadline, .. } => Some(*deadline),
            Phase::Serving { ready_since, .. } => self.quarantined.then(|| *ready_since + PROBATION),
            Phase::Ending { remind, .. } => Some(*remind),
        }
    }

    /// The state to show.
    #[must_use]
    pub fn state(&self) -> State {
        match &self.phase {
            Phase::Resting { as_state, .. } => *as_state,
            Phase::Preparing { .. } | Phase::Fetching { .. } => State::Preparing,
            Phase::Opening { .. } | Phase::Proving { .. } => State::Starting,
            Phase::Serving { degraded: false, .. } => State::Ready,
            Phase::Serving { degraded: true, .. } => State::Degraded,
            Phase::Draining { .. } => State::Draining,
            Phase::Ending { .. } => State::Stopping,
        }
    }

    /// Since when it is in this state.
    #[must_use]
    pub fn since(&self) -> Moment {
        self.since
    }

    /// Why it does not serve; `None` while it does.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        match &self.phase {
            Phase::Ending { failure: Some(cause), .. } => Some(cause),
            Phase::Resting { .. }
            | Phase::Preparing { .. }
            | Phase::Fetching { .. }
            | Phase::Opening { .. }
            | Phase::Proving { .. }
            | Phase::Serving { .. }
            | Phase::Draining { .. }
            | Phase::Ending { failure: None, .. } => self.cause.as_ref(),
        }
    }

    /// When an opening under way must be over, whatever is heard of it until then.
    #[must_use]
    pub fn latest_opening(&self) -> Option<Moment> {
        let start = self.policy.start_timeout;
        match self.phase {
            // The rest of the fetching, a last wait for the server's first word, and its start after that.
            Phase::Fetching { deadline } => Some(deadline + start + start),
            Phase::Opening { deadline, unheard: true } => Some(deadline + start),
            Phase::Opening { deadline, unheard: false } | Phase::Proving { deadline } => Some(deadline),
            Phase::Resting { .. }
            | Phase::Preparing { .. }
            | Phase::Serving { .. }
            | Phase::Draining { .. }
            | Phase::Ending { .. } => None,
        }
    }

    /// Whether it waits for the first word of its server.
    #[must_use]
    pub fn awaits_a_word(&self) -> bool {
        matches!(self.phase, Phase::Fetching { .. } | Phase::Opening { unheard: true, .. })
    }

    /// When it is tried again by itself.
    #[must_use]
    pub fn next_attempt(&self) -> Option<Moment> {
        if let Phase::Resting { until, .. } = &self.phase { *until } else { None }
    }

    /// The living generation, or the last one.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Starts after a failure.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Whether it is in quarantine or on probation after it.
    #[must_use]
    pub fn is_quarantined(&self) -> bool {
        self.quarantined
    }

    /// Whether the start under way, or the next one, follows a crash.
    #[must_use]
    pub fn is_after_crash(&self) -> bool {
        self.after_crash
    }

    /// Goes on with the generations of what had this place before, so that none is counted twice.
    pub fn succeed(&mut self, last: Generation) {
        self.generation = self.generation.max(last);
    }

    /// Whether nothing of it is alive.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        matches!(self.phase, Phase::Resting { .. })
    }

    /// Whether it is meant to be up, at once or as soon as it is called.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        matches!(self.wanted, Wanted::Up | Wanted::Asleep)
    }

    /// Whether it waits for a call, or will once its end is over.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        self.wanted == Wanted::Asleep
    }

    /// Other rules from now on (a changed manifest). What runs goes on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    fn handle(&mut self, event: Event, cx: Context) -> Vec<Effect> {
        match event {
            Event::Start | Event::Restart if self.wanted == Wanted::Disabled => Vec::new(),
            Event::Start => self.start(cx),
            Event::Restart => self.restart(cx),
            Event::Enable if self.is_wanted() => Vec::new(),
            Event::Enable => self.start(cx),
            Event::Stop | Event::Drain if self.wanted == Wanted::Disabled => Vec::new(),
            Event::Stop => self.down(Wanted::Down, "stopped by an operator", cx),
            Event::Disable => self.down(Wanted::Disabled, "switched off", cx),
            Event::Drain => self.drain("drained by an operator", cx),
            Event::Dismiss(why) => self.drain(why, cx),
            Event::Renew => self.renew(cx),
            Event::Retire(why) => self.down(Wanted::Down, why, cx),
            Event::Wake => self.wake(cx),
            Event::Sleep(g) if self.lives(g) => self.sleep(cx),
            Event::Admitted(g) if self.lives(g) => self.admitted(cx),
            Event::Prepared(g) if self.lives(g) => self.prepared(cx),
            Event::Heard(g) if self.lives(g) => self.heard(cx),
            Event::Opened(g) if self.lives(g) => self.opened(cx),
            Event::Proven(g) if self.lives(g) => self.proven(cx),
            Event::PrepareFailed(g, cause) | Event::OpenFailed(g, cause) if self.lives(g) => {
                self.gone(cause, cx)
            }
            Event::Lost(g, cause) if self.lives(g) => self.lost(cause, cx),
            Event::Closed(g, cause) if self.lives(g) => self.gone(cause, cx),
            Event::ProofFailed(g, cause) if self.lives(g) && matches!(self.phase, Phase::Proving { .. }) => {
                self.end(Some(cause), cx)
            }
            Event::Probed { generation, ok, busy } if self.lives(generation) => self.probed(ok, busy, cx),
            Event::Idle(g) if self.lives(g) && matches!(self.phase, Phase::Draining { .. }) => {
                self.end(None, cx)
            }
            Event::Tick if self.next_deadline().is_some_and(|at| at <= cx.now) => self.due(cx),
            // What is left is stale, or comes too late to matter.
            Event::Sleep(_)
            | Event::Admitted(_)
            | Event::Prepared(_)
            | Event::PrepareFailed(..)
            | Event::Heard(_)
            | Event::Opened(_)
            | Event::OpenFailed(..)
            | Event::Proven(_)
            | Event::ProofFailed(..)
            | Event::Lost(..)
            | Event::Closed(..)
            | Event::Probed { .. }
            | Event::Idle(_)
            | Event::Tick => Vec::new(),
        }
    }

    fn lives(&self, generation: Generation) -> bool {
        generation == self.generation && !self.is_resting()
    }
}

// === impl Policy ===

impl From<&Manifest> for Policy {
    fn from(manifest: &Manifest) -> Self {
        Self {
            restart: manifest.restart.clone(),
            failures: manifest.health.failures,
            lazy: manifest.start == Start::Lazy,
            fetches: manifest.fetches(),
            start_timeout: manifest.health.start_timeout.0,
            prepare_timeout: manifest.health.prepare_timeout.0,
            drain: manifest.stop.drain.0,
            // What the stop policy takes at most, and some time for the kernel to reap.
            stop: manifest.stop.grace.0 + manifest.stop.term.0 + Duration::from_secs(5),
        }
    }
}
