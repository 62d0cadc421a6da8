//! Any order of events, with stale and repeated ones made on purpose.

use std::time::Duration;

use proptest::prelude::*;
use wharf_plugin_api::{Cause, CauseKind};

use super::world::{Stage, Step, World, policy};
use crate::id::Generation;
use crate::lifecycle::{Event, Policy, State};

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
    Sleep,
    Wake,
    Heard,
    Lost,
}

fn action() -> impl Strategy<Value = Action> {
    let kind = prop_oneof![
        6 => Just(CauseKind::Exited), 2 => Just(CauseKind::Signalled), 1 => Just(CauseKind::NotFound)
    ];
    prop_oneof![
        3 => (0..7u8).prop_map(Action::Operator),
        8 => (prop_oneof![4 => Just(Step::Succeed), 1 => kind.prop_map(Step::Fail)], 0.0..=1.0).prop_map(|(s, r)| Action::World(s, r)),
        4 => (0..13u8, 0..4u64).prop_map(|(e, back)| Action::Stale(e, back)),
        3 => (any::<bool>(), any::<bool>()).prop_map(|(ok, busy)| Action::Probe(ok, busy)),
        1 => Just(Action::ProofFails),
        1 => Just(Action::Idle),
        2 => (0..100_000u64).prop_map(Action::Pass),
        3 => Just(Action::Deadline),
        1 => any::<bool>().prop_map(Action::Serviceable),
        2 => Just(Action::Sleep),
        2 => Just(Action::Wake),
        2 => Just(Action::Heard),
        2 => Just(Action::Lost),
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
        8 => Event::Admitted(g),
        9 => Event::Sleep(g),
        10 => Event::Heard(g),
        11 => Event::Lost(g, cause),
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
            5 => Event::Renew,
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
        Action::Sleep => world.send(Event::Sleep(world.machine.generation())),
        Action::Heard => {
            let before = (world.machine.state(), world.machine.next_deadline());
            let fetching = world.machine.awaits_a_word();
            world.send(Event::Heard(world.machine.generation()));
            assert!(!world.machine.awaits_a_word());
            let after = (world.machine.state(), world.machine.next_deadline());
            assert!(fetching || before == after, "a word changes nothing but a fetching");
        }
        Action::Lost => lose(world),
        Action::Wake => {
            let wanted = world.machine.is_wanted();
            world.send(Event::Wake);
            // Whatever it was doing, it serves, or will.
            assert!(!world.machine.is_asleep() && world.machine.is_wanted() == wanted);
            assert!(!wanted || world.machine.state() != State::Stopped, "a call waits for nothing");
        }
    }
}

fn lose(world: &mut World) {
    let open = matches!(world.alive, Some((_, Stage::Open)));
    let lost = || Event::Lost(world.machine.generation(), Cause::new(CauseKind::LinkLost, "x"));
    let (lost, again) = (lost(), lost());
    let before = world.machine.state();
    world.send(lost);
    let after = (world.machine.state(), world.machine.next_deadline());
    // Nobody is let in any more, though it is not gone.
    let expected = if open { State::Stopping } else { before };
    assert_eq!(after.0, expected);
    world.send(again);
    assert_eq!(after, (world.machine.state(), world.machine.next_deadline()), "told twice");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_events_keeps_the_rules(lazy: bool, fetches: bool, actions in prop::collection::vec(action(), 1..80)) {
        let mut world = World::new(Policy { lazy, fetches, ..policy() });
        if lazy {
            world.machine = world.machine.asleep();
        }
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
