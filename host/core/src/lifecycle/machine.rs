//! The machine: one instance, from its first start to its last end.

use std::time::Duration;

use wharf_plugin_api::{Cause, CauseKind};

use super::counters::Counters;
use super::event::{Context, Effect, Event};
use super::state::State;
use crate::id::Generation;
use crate::manifest::{Manifest, Restart, RestartPolicy};
use crate::moment::Moment;

/// After quarantine, an attempt must stay ready this long to count as healed.
const PROBATION: Duration = Duration::from_secs(60);
/// Between two tries in quarantine, plus or minus a fifth.
const QUARANTINE: Duration = Duration::from_secs(300);
/// Good probes in a row that make a degraded instance ready.
const RECOVERED: u32 = 2;

/// The times and rules of a manifest that the machine goes by.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `[restart]`.
    pub restart: Restart,
    /// Failed probes in a row that end an instance.
    pub failures: u32,
    /// From the start of the opening to the proof.
    pub start_timeout: Duration,
    /// For what comes before the opening.
    pub prepare_timeout: Duration,
    /// How long calls in flight may go on in a drain.
    pub drain: Duration,
    /// How long an end may take by the stop policy; asked for again after that.
    pub stop: Duration,
}

/// One instance's life.
#[derive(Clone, Debug)]
pub struct Machine {
    policy: Policy,
    wanted: Wanted,
    phase: Phase,
    generation: Generation,
    since: Moment,
    cause: Option<Cause>,
    counters: Counters,
    /// Set by quarantine, cleared by a minute of being ready.
    quarantined: bool,
    restarts: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Up,
    Down,
    Disabled,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Nothing is alive.
    Resting {
        as_state: State,
        until: Option<Moment>,
    },
    Preparing {
        deadline: Moment,
    },
    Opening {
        deadline: Moment,
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
        }
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
            | Phase::Opening { deadline }
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
            Phase::Preparing { .. } => State::Preparing,
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
            | Phase::Opening { .. }
            | Phase::Proving { .. }
            | Phase::Serving { .. }
            | Phase::Draining { .. }
            | Phase::Ending { failure: None, .. } => self.cause.as_ref(),
        }
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

    /// Whether nothing of it is alive.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        matches!(self.phase, Phase::Resting { .. })
    }

    /// Whether it is meant to be up.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.wanted == Wanted::Up
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
            Event::Enable if self.wanted != Wanted::Disabled => Vec::new(),
            Event::Enable => self.start(cx),
            Event::Stop | Event::Drain if self.wanted == Wanted::Disabled => Vec::new(),
            Event::Stop => self.down(Wanted::Down, "stopped by an operator", cx),
            Event::Disable => self.down(Wanted::Disabled, "switched off", cx),
            Event::Drain => self.drain(cx),
            Event::Prepared(g) if self.lives(g) => self.prepared(cx),
            Event::Opened(g) if self.lives(g) => self.opened(cx),
            Event::Proven(g) if self.lives(g) => self.proven(cx),
            Event::PrepareFailed(g, cause) | Event::OpenFailed(g, cause) if self.lives(g) => {
                self.gone(cause, cx)
            }
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
            Event::Prepared(_)
            | Event::PrepareFailed(..)
            | Event::Opened(_)
            | Event::OpenFailed(..)
            | Event::Proven(_)
            | Event::ProofFailed(..)
            | Event::Closed(..)
            | Event::Probed { .. }
            | Event::Idle(_)
            | Event::Tick => Vec::new(),
        }
    }

    fn lives(&self, generation: Generation) -> bool {
        generation == self.generation && !self.is_resting()
    }

    // === what operators ask for ===

    fn start(&mut self, cx: Context) -> Vec<Effect> {
        let was_up = self.wanted == Wanted::Up;
        self.wanted = Wanted::Up;
        match &mut self.phase {
            Phase::Resting { .. } => {
                self.pardon();
                self.begin(cx)
            }
            Phase::Ending { failure, .. } => {
                *failure = None;
                self.pardon();
                Vec::new()
            }
            Phase::Draining { .. } => self.end(None, cx),
            Phase::Preparing { .. }
            | Phase::Opening { .. }
            | Phase::Proving { .. }
            | Phase::Serving { .. } => {
                debug_assert!(was_up, "alive although not wanted");
                Vec::new()
            }
        }
    }

    fn restart(&mut self, cx: Context) -> Vec<Effect> {
        if matches!(self.phase, Phase::Resting { .. } | Phase::Ending { .. }) {
            return self.start(cx);
        }
        self.wanted = Wanted::Up;
        self.pardon();
        self.end(None, cx)
    }

    fn down(&mut self, wanted: Wanted, why: &str, cx: Context) -> Vec<Effect> {
        self.wanted = wanted;
        self.cause = Some(Cause::new(CauseKind::Requested, why));
        match &mut self.phase {
            Phase::Resting { .. } => self.rest(None),
            Phase::Ending { failure, .. } => {
                *failure = None;
                Vec::new()
            }
            Phase::Preparing { .. }
            | Phase::Opening { .. }
            | Phase::Proving { .. }
            | Phase::Serving { .. }
            | Phase::Draining { .. } => self.end(None, cx),
        }
    }

    fn drain(&mut self, cx: Context) -> Vec<Effect> {
        let Phase::Serving { ready_since, .. } = self.phase else {
            return if matches!(self.phase, Phase::Draining { .. }) {
                Vec::new()
            } else {
                self.down(Wanted::Down, "drained by an operator", cx)
            };
        };
        self.wanted = Wanted::Down;
        self.cause = Some(Cause::new(CauseKind::Requested, "drained by an operator"));
        self.phase = Phase::Draining { ready_since, deadline: cx.now + self.policy.drain };
        vec![Effect::Suspend(self.generation)]
    }

    /// An operator's word clears what was counted.
    fn pardon(&mut self) {
        self.counters = Counters::default();
        self.quarantined = false;
    }

    // === the way up ===

    fn begin(&mut self, cx: Context) -> Vec<Effect> {
        self.generation = self.generation.next();
        self.phase = Phase::Preparing { deadline: cx.now + self.policy.prepare_timeout };
        vec![Effect::Prepare(self.generation)]
    }

    fn prepared(&mut self, cx: Context) -> Vec<Effect> {
        match &self.phase {
            Phase::Preparing { .. } => {
                self.phase = Phase::Opening { deadline: cx.now + self.policy.start_timeout };
                vec![Effect::Open(self.generation)]
            }
            // It was no longer wanted while it prepared, and nothing has been opened.
            Phase::Ending { effect: Effect::CancelOpen(_), failure, ready_for: None, .. } => {
                let failure = failure.clone();
                self.settle(failure, None, cx)
            }
            Phase::Resting { .. }
            | Phase::Opening { .. }
            | Phase::Proving { .. }
            | Phase::Serving { .. }
            | Phase::Draining { .. }
            | Phase::Ending { .. } => Vec::new(),
        }
    }

    fn opened(&mut self, cx: Context) -> Vec<Effect> {
        match &mut self.phase {
            Phase::Opening { deadline } => {
                self.phase = Phase::Proving { deadline: *deadline };
                vec![Effect::Prove(self.generation)]
            }
            // The opening was quicker than the wish to end it.
            Phase::Ending { effect: effect @ Effect::CancelOpen(_), remind, .. } => {
                *effect = Effect::Close(self.generation);
                *remind = cx.now + self.policy.stop;
                vec![*effect]
            }
            Phase::Resting { .. }
            | Phase::Preparing { .. }
            | Phase::Proving { .. }
            | Phase::Serving { .. }
            | Phase::Draining { .. }
            | Phase::Ending { .. } => Vec::new(),
        }
    }

    fn proven(&mut self, cx: Context) -> Vec<Effect> {
        if !matches!(self.phase, Phase::Proving { .. }) {
            return Vec::new();
        }
        self.cause = None;
        self.phase = Phase::Serving { ready_since: cx.now, degraded: false, misses: 0, hits: 0 };
        vec![Effect::Serve(self.generation)]
    }

    // === while it serves ===

    fn probed(&mut self, ok: bool, busy: bool, cx: Context) -> Vec<Effect> {
        let limit = self.policy.failures.max(1);
        let Phase::Serving { degraded, misses, hits, .. } = &mut self.phase else { return Vec::new() };
        if ok {
            *misses = 0;
            *hits = hits.saturating_add(1);
            if *degraded && *hits >= RECOVERED {
                *degraded = false;
                self.cause = None;
            }
            return Vec::new();
        }
        *hits = 0;
        *misses = misses.saturating_add(1);
        let missed = *misses;
        let cause = Cause::new(CauseKind::Unhealthy, format!("{missed} health probes in a row failed"));
        if missed >= limit && !busy {
            return self.end(Some(cause), cx);
        }
        if missed >= limit.saturating_sub(1).max(1) {
            *degraded = true;
            self.cause = Some(cause);
        }
        Vec::new()
    }

    // === the way down ===

    /// Begins to end what is alive.
    fn end(&mut self, failure: Option<Cause>, cx: Context) -> Vec<Effect> {
        let generation = self.generation;
        let (effects, ready_for) = match &self.phase {
            Phase::Preparing { .. } | Phase::Opening { .. } => (vec![Effect::CancelOpen(generation)], None),
            Phase::Proving { .. } => (vec![Effect::Close(generation)], None),
            Phase::Serving { ready_since, .. } => {
                (vec![Effect::Suspend(generation), Effect::Close(generation)], Some(cx.now - *ready_since))
            }
            Phase::Draining { ready_since, .. } => {
                (vec![Effect::Close(generation)], Some(cx.now - *ready_since))
            }
            Phase::Resting { .. } | Phase::Ending { .. } => return Vec::new(),
        };
        if let Some(effect) = effects.last().copied() {
            self.phase = Phase::Ending { effect, failure, ready_for, remind: cx.now + self.policy.stop };
        }
        effects
    }

    /// Nothing of the generation is left.
    fn gone(&mut self, cause: Cause, cx: Context) -> Vec<Effect> {
        let suspend = matches!(self.phase, Phase::Serving { .. });
        let (failure, ready_for) = match &self.phase {
            Phase::Resting { .. } => return Vec::new(),
            Phase::Preparing { .. } | Phase::Opening { .. } | Phase::Proving { .. } => (Some(cause), None),
            Phase::Serving { ready_since, .. } => (Some(cause), Some(cx.now - *ready_since)),
            Phase::Draining { .. } => (None, None),
            Phase::Ending { failure, ready_for, .. } => {
                // Why we ended it counts; how the process ended completes it.
                let failure = failure.clone().map(|why| Cause { exit: cause.exit, ..why });
                (failure, *ready_for)
            }
        };
        let mut effects = if suspend { vec![Effect::Suspend(self.generation)] } else { Vec::new() };
        effects.extend(self.settle(failure, ready_for, cx));
        effects
    }

    fn settle(&mut self, failure: Option<Cause>, ready_for: Option<Duration>, cx: Context) -> Vec<Effect> {
        match (self.wanted, failure) {
            (Wanted::Down | Wanted::Disabled, _) => self.rest(None),
            (Wanted::Up, None) => self.begin(cx),
            (Wanted::Up, Some(cause)) => self.failed(cause, ready_for, cx),
        }
    }

    fn failed(&mut self, cause: Cause, ready_for: Option<Duration>, cx: Context) -> Vec<Effect> {
        let clean = cause.exit.as_ref().is_some_and(|exit| exit.code == Some(0));
        let permanent = cause.is_permanent();
        self.cause = Some(cause);
        if permanent {
            return self.rest(Some((State::Fatal, None)));
        }
        let stay_down = match self.policy.restart.policy {
            RestartPolicy::Always => false,
            RestartPolicy::OnFailure => clean,
            RestartPolicy::Never => true,
        };
        if stay_down {
            self.wanted = Wanted::Down;
            return self.rest(None);
        }
        self.restarts = self.restarts.saturating_add(1);
        let delay = self.counters.failed(cx.now, ready_for, &self.policy.restart, cx.roll);
        self.quarantined |= self.counters.hopeless(cx.now, &self.policy.restart);
        self.quarantined &= !cx.last_serviceable;
        if self.quarantined {
            let delay = QUARANTINE.mul_f64(0.8 + 0.4 * cx.roll);
            return self.rest(Some((State::Quarantined, Some(cx.now + delay))));
        }
        if delay.is_zero() {
            return self.begin(cx);
        }
        self.rest(Some((State::Backoff, Some(cx.now + delay))))
    }

    /// Rests in the given state, or as it is wanted.
    fn rest(&mut self, as_state: Option<(State, Option<Moment>)>) -> Vec<Effect> {
        let (as_state, until) = as_state.unwrap_or_else(|| match self.wanted {
            Wanted::Disabled => (State::Disabled, None),
            Wanted::Up | Wanted::Down => (State::Stopped, None),
        });
        self.phase = Phase::Resting { as_state, until };
        Vec::new()
    }

    fn due(&mut self, cx: Context) -> Vec<Effect> {
        let slow = |what: &str, budget: Duration| {
            Some(Cause::new(
                CauseKind::StartTimeout,
                format!("{what} not done after {} s", budget.as_secs_f64()),
            ))
        };
        match &mut self.phase {
            Phase::Resting { .. } => self.begin(cx),
            Phase::Preparing { .. } => self.end(slow("preparation", self.policy.prepare_timeout), cx),
            Phase::Opening { .. } => self.end(slow("handshake", self.policy.start_timeout), cx),
            Phase::Proving { .. } => self.end(slow("lists", self.policy.start_timeout), cx),
            Phase::Serving { .. } => {
                self.pardon();
                Vec::new()
            }
            Phase::Draining { .. } => self.end(None, cx),
            Phase::Ending { effect, remind, .. } => {
                *remind = cx.now + self.policy.stop;
                vec![*effect]
            }
        }
    }
}

// === impl Policy ===

impl From<&Manifest> for Policy {
    fn from(manifest: &Manifest) -> Self {
        Self {
            restart: manifest.restart.clone(),
            failures: manifest.health.failures,
            start_timeout: manifest.health.start_timeout.0,
            prepare_timeout: Duration::from_secs(300),
            drain: manifest.stop.drain.0,
            // What the stop policy takes at most, and some time for the kernel to reap.
            stop: manifest.stop.grace.0 + manifest.stop.term.0 + Duration::from_secs(5),
        }
    }
}
