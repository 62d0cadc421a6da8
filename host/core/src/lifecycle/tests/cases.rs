//! What is promised of single courses of events.

use std::time::Duration;

use wharf_plugin_api::{Cause, CauseKind, ExitReport};

use super::world::{Step, World, policy};
use crate::id::Generation;
use crate::lifecycle::{Event, State};
use crate::manifest::RestartPolicy;

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
fn what_cannot_be_reached_is_tried_each_minute_and_never_quarantined() {
    let mut world = World::new(policy());
    world.send(Event::Start);
    for _ in 0..100 {
        world.step(Step::Fail(CauseKind::Unreachable), 0.5);
        assert_eq!(world.machine.state(), State::Backoff);
        assert!(world.machine.next_attempt().unwrap() - world.now <= Duration::from_secs(60));
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
fn a_new_setup_waits_for_the_calls_and_a_start_does_not_cut_a_drain() {
    for event in [Event::Renew, Event::Drain] {
        let mut world = World::new(policy());
        world.send(Event::Start);
        world.up();
        world.send(event);
        assert_eq!((world.machine.state(), world.serving), (State::Draining, None));
        world.send(Event::Start);
        assert_eq!(world.machine.state(), State::Draining);
        world.send(Event::Idle(Generation(1)));
        world.crash();
        assert_eq!((world.machine.state(), world.machine.generation()), (State::Preparing, Generation(2)));
        assert_eq!(world.machine.restarts(), 0);
    }
}

#[test]
fn a_new_setup_starts_nothing_that_is_down() {
    let mut world = World::new(policy());
    world.send(Event::Renew);
    assert_eq!(world.machine.state(), State::Stopped);
}

#[test]
fn waiting_for_leave_to_start_is_no_failure() {
    let mut world = World::new(policy());
    world.send(Event::Start);
    world.pass(Duration::from_secs(1000));
    assert_eq!(world.machine.state(), State::Preparing);
    world.send(Event::Admitted(Generation(1)));
    world.now = world.now + Duration::from_secs(299);
    world.send(Event::Tick);
    assert_eq!(world.machine.state(), State::Preparing);
    world.now = world.now + Duration::from_secs(1);
    world.send(Event::Tick);
    assert_eq!(world.machine.state(), State::Stopping);
}

#[test]
fn only_a_crash_of_what_was_ready_counts_as_a_restart_after_a_crash() {
    let mut world = World::new(policy());
    world.send(Event::Start);
    for kind in [CauseKind::Exited, CauseKind::Unreachable] {
        world.step(Step::Fail(kind), 0.5);
        assert!(!world.machine.is_after_crash());
        world.pass(Duration::from_secs(100));
    }
    world.up();
    world.crash();
    assert!(world.machine.is_after_crash());
    world.send(Event::Start);
    assert!(!world.machine.is_after_crash(), "an operator's start is none");
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

/// What went wrong counts, not how what was left of it was brought to its end.
#[test]
fn a_lost_connection_is_shown_before_its_process_is_gone() {
    let mut world = World::new(policy());
    world.send(Event::Start);
    world.up();
    world.send(Event::Lost(Generation(1), Cause::new(CauseKind::LinkLost, "it closed its stdout")));
    assert_eq!(world.machine.state(), State::Stopping);
    assert_eq!(world.machine.cause().map(|c| c.kind), Some(CauseKind::LinkLost));
    world.alive = None;
    let killed = ExitReport { signal: Some(9), ..ExitReport::default() };
    world.send(Event::Closed(Generation(1), Cause::of_exit(killed)));
    assert_eq!(world.machine.state(), State::Backoff);
    let cause = world.machine.cause().unwrap();
    assert_eq!(
        (cause.kind, cause.exit.as_ref().and_then(|exit| exit.signal)),
        (CauseKind::LinkLost, Some(9))
    );
}

#[test]
fn a_connection_that_is_lost_in_a_drain_is_no_failure() {
    let mut world = World::new(policy());
    world.send(Event::Start);
    world.up();
    world.send(Event::Drain);
    world.send(Event::Lost(Generation(1), Cause::new(CauseKind::Exited, "x")));
    assert_eq!(world.machine.state(), State::Stopping);
    world.crash();
    assert_eq!((world.machine.state(), world.machine.restarts()), (State::Stopped, 0));
}
