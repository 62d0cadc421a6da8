//! What is promised of a command that fetches what it runs.

use std::time::Duration;

use wharf_plugin_api::CauseKind;

use super::world::{Step, World, policy};
use crate::id::Generation;
use crate::lifecycle::{Event, Policy, State};

fn fetching() -> World {
    let mut world = World::new(Policy { fetches: true, ..policy() });
    world.send(Event::Start);
    world.step(Step::Succeed, 0.5);
    assert_eq!(world.machine.state(), State::Preparing, "its process runs, and fetches");
    world
}

fn wait(world: &mut World, secs: u64) {
    world.now = world.now + Duration::from_secs(secs);
    world.send(Event::Tick);
}

fn cause(world: &World) -> Option<CauseKind> {
    world.machine.cause().map(|cause| cause.kind)
}

#[test]
fn the_start_begins_with_the_first_word() {
    let mut world = fetching();
    wait(&mut world, 299);
    world.send(Event::Heard(Generation(1)));
    assert_eq!(world.machine.state(), State::Starting);
    wait(&mut world, 29);
    // Said again, it is no news.
    world.send(Event::Heard(Generation(1)));
    assert_eq!(world.machine.state(), State::Starting);
    wait(&mut world, 1);
    assert_eq!((world.machine.state(), cause(&world)), (State::Stopping, Some(CauseKind::StartTimeout)));
}

#[test]
fn one_that_answers_at_once_is_proven_within_the_time_for_a_start() {
    let mut world = fetching();
    world.step(Step::Succeed, 0.5);
    assert_eq!(world.machine.state(), State::Starting);
    assert_eq!(world.machine.next_deadline().unwrap() - world.now, Duration::from_secs(30));
    world.step(Step::Succeed, 0.5);
    assert_eq!(world.machine.state(), State::Ready);
}

#[test]
fn silence_is_cut_off_after_both_budgets() {
    let mut world = fetching();
    wait(&mut world, 300);
    assert_eq!(world.machine.state(), State::Starting, "it may be as good as there");
    wait(&mut world, 29);
    assert_eq!(world.machine.state(), State::Starting);
    wait(&mut world, 1);
    assert_eq!((world.machine.state(), cause(&world)), (State::Stopping, Some(CauseKind::PrepareFailed)));
    world.crash();
    assert_eq!((world.machine.state(), cause(&world)), (State::Backoff, Some(CauseKind::PrepareFailed)));
}

#[test]
fn a_failed_fetch_is_no_failed_start_and_no_crash() {
    let mut world = fetching();
    for _ in 0..100 {
        world.step(Step::Fail(CauseKind::Exited), 0.5);
        assert_eq!((world.machine.state(), cause(&world)), (State::Backoff, Some(CauseKind::PrepareFailed)));
        assert!(!world.machine.is_after_crash() && !world.machine.is_quarantined());
        assert!(world.machine.next_attempt().unwrap() - world.now <= Duration::from_secs(60));
        world.pass(Duration::from_secs(61));
        world.step(Step::Succeed, 0.5);
    }
}

#[test]
fn a_server_that_was_heard_and_dies_did_fail_to_start() {
    let mut world = fetching();
    while world.machine.state() != State::Quarantined {
        world.send(Event::Heard(world.machine.generation()));
        world.step(Step::Fail(CauseKind::Exited), 0.5);
        assert_eq!(cause(&world), Some(CauseKind::Exited));
        world.pass(Duration::from_secs(61));
        world.step(Step::Succeed, 0.5);
        assert!(world.starts < 9);
    }
}

#[test]
fn what_no_further_try_can_help_is_fatal_while_fetching_too() {
    for kind in [CauseKind::NotFound, CauseKind::ExitedForGood] {
        let mut world = fetching();
        world.step(Step::Fail(kind), 0.5);
        assert_eq!((world.machine.state(), cause(&world)), (State::Fatal, Some(kind)));
    }
}

#[test]
fn an_operator_can_end_a_fetching() {
    let mut world = fetching();
    world.send(Event::Stop);
    world.crash();
    assert_eq!((world.machine.state(), cause(&world)), (State::Stopped, Some(CauseKind::Requested)));
}

#[test]
fn a_preparation_that_fails_is_not_counted_either() {
    let mut world = World::new(policy());
    world.send(Event::Start);
    for _ in 0..20 {
        world.step(Step::Fail(CauseKind::SpawnFailed), 0.5);
        assert_eq!((world.machine.state(), cause(&world)), (State::Backoff, Some(CauseKind::PrepareFailed)));
        world.pass(Duration::from_secs(61));
    }
}
