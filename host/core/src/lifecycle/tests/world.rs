//! The world around the machine: it does what the effects say, and checks that they may be asked for.

use std::time::Duration;

use wharf_plugin_api::{Cause, CauseKind};

use crate::id::Generation;
use crate::lifecycle::{Context, Effect, Event, Machine, Policy, State};
use crate::manifest::Restart;
use crate::moment::Moment;

pub(super) fn policy() -> Policy {
    Policy {
        restart: Restart::default(),
        failures: 3,
        lazy: false,
        fetches: false,
        start_timeout: Duration::from_secs(30),
        prepare_timeout: Duration::from_secs(300),
        drain: Duration::from_secs(30),
        stop: Duration::from_secs(12),
    }
}

/// The world outside of the machine: it does what the effects say, and checks that they may be asked for.
pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) now: Moment,
    pub(super) last_serviceable: bool,
    /// The generation of which something is alive, and how far it got.
    pub(super) alive: Option<(Generation, Stage)>,
    pub(super) serving: Option<Generation>,
    pub(super) starts: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Preparing,
    Opening,
    Open,
}

impl World {
    pub(super) fn new(policy: Policy) -> Self {
        let now = Moment::default();
        Self {
            machine: Machine::new(policy, true, now),
            now,
            last_serviceable: false,
            alive: None,
            serving: None,
            starts: 0,
        }
    }

    pub(super) fn send(&mut self, event: Event) {
        self.send_rolled(event, 0.5);
    }

    pub(super) fn send_rolled(&mut self, event: Event, roll: f64) {
        let cx = Context { now: self.now, roll, last_serviceable: self.last_serviceable };
        for effect in self.machine.on(event, cx) {
            self.carry_out(effect);
        }
        self.check();
    }

    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare(g) => {
                assert_eq!(self.alive, None, "{g} begins while another generation is alive");
                self.alive = Some((g, Stage::Preparing));
                self.starts += 1;
            }
            Effect::Open(g) => {
                assert_eq!(self.alive, Some((g, Stage::Preparing)), "{g} opens unprepared");
                self.alive = Some((g, Stage::Opening));
            }
            Effect::CancelOpen(g) => {
                assert!(
                    matches!(self.alive, Some((a, Stage::Preparing | Stage::Opening)) if a == g),
                    "nothing to cancel"
                );
            }
            Effect::Prove(g) => {
                assert_eq!(self.alive, Some((g, Stage::Open)), "{g} is proven before it is open")
            }
            Effect::Serve(g) => {
                assert_eq!(self.alive, Some((g, Stage::Open)), "{g} serves without a connection");
                assert_eq!(self.serving, None, "{g} serves twice");
                self.serving = Some(g);
            }
            Effect::Suspend(g) => {
                assert_eq!(self.serving.take(), Some(g), "{g} is suspended but does not serve")
            }
            Effect::Close(g) => {
                assert_eq!(self.alive, Some((g, Stage::Open)), "{g} is closed but not open");
                assert_eq!(self.serving, None, "{g} is closed while it serves");
            }
        }
    }

    /// What must hold after every event.
    pub(super) fn check(&self) {
        let state = self.machine.state();
        let serves = matches!(state, State::Ready | State::Degraded);
        assert_eq!(self.serving.is_some(), serves, "calls are let in exactly while it serves; {state:?}");
        assert_eq!(
            self.alive.is_none(),
            self.machine.is_resting(),
            "what is alive and the state agree; {state:?}"
        );
        assert!(!self.machine.is_asleep() || self.machine.is_wanted(), "who sleeps can be woken");
        let timeless =
            matches!(state, State::Stopped | State::Disabled | State::Fatal | State::Ready | State::Degraded);
        assert!(timeless || self.machine.next_deadline().is_some(), "{state:?} waits for ever");
        if self.machine.is_asleep() {
            let ends = matches!(state, State::Stopped | State::Draining | State::Stopping);
            assert!(ends, "{state:?} is asleep");
        }
        let down = matches!(state, State::Backoff | State::Quarantined | State::Fatal);
        assert!(!down || self.machine.cause().is_some(), "{state:?} without a cause");
    }

    /// The outside world makes a step with what is alive.
    pub(super) fn step(&mut self, what: Step, roll: f64) {
        let Some((g, stage)) = self.alive else { return };
        let event = match (what, stage) {
            (Step::Succeed, Stage::Preparing) => Event::Prepared(g),
            (Step::Fail(kind), Stage::Preparing) => {
                self.alive = None;
                Event::PrepareFailed(g, Cause::new(kind, "x"))
            }
            (Step::Succeed, Stage::Opening) => {
                self.alive = Some((g, Stage::Open));
                Event::Opened(g)
            }
            (Step::Fail(kind), Stage::Opening) => {
                self.alive = None;
                Event::OpenFailed(g, Cause::new(kind, "x"))
            }
            (Step::Succeed, Stage::Open) => Event::Proven(g),
            (Step::Fail(kind), Stage::Open) => {
                self.alive = None;
                // The end overtakes the machine's knowledge of serving.
                Event::Closed(g, Cause::new(kind, "x"))
            }
        };
        // A generation that was cancelled while it prepared ends with its preparation.
        if matches!(event, Event::Prepared(_)) && self.machine.state() == State::Stopping {
            self.alive = None;
        }
        self.send_rolled(event, roll);
    }

    pub(super) fn up(&mut self) {
        for _ in 0..3 {
            self.step(Step::Succeed, 0.5);
        }
        assert_eq!(self.machine.state(), State::Ready);
    }

    /// Lets time pass, up to the next start if one comes before.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.machine.next_deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.send(Event::Tick);
            if self.machine.state() == State::Preparing {
                return;
            }
        }
        self.now = self.now.max(end);
    }

    pub(super) fn crash(&mut self) {
        if matches!(self.alive, Some((_, Stage::Preparing))) {
            self.step(Step::Succeed, 0.5);
        }
        self.step(Step::Fail(CauseKind::Exited), 0.5);
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Succeed,
    Fail(CauseKind),
}
