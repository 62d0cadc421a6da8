//! The lifecycle under any order of events, with stale and repeated ones made on purpose.

use std::time::Duration;

use proptest::prelude::*;
use wharf_plugin_api::{Cause, CauseKind, ExitReport};

use super::{Context, Effect, Event, Machine, Policy, State};
use crate::id::Generation;
use crate::manifest::{Restart, RestartPolicy};
use crate::moment::Moment;

fn policy() -> Policy {
    Policy {
        restart: Restart::default(),
        failures: 3,
        start_timeout: Duration::from_secs(30),
        prepare_timeout: Duration::from_secs(300),
        drain: Duration::from_secs(30),
        stop: Duration::from_secs(12),
    }
}

/// The world outside of the machine: it does what the effects say, and checks that they may be asked for.
struct World {
    machine: Machine,
    now: Moment,
    last_serviceable: bool,
    /// The generation of which something is alive, and how far it got.
    alive: Option<(Generation, Stage)>,
    serving: Option<Generation>,
    starts: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Preparing,
    Opening,
    Open,
}

impl World {
    fn new(policy: Policy) -> Self {
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

    fn send(&mut self, event: Event) {
        self.send_rolled(event, 0.5);
    }

    fn send_rolled(&mut self, event: Event, roll: f64) {
        let cx = Context { now: self.now, roll, last_serviceable: self.last_serviceable };
        for effect in self.machine.on(event, cx) {
            self.carry_out(effect);
        }
        self.check();
    }

    fn carry_out(&mut self, effect: Effect) {
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
    fn check(&self) {
        let state = self.machine.state();
        let serves = matches!(state, State::Ready | State::Degraded);
        assert_eq!(self.serving.is_some(), serves, "calls are let in exactly while it serves; {state:?}");
        assert_eq!(
            self.alive.is_none(),
            self.machine.is_resting(),
            "what is alive and the state agree; {state:?}"
        );
        let timeless =
            matches!(state, State::Stopped | State::Disabled | State::Fatal | State::Ready | State::Degraded);
        assert!(timeless || self.machine.next_deadline().is_some(), "{state:?} waits for ever");
        let down = matches!(state, State::Backoff | State::Quarantined | State::Fatal);
        assert!(!down || self.machine.cause().is_some(), "{state:?} without a cause");
    }

    /// The outside world makes a step with what is alive.
    fn step(&mut self, what: Step, roll: f64) {
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

    fn up(&mut self) {
        for _ in 0..3 {
            self.step(Step::Succeed, 0.5);
        }
        assert_eq!(self.machine.state(), State::Ready);
    }

    /// Lets time pass, up to the next start if one comes before.
    fn pass(&mut self, time: Duration) {
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

    fn crash(&mut self) {
        self.step(Step::Fail(CauseKind::Exited), 0.5);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Succeed,
    Fail(CauseKind),
}

#[derive(Clone, Debug)]
enum Action {
    Operator(u8),
    World(Step, f64),
    Stale(u8, u64),
    Probe(bool, bool),
    ProofFails,
    Idle,
    Pass(u64),
    Deadline,
    Serviceable(bool),
}

fn action() -> impl Strategy<Value = Action> {
    let kind = prop_oneof![
        6 => Just(CauseKind::Exited), 2 => Just(CauseKind::Signalled), 1 => Just(CauseKind::NotFound)
    ];
    prop_oneof![
        3 => (0..6u8).prop_map(Action::Operator),
        8 => (prop_oneof![4 => Just(Step::Succeed), 1 => kind.prop_map(Step::Fail)], 0.0..=1.0).prop_map(|(s, r)| Action::World(s, r)),
        4 => (0..9u8, 0..4u64).prop_map(|(e, back)| Action::Stale(e, back)),
        3 => (any::<bool>(), any::<bool>()).prop_map(|(ok, busy)| Action::Probe(ok, busy)),
        1 => Just(Action::ProofFails),
        1 => Just(Action::Idle),
        2 => (0..100_000u64).prop_map(Action::Pass),
        3 => Just(Action::Deadline),
        1 => any::<bool>().prop_map(Action::Serviceable),
    ]
}

fn stale_event(n: u8, g: Generation) -> Event {
    let cause = Cause::new(CauseKind::Exited, "stale");
    match n {
        0 => Event::Prepared(g),
        1 => Event::PrepareFailed(g, cause),
        2 => Event::Opened(g),
        3 => Event::OpenFailed(g, cause),
        4 => Event::Proven(g),
        5 => Event::ProofFailed(g, cause),
        6 => Event::Closed(g, cause),
        7 => Event::Idle(g),
        _ => Event::Probed { generation: g, ok: false, busy: false },
    }
}

fn act(world: &mut World, action: Action) {
    match action {
        Action::Operator(n) => world.send(match n {
            0 => Event::Start,
            1 => Event::Stop,
            2 => Event::Restart,
            3 => Event::Drain,
            4 => Event::Disable,
            _ => Event::Enable,
        }),
        Action::World(step, roll) => world.step(step, roll),
        Action::Stale(event, back) => {
            let g = Generation(world.machine.generation().0.saturating_sub(back + 1));
            let before = (world.machine.state(), world.machine.generation(), world.machine.next_deadline());
            world.send(stale_event(event, g));
            let after = (world.machine.state(), world.machine.generation(), world.machine.next_deadline());
            assert_eq!(before, after, "an event of an old generation changed something");
        }
        Action::Probe(ok, busy) => {
            world.send(Event::Probed { generation: world.machine.generation(), ok, busy });
        }
        Action::ProofFails => {
            world
                .send(Event::ProofFailed(world.machine.generation(), Cause::new(CauseKind::ListFailed, "x")));
        }
        Action::Idle => world.send(Event::Idle(world.machine.generation())),
        Action::Pass(millis) => {
            world.now = world.now + Duration::from_millis(millis);
            world.send(Event::Tick);
        }
        Action::Deadline => {
            if let Some(at) = world.machine.next_deadline() {
                world.now = world.now.max(at);
                world.send(Event::Tick);
            }
        }
        Action::Serviceable(last) => world.last_serviceable = last,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_events_keeps_the_rules(actions in prop::collection::vec(action(), 1..80)) {
        let mut world = World::new(policy());
        for action in actions {
            act(&mut world, action);
        }
        // Whatever happened, an operator's stop brings it to rest once the world has done its part.
        world.send(Event::Stop);
        if world.alive.is_some() {
            world.step(Step::Fail(CauseKind::Exited), 0.5);
        }
        prop_assert!(matches!(world.machine.state(), State::Stopped | State::Disabled));
    }
}

#[test]
fn it_starts_serves_and_stops() {
    let mut world = World::new(policy());
    world.send(Event::Start);
    world.up();
    world.send(Event::Stop);
    assert_eq!(world.machine.state(), State::Stopping);
    world.crash();
    assert_eq!(world.machine.state(), State::Stopped);
    assert_eq!(world.machine.cause().map(|c| c.kind), Some(CauseKind::Requested));
}

/// F03 of the fault suite: "fails once in a while" never means "waits the longest delay".
#[test]
fn a_crash_each_eleven_minutes_for_a_month_is_restarted_at_once() {
    let mut world = World::new(policy());
    world.send(Event::Start);
    for _ in 0..30 * 24 * 60 / 11 {
        world.up();
        world.pass(Duration::from_secs(11 * 60));
        world.crash();
        assert_eq!(world.machine.state(), State::Preparing, "at once");
    }
}

/// F04: crash each 5 s for a day: a few hundred starts, quarantined, never given up.
#[test]
fn a_crash_loop_ends_in_quarantine_and_goes_on_trying() {
    let mut world = World::new(policy());
    world.send(Event::Start);
    let day = Duration::from_secs(24 * 3600);
    while world.now.since_start() < day {
        world.up();
        world.pass(Duration::from_secs(5));
        world.crash();
        world.pass(Duration::from_secs(400));
    }
    assert!(world.machine.is_quarantined());
    assert!((200..400).contains(&world.starts), "{} starts", world.starts);
}

#[test]
fn starts_that_never_get_ready_follow_the_backoff_into_quarantine() {
    let mut world = World::new(policy());
    world.send(Event::Start);
    for delay in [500, 1000, 2000, 4000] {
        world.crash();
        assert_eq!(world.machine.state(), State::Backoff);
        let at = world.machine.next_attempt().unwrap();
        assert_eq!(at - world.now, Duration::from_millis(delay));
        world.now = at;
        world.send(Event::Tick);
    }
    world.crash();
    assert_eq!(world.machine.state(), State::Quarantined);
    let wait = world.machine.next_attempt().unwrap() - world.now;
    assert!((240..=360).contains(&wait.as_secs()));
}

#[test]
fn quarantine_is_left_by_a_minute_of_being_ready_only() {
    let mut world = World::new(policy());
    world.send(Event::Start);
    while world.machine.state() != State::Quarantined {
        world.crash();
        world.pass(Duration::from_secs(61));
    }
    world.pass(Duration::from_secs(400));
    world.up();
    world.pass(Duration::from_secs(30));
    world.crash();
    assert_eq!(world.machine.state(), State::Quarantined, "still on probation");
    world.pass(Duration::from_secs(400));
    world.up();
    world.pass(Duration::from_secs(60));
    assert!(!world.machine.is_quarantined());
    world.crash();
    assert_ne!(world.machine.state(), State::Quarantined);
}

#[test]
fn the_last_serviceable_instance_is_backed_off_only() {
    let mut world = World::new(policy());
    world.last_serviceable = true;
    world.send(Event::Start);
    for _ in 0..50 {
        world.crash();
        assert_eq!(world.machine.state(), State::Backoff);
        world.pass(Duration::from_secs(61));
    }
}

#[test]
fn what_cannot_heal_is_fatal_until_an_operator_or_a_new_manifest() {
    let mut world = World::new(policy());
    world.send(Event::Start);
    world.step(Step::Fail(CauseKind::NotFound), 0.5);
    assert_eq!((world.machine.state(), world.machine.next_deadline()), (State::Fatal, None));
    world.send(Event::Restart);
    assert_eq!(world.machine.state(), State::Preparing);
}

#[test]
fn a_busy_instance_is_degraded_and_never_ended_for_its_silence() {
    let mut world = World::new(policy());
    world.send(Event::Start);
    world.up();
    let probe = |ok, busy| Event::Probed { generation: Generation(1), ok, busy };
    for _ in 0..20 {
        world.send(probe(false, true));
    }
    assert_eq!(world.machine.state(), State::Degraded);
    world.send(probe(true, true));
    assert_eq!(world.machine.state(), State::Degraded, "one good probe is not enough");
    world.send(probe(true, false));
    assert_eq!(world.machine.state(), State::Ready);
    for _ in 0..3 {
        world.send(probe(false, false));
    }
    assert_eq!(world.machine.state(), State::Stopping);
    world.crash();
    assert_eq!(world.machine.cause().map(|c| c.kind), Some(CauseKind::Unhealthy));
}

#[test]
fn a_drain_waits_for_calls_but_not_for_ever() {
    for idle in [true, false] {
        let mut world = World::new(policy());
        world.send(Event::Start);
        world.up();
        world.send(Event::Drain);
        assert_eq!((world.machine.state(), world.serving), (State::Draining, None));
        if idle {
            world.send(Event::Idle(Generation(1)));
        } else {
            world.now = world.now + Duration::from_secs(30);
            world.send(Event::Tick);
        }
        assert_eq!(world.machine.state(), State::Stopping);
        world.crash();
        assert_eq!(world.machine.state(), State::Stopped);
    }
}

#[test]
fn a_slow_start_is_cancelled_and_its_cause_is_told() {
    let mut world = World::new(policy());
    world.send(Event::Start);
    world.step(Step::Succeed, 0.5);
    world.now = world.now + Duration::from_secs(30);
    world.send(Event::Tick);
    assert_eq!(world.machine.state(), State::Stopping);
    world.crash();
    assert_eq!(
        (world.machine.state(), world.machine.cause().map(|c| c.kind)),
        (State::Backoff, Some(CauseKind::StartTimeout))
    );
}

#[test]
fn the_restart_policy_decides_who_comes_back() {
    let exit = |code| Cause::of_exit(ExitReport { code: Some(code), ..ExitReport::default() });
    for (rule, code, state) in [
        (RestartPolicy::Always, 0, State::Backoff),
        (RestartPolicy::OnFailure, 0, State::Stopped),
        (RestartPolicy::OnFailure, 1, State::Backoff),
        (RestartPolicy::Never, 1, State::Stopped),
        (RestartPolicy::Always, 78, State::Fatal),
    ] {
        let mut rules = policy();
        rules.restart.policy = rule;
        let mut world = World::new(rules);
        world.send(Event::Start);
        world.up();
        world.alive = None;
        world.send(Event::Closed(Generation(1), exit(code)));
        assert_eq!(world.machine.state(), state, "{rule:?} {code}");
    }
}
