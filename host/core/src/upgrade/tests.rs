//! The course of an upgrade, and any order of events with stale and repeated ones.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use wharf_plugin_api::{Cause, CauseKind};

use super::{Effect, Event, Fare, Step, Terms, Upgrade, failed};
use crate::moment::Moment;
use crate::slot::Revision;

const PROOF: Duration = Duration::from_secs(30);
const TRIAL: Duration = Duration::from_secs(60);
const BESIDE: Terms = Terms { beside: true, proof: PROOF, trial: TRIAL };

fn at(seconds: u64) -> Moment {
    Moment::new(Duration::from_secs(seconds))
}

fn crash() -> Cause {
    Cause::new(CauseKind::Exited, "exit code 1")
}

fn crashed(to: u64) -> Event {
    Event::Crashed { to: Revision(to), cause: crash(), old_serves: true }
}

fn step(upgrade: &Upgrade) -> Option<Step> {
    upgrade.status().map(|status| status.step)
}

#[test]
fn a_version_that_works_takes_over_and_the_old_one_ends_after_the_trial() {
    let (mut upgrade, to) = (Upgrade::default(), Revision(2));
    assert_eq!(upgrade.on(Event::Changed(BESIDE), at(0)), [Effect::Start(to), Effect::Tell]);
    assert_eq!((upgrade.serving(), upgrade.proving()), (Revision(1), Some(to)));
    // Its time begins with its launch.
    upgrade.on(Event::Launched(to), at(100));
    upgrade.on(Event::Launched(to), at(110));
    assert_eq!(upgrade.next_deadline(), Some(at(130)));
    assert_eq!(upgrade.on(Event::Ready(to), at(101)), [Effect::Switch(to), Effect::Tell]);
    assert_eq!((upgrade.serving(), upgrade.on_trial()), (to, Some(to)));
    assert!(upgrade.on(Event::Tick(None), at(160)).is_empty());
    assert_eq!(upgrade.on(Event::Tick(None), at(161)), [Effect::EndOld, Effect::Tell]);
    assert_eq!((step(&upgrade), upgrade.next_deadline()), (Some(Step::Done), None));
}

#[test]
fn one_that_fails_ends_and_is_not_tried_again_but_by_an_operator() {
    let (mut upgrade, to) = (Upgrade::default(), Revision(2));
    upgrade.on(Event::Changed(BESIDE), at(0));
    assert_eq!(upgrade.on(Event::Failed(to, crash()), at(1)), [Effect::EndNew(to), Effect::Tell]);
    let status = upgrade.status().unwrap();
    assert_eq!((status.step, status.cause.as_ref().unwrap().kind), (Step::RolledBack, CauseKind::Exited));
    assert_eq!(upgrade.serving(), Revision(1));
    assert!(upgrade.on(Event::Ready(to), at(2)).is_empty());
    assert_eq!(upgrade.on(Event::Operator("restart"), at(3)), [Effect::Adopt(to), Effect::Tell]);
    assert_eq!((upgrade.serving(), step(&upgrade)), (to, Some(Step::Done)));
    assert!(upgrade.on(Event::Operator("restart"), at(4)).is_empty(), "there is nothing newer");
}

#[test]
fn one_that_is_late_is_rolled_back_with_what_it_last_failed_from() {
    let (mut upgrade, to) = (Upgrade::default(), Revision(2));
    upgrade.on(Event::Changed(BESIDE), at(0));
    upgrade.on(Event::Launched(to), at(0));
    assert!(upgrade.on(Event::Tick(None), at(29)).is_empty());
    assert_eq!(upgrade.on(Event::Tick(Some(crash())), at(30)), [Effect::EndNew(to), Effect::Tell]);
    assert_eq!(upgrade.status().unwrap().cause.as_ref().unwrap().kind, CauseKind::Exited);
}

#[test]
fn a_crash_in_the_trial_gives_the_calls_back_if_there_is_somebody_to_take_them() {
    let (mut upgrade, to) = (Upgrade::default(), Revision(2));
    upgrade.on(Event::Changed(BESIDE), at(0));
    upgrade.on(Event::Ready(to), at(1));
    let alone = Event::Crashed { to, cause: crash(), old_serves: false };
    assert!(upgrade.on(alone, at(2)).is_empty(), "it is restarted like any other");
    assert_eq!(upgrade.on(crashed(2), at(3)), [Effect::TakeBack(to), Effect::Tell]);
    assert_eq!((upgrade.serving(), step(&upgrade)), (Revision(1), Some(Step::RolledBack)));
    assert!(upgrade.on(crashed(2), at(4)).is_empty());
}

