//! What is promised of one that runs only while it is used.

use std::time::Duration;

use proptest::prelude::*;
use wharf_plugin_api::CauseKind;

use super::world::{Step, World, policy};
use crate::id::Generation;
use crate::lifecycle::{Event, Policy, State};
use crate::manifest::RestartPolicy;
use crate::pick::{Outlook, outlook};

fn lazy() -> World {
    let mut world = World::new(Policy { lazy: true, ..policy() });
    world.machine = world.machine.asleep();
    world
}

/// Its last generation.
fn sleep(world: &mut World) {
    world.send(Event::Sleep(world.machine.generation()));
}

#[test]
fn the_first_call_starts_it_and_idleness_ends_it() {
    let mut world = lazy();
    assert_eq!((world.machine.state(), world.starts), (State::Stopped, 0));
    assert_eq!(world.machine.cause().map(|cause| cause.kind), Some(CauseKind::Lazy));
    world.send(Event::Wake);
    assert_eq!(world.machine.cause().map(|cause| cause.kind), None);
    world.up();
    sleep(&mut world);
    assert_eq!((world.machine.state(), world.serving), (State::Draining, None));
    world.send(Event::Idle(Generation(1)));
    assert_eq!(world.machine.state(), State::Stopping);
    world.crash();
    assert_eq!((world.machine.state(), world.machine.next_deadline()), (State::Stopped, None));
    assert!(world.machine.is_asleep());
    world.send(Event::Wake);
    world.up();
    assert_eq!((world.machine.generation(), world.machine.restarts()), (Generation(2), 0));
}

#[test]
fn a_call_that_slips_in_goes_on_in_the_same_generation() {
    let mut world = lazy();
    world.send(Event::Wake);
    world.up();
    sleep(&mut world);
    world.send(Event::Wake);
    assert_eq!((world.machine.state(), world.serving), (State::Ready, Some(Generation(1))));
}

#[test]
fn a_call_during_the_end_starts_it_again_when_nothing_is_left() {
    let mut world = lazy();
    world.send(Event::Wake);
    world.up();
    sleep(&mut world);
    world.send(Event::Idle(Generation(1)));
    world.send(Event::Wake);
    assert_eq!(world.machine.state(), State::Stopping);
    world.crash();
    assert_eq!((world.machine.state(), world.machine.generation()), (State::Preparing, Generation(2)));
}

#[test]
fn an_operator_has_the_last_word() {
    let mut world = lazy();
    world.send(Event::Stop);
    world.send(Event::Wake);
    assert_eq!((world.machine.state(), world.machine.is_wanted()), (State::Stopped, false));
    world.send(Event::Start);
    world.up();
    for (event, end) in [(Event::Drain, State::Stopped), (Event::Disable, State::Disabled)] {
        world.send(Event::Enable);
        if world.alive.is_some_and(|_| world.serving.is_none()) {
            world.up();
        }
        sleep(&mut world);
        world.send(event);
        world.send(Event::Wake);
        world.send(Event::Idle(world.machine.generation()));
        world.crash();
        assert_eq!(world.machine.state(), end);
    }
}

#[test]
fn a_new_setup_is_what_the_next_call_gets() {
    let mut world = lazy();
    world.send(Event::Renew);
    assert_eq!((world.machine.state(), world.starts), (State::Stopped, 0), "whoever sleeps is left alone");
    world.send(Event::Wake);
    world.up();
    sleep(&mut world);
    world.send(Event::Renew);
    world.send(Event::Wake);
    world.send(Event::Idle(Generation(1)));
    world.crash();
    assert_eq!(world.machine.state(), State::Preparing, "not the old one again");
}

#[test]
fn only_a_lazy_one_sleeps_and_none_on_probation() {
    let mut world = World::new(policy());
    world.send(Event::Start);
    world.up();
    sleep(&mut world);
    assert_eq!(world.machine.state(), State::Ready);

    let mut world = lazy();
    world.send(Event::Wake);
    while world.machine.state() != State::Quarantined {
        world.crash();
        world.pass(Duration::from_secs(61));
    }
    world.pass(Duration::from_secs(400));
    world.up();
    sleep(&mut world);
    assert_eq!(world.machine.state(), State::Ready);
}

#[test]
fn one_that_ends_by_itself_sleeps_if_it_had_worked() {
    for (worked, wanted) in [(true, true), (false, false)] {
        let mut rules = Policy { lazy: true, ..policy() };
        rules.restart.policy = RestartPolicy::Never;
        let mut world = World::new(rules);
        world.machine = world.machine.asleep();
        world.send(Event::Wake);
        if worked {
            world.up();
        }
        world.crash();
        assert_eq!((world.machine.state(), world.machine.is_wanted()), (State::Stopped, wanted));
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Arrive,
    Leave,
    Doze,
    World,
}

proptest! {
    /// Calls come and go, as the host lets them, while it falls asleep at any moment between: none finds that it has to fail,
    /// and none is cut off.
    #[test]
    fn no_call_fails_because_it_sleeps(acts in prop::collection::vec(
        prop_oneof![3 => Just(Act::Arrive), 3 => Just(Act::Leave), 3 => Just(Act::Doze), 4 => Just(Act::World)], 1..120,
    )) {
        let mut world = lazy();
        let (mut waiting, mut inflight) = (0u32, 0u32);
        for act in acts {
            match act {
                Act::Arrive => waiting += 1,
                Act::Leave => inflight = inflight.saturating_sub(1),
                // What the supervisor does in one step: no new calls, then a look at those that slipped in.
                Act::Doze => {
                    sleep(&mut world);
                    if world.machine.state() == State::Draining {
                        let next = if inflight > 0 { Event::Wake } else { Event::Idle(world.machine.generation()) };
                        world.send(next);
                    }
                }
                Act::World if world.machine.state() == State::Stopping => world.crash(),
                Act::World if world.serving.is_none() => world.step(Step::Succeed, 0.5),
                Act::World => {}
            }
            prop_assert!(inflight == 0 || world.serving.is_some(), "a call was cut off");
            if world.serving.is_some() {
                inflight += std::mem::take(&mut waiting);
            } else if waiting > 0 {
                prop_assert_eq!(outlook(world.machine.state(), world.machine.is_wanted()), Outlook::Wait);
                world.send(Event::Wake);
            }
        }
        while waiting > 0 && world.serving.is_none() {
            if world.machine.state() == State::Stopping { world.crash() } else { world.step(Step::Succeed, 0.5) }
        }
    }
}