#[test]
fn a_trial_fails_by_breakers_only_when_nobody_takes_a_call() {
    let shut = || Fare::Shut(Cause::new(CauseKind::Failing, "no answer"));
    assert!(failed([]).is_none() && failed([Fare::Away, Fare::Takes]).is_none());
    assert!(failed([shut(), Fare::Takes]).is_none(), "the others have its calls");
    assert_eq!(failed([Fare::Away, shut(), shut()]).unwrap().kind, CauseKind::Failing);
    assert_eq!(failed([shut(), Fare::Crashed(crash()), Fare::Takes]).unwrap().kind, CauseKind::Exited);
    // As the course of a trial: the old one has the calls again, and does not end with the trial's time.
    let (mut upgrade, to) = (Upgrade::default(), Revision(2));
    upgrade.on(Event::Changed(BESIDE), at(0));
    upgrade.on(Event::Ready(to), at(1));
    let cause = failed([shut()]).unwrap();
    let effects = upgrade.on(Event::Crashed { to, cause, old_serves: true }, at(2));
    assert_eq!(effects, [Effect::TakeBack(to), Effect::Tell]);
    assert!(upgrade.on(Event::Tick(None), at(100)).is_empty());
    assert_eq!((upgrade.serving(), step(&upgrade)), (Revision(1), Some(Step::RolledBack)));
}

#[test]
fn the_newest_of_several_changes_wins_and_there_are_never_three() {
    let mut upgrade = Upgrade::default();
    upgrade.on(Event::Changed(BESIDE), at(0));
    assert_eq!(upgrade.on(Event::Changed(BESIDE), at(1)), [Effect::Start(Revision(3)), Effect::Tell]);
    assert!(upgrade.on(Event::Ready(Revision(2)), at(2)).is_empty(), "it is of yesterday");
    upgrade.on(Event::Ready(Revision(3)), at(3));
    let fourth = upgrade.on(Event::Changed(BESIDE), at(4));
    assert_eq!(fourth, [Effect::EndOld, Effect::Tell, Effect::Start(Revision(4)), Effect::Tell]);
    assert_eq!(upgrade.on(Event::Back, at(5)), [Effect::EndNew(Revision(4)), Effect::Tell]);
    assert_eq!(upgrade.serving(), Revision(3));
}

#[test]
fn what_cannot_run_twice_is_replaced_and_an_operator_ends_both_waits() {
    let mut upgrade = Upgrade::default();
    let in_place = Terms { beside: false, ..BESIDE };
    assert_eq!(upgrade.on(Event::Changed(in_place), at(0)), [Effect::InPlace(Revision(2)), Effect::Tell]);
    upgrade.on(Event::Changed(BESIDE), at(1));
    let stopped = upgrade.on(Event::Operator("stop"), at(2));
    assert_eq!(stopped, [Effect::EndNew(Revision(3)), Effect::Adopt(Revision(3)), Effect::Tell]);
    upgrade.on(Event::Changed(BESIDE), at(3));
    upgrade.on(Event::Ready(Revision(4)), at(4));
    assert_eq!(upgrade.on(Event::Operator("stop"), at(5)), [Effect::EndOld, Effect::Tell]);
}

#[test]
fn without_a_trial_the_old_one_ends_at_once() {
    let mut upgrade = Upgrade::default();
    upgrade.on(Event::Changed(Terms { trial: Duration::ZERO, ..BESIDE }), at(0));
    let effects = upgrade.on(Event::Ready(Revision(2)), at(1));
    assert_eq!(effects, [Effect::Switch(Revision(2)), Effect::Tell, Effect::EndOld, Effect::Tell]);
}

// === any order ===

/// What there is, by what the effects have done.
struct World {
    upgrade: Upgrade,
    now: u64,
    /// Takes the calls.
    takes: Revision,
    fresh: Option<Revision>,
    warm: Option<Revision>,
    /// Versions that have served.
    proven: BTreeSet<Revision>,
}

#[derive(Clone, Debug)]
enum Action {
    Changed { beside: bool, trial: u64 },
    Back,
    Of(u8, u64),
    Crashed(u64, bool),
    Tick(u64),
    Operator,
    Deadline,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => (any::<bool>(), 0..3u64).prop_map(|(beside, trial)| Action::Changed { beside, trial: trial * 30 }),
        1 => Just(Action::Back),
        8 => (0..3u8, 0..3u64).prop_map(|(what, back)| Action::Of(what, back)),
        3 => (0..3u64, any::<bool>()).prop_map(|(back, old)| Action::Crashed(back, old)),
        2 => (0..50u64).prop_map(Action::Tick),
        1 => Just(Action::Operator),
        1 => Just(Action::Deadline),
    ]
}

impl World {
    fn new() -> Self {
        let first = Revision(1);
        let proven = BTreeSet::from([first]);
        Self { upgrade: Upgrade::default(), now: 0, takes: first, fresh: None, warm: None, proven }
    }

    fn act(&mut self, action: Action) {
        let back = |back: u64| Revision(self.upgrade.last.0.saturating_sub(back));
        let event = match action {
            Action::Changed { beside, trial } => {
                Event::Changed(Terms { beside, trial: Duration::from_secs(trial), ..BESIDE })
            }
            Action::Back => Event::Back,
            Action::Of(0, n) => Event::Launched(back(n)),
            Action::Of(1, n) => Event::Failed(back(n), crash()),
            Action::Of(_, n) => Event::Ready(back(n)),
            Action::Crashed(n, old_serves) => Event::Crashed { to: back(n), cause: crash(), old_serves },
            Action::Tick(seconds) => {
                self.now += seconds;
                Event::Tick(None)
            }
            Action::Operator => Event::Operator("stop"),
            Action::Deadline => {
                let due = self.upgrade.next_deadline().map_or(0, |due| due.since_start().as_secs());
                self.now = self.now.max(due);
                Event::Tick(None)
            }
        };
        self.send(event);
    }

    fn send(&mut self, event: Event) {
        for effect in self.upgrade.on(event, at(self.now)) {
            match effect {
                Effect::Start(to) => {
                    assert!(self.warm.is_none(), "three versions");
                    self.fresh = Some(to);
                }
                Effect::Switch(to) => {
                    assert_eq!(self.fresh.take(), Some(to), "it was not started");
                    self.warm = Some(std::mem::replace(&mut self.takes, to));
                    self.proven.insert(to);
                }
                Effect::TakeBack(to) => {
                    assert_eq!(self.takes, to);
                    self.takes = self.warm.take().expect("nobody is warm: both would be gone");
                    assert!(self.proven.contains(&self.takes));
                }
                Effect::EndNew(to) => assert_eq!(self.fresh.take(), Some(to), "what takes calls is not new"),
                Effect::EndOld => assert!(self.warm.take().is_some(), "nothing was warm"),
                Effect::InPlace(to) | Effect::Adopt(to) => {
                    assert!(self.fresh.is_none() && self.warm.is_none(), "{effect:?} beside another");
                    self.takes = to;
                    self.proven.insert(to);
                }
                Effect::Tell => assert!(self.upgrade.status().is_some()),
            }
        }
        assert_eq!(self.takes, self.upgrade.serving());
        assert_eq!(self.fresh, self.upgrade.proving());
        assert_eq!(self.warm.is_some(), self.upgrade.on_trial().is_some());
        assert!(self.fresh.is_none() || self.warm.is_none());
    }
}

fn fare() -> impl Strategy<Value = Fare> {
    prop_oneof![
        Just(Fare::Takes),
        Just(Fare::Away),
        Just(Fare::Shut(Cause::new(CauseKind::Failing, "no answer"))),
        Just(Fare::Crashed(crash())),
    ]
}

proptest! {
    #[test]
    fn a_crash_fails_a_trial_and_shut_doors_do_if_no_other_is_open(
        fares in prop::collection::vec(fare(), 0..8)
    ) {
        let any = |is: fn(&Fare) -> bool| fares.iter().any(is);
        let (crashed, shut) = (any(|fare| matches!(fare, Fare::Crashed(_))), any(|fare| matches!(fare, Fare::Shut(_))));
        let shut_out = shut && !any(|fare| matches!(fare, Fare::Takes));
        let kind = failed(fares.clone()).map(|cause| cause.kind);
        let wanted = if crashed { Some(CauseKind::Exited) } else { shut_out.then_some(CauseKind::Failing) };
        prop_assert_eq!(kind, wanted);
    }

    #[test]
    fn somebody_proven_always_takes_the_calls_and_every_upgrade_ends(
        actions in prop::collection::vec(action(), 1..80)
    ) {
        let mut world = World::new();
        for action in actions {
            world.act(action);
        }
        // Nothing more happens but time.
        for _ in 0..2 {
            world.act(Action::Deadline);
        }
        prop_assert_eq!(world.upgrade.next_deadline(), None);
        prop_assert!(world.fresh.is_none() && world.warm.is_none());
        prop_assert!(world.proven.contains(&world.takes));
        world.act(Action::Changed { beside: true, trial: 30 });
        prop_assert!(world.upgrade.on(Event::Gone, at(world.now)).is_empty());
        prop_assert_eq!(world.upgrade.next_deadline(), None);
    }
}
