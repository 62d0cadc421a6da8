//! The breaker: by hand where a rule is plain, by any order of events where it must always hold.

use std::time::Duration;

use proptest::prelude::*;

use super::{Breaker, Context, Ending, State};
use crate::manifest::Breaker as Rules;
use crate::moment::Moment;

fn at(ms: u64) -> Moment {
    Moment::new(Duration::from_millis(ms))
}

fn cx(ms: u64, answers: u64) -> Context {
    Context { now: at(ms), answers, roll: 0.5 }
}

fn new() -> Breaker {
    Breaker::new(Rules::default(), at(0))
}

fn fail(breaker: &mut Breaker, cx: Context) {
    breaker.failed(breaker.epoch(), cx);
}

/// One that opened at a moment, by five failures in a row.
fn opened(ms: u64) -> Breaker {
    let mut breaker = new();
    (0..5).for_each(|_| fail(&mut breaker, cx(ms, 0)));
    assert_eq!(breaker.state(), State::Open);
    breaker
}

#[test]
fn five_failures_in_a_row_open_it_and_an_answer_between_starts_anew() {
    let mut breaker = new();
    (0..4).for_each(|_| fail(&mut breaker, cx(0, 7)));
    fail(&mut breaker, cx(0, 8));
    assert!(breaker.is_closed(), "one was answered");
    (0..4).for_each(|_| fail(&mut breaker, cx(0, 8)));
    assert_eq!((breaker.state(), breaker.opened(), breaker.next_try()), (State::Open, 1, Some(at(1000))));
}

#[test]
fn half_of_twenty_within_the_window_open_it() {
    let every_other = |gap: u64| {
        let mut breaker = new();
        let failures = (1..=30).take_while(|n| {
            fail(&mut breaker, cx(n * gap, *n));
            breaker.is_closed()
        });
        (failures.count(), breaker.state())
    };
    // The first failure and each answer and failure since: twenty are there with the eleventh failure.
    assert_eq!(every_other(100), (10, State::Open));
    assert_eq!(every_other(1000), (30, State::Closed), "no twenty in ten seconds");
    let mut seldom = new();
    for n in 1..=300 {
        fail(&mut seldom, cx(n * 10, n * 2));
    }
    assert!(seldom.is_closed(), "a third is not half");
}

#[test]
fn a_probe_and_a_call_close_it() {
    let mut breaker = opened(100);
    assert_eq!(breaker.tick(at(1099)), None);
    let asked = breaker.tick(at(1100)).unwrap();
    assert_eq!((breaker.state(), breaker.has_room(), breaker.admit()), (State::HalfOpen, false, None));
    breaker.probed(asked, Ending::Good, cx(1100, 0));
    let epoch = breaker.admit().unwrap();
    assert_eq!(breaker.admit(), None, "one at a time");
    breaker.tried(epoch, Ending::Void, cx(1100, 0));
    let epoch = breaker.admit().unwrap();
    breaker.tried(epoch, Ending::Good, cx(1200, 1));
    assert_eq!((breaker.state(), breaker.since(), breaker.next_try()), (State::Closed, at(1200), None));
}

#[test]
fn where_nothing_is_probed_two_calls_close_it() {
    let mut breaker = opened(0);
    let asked = breaker.tick(at(1000)).unwrap();
    breaker.probed(asked, Ending::Void, cx(1000, 0));
    for state in [State::HalfOpen, State::Closed] {
        let epoch = breaker.admit().unwrap();
        breaker.tried(epoch, Ending::Good, cx(1000, 1));
        assert_eq!(breaker.state(), state);
    }
}

#[test]
fn each_time_in_a_row_it_is_open_twice_as_long_up_to_a_bound() {
    let mut breaker = opened(0);
    let (mut open, mut now) = (Vec::new(), 0);
    for _ in 0..9 {
        let until = breaker.next_try().unwrap();
        open.push((until - at(now)).as_secs());
        now = u64::try_from(until.since_start().as_millis()).unwrap();
        let asked = breaker.tick(until).unwrap();
        breaker.probed(asked, Ending::Bad, cx(now, 0));
    }
    assert_eq!(open, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    let asked = breaker.tick(breaker.next_try().unwrap()).unwrap();
    breaker.probed(asked, Ending::Good, cx(now, 0));
    let epoch = breaker.admit().unwrap();
    breaker.tried(epoch, Ending::Good, cx(now, 1));
    let mut soon = breaker.clone();
    (0..5).for_each(|_| fail(&mut soon, cx(now + 9000, 1)));
    assert_eq!(soon.next_try(), Some(at(now + 9000 + 60_000)), "it had hardly worked");
    (0..5).for_each(|_| fail(&mut breaker, cx(now + 10_000, 1)));
    assert_eq!(breaker.next_try(), Some(at(now + 11_000)), "it had worked");
}

#[test]
fn three_openings_in_five_minutes_wear_it_out_and_a_new_generation_is_fresh() {
    let mut breaker = opened(0);
    assert!(!breaker.is_worn(at(0)));
    for ms in [100_000, 200_000] {
        let asked = breaker.tick(at(ms)).unwrap();
        breaker.probed(asked, Ending::Bad, cx(ms, 0));
    }
    assert!(breaker.is_worn(at(200_000)) && !breaker.is_worn(at(300_000)));
    breaker.renew(cx(200_000, 3));
    assert!(breaker.is_closed() && !breaker.is_worn(at(200_000)));
    assert_eq!(breaker.opened(), 3, "what was is still told");
    (0..5).for_each(|_| fail(&mut breaker, cx(200_001, 3)));
    assert_eq!(breaker.next_try(), Some(at(201_001)), "with the shortest time");
}

#[test]
fn what_was_let_in_before_the_last_change_counts_for_nothing() {
    let mut breaker = new();
    let before = breaker.epoch();
    breaker.renew(cx(0, 0));
    (0..50).for_each(|_| breaker.failed(before, cx(0, 0)));
    assert!(breaker.is_closed());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Failed { back: u64 },
    Answered,
    Passes(u64),
    Tick,
    Probed { back: u64, ending: usize },
    Admit,
    Tried { back: u64, ending: usize },
    Renew,
}

fn step() -> impl Strategy<Value = Step> {
    let back = prop_oneof![4 => Just(0u64), 1 => 1u64..4];
    prop_oneof![
        6 => back.clone().prop_map(|back| Step::Failed { back }),
        2 => Just(Step::Answered),
        3 => (0u64..40_000).prop_map(Step::Passes),
        4 => Just(Step::Tick),
        3 => (back.clone(), 0usize..3).prop_map(|(back, ending)| Step::Probed { back, ending }),
        3 => Just(Step::Admit),
        3 => (back, 0usize..3).prop_map(|(back, ending)| Step::Tried { back, ending }),
        1 => Just(Step::Renew),
    ]
}

proptest! {
    #[test]
    fn its_rules_hold_for_any_order_of_events(
        steps in proptest::collection::vec(step(), 0..200), half_open in 1u32..4, roll in 0.0f64..=1.0,
    ) {
        let rules = Rules { half_open, ..Rules::default() };
        let most = rules.max_open.0.mul_f64(1.5);
        let mut breaker = Breaker::new(rules, at(0));
        let (mut ms, mut answers, mut inside) = (0u64, 0u64, 0u32);
        let endings = [Ending::Good, Ending::Bad, Ending::Void];
        for step in steps {
            let (before, state) = (breaker.epoch(), breaker.state());
            let cx = Context { now: at(ms), answers, roll };
            match step {
                Step::Failed { back } => {
                    breaker.failed(before.wrapping_sub(back), cx);
                    prop_assert!(back == 0 || breaker.epoch() == before, "a stale word changes nothing");
                }
                Step::Answered => answers += 1,
                Step::Passes(by) => ms += by,
                Step::Tick => {
                    let due = breaker.next_try().is_some_and(|until| until <= at(ms));
                    prop_assert_eq!(breaker.tick(at(ms)).is_some(), due);
                }
                Step::Probed { back, ending } => {
                    breaker.probed(before.wrapping_sub(back), endings[ending], cx);
                    prop_assert!(back == 0 || breaker.epoch() == before);
                }
                Step::Admit => {
                    let admitted = breaker.admit().is_some();
                    inside += u32::from(admitted);
                    prop_assert!(!admitted || state == State::HalfOpen);
                    prop_assert!(inside <= half_open);
                }
                Step::Tried { back, ending } => {
                    breaker.tried(before.wrapping_sub(back), endings[ending], cx);
                    if back == 0 && breaker.epoch() == before {
                        inside = inside.saturating_sub(1);
                    }
                    prop_assert!(back == 0 || breaker.epoch() == before);
                }
                Step::Renew => {
                    breaker.renew(cx);
                    prop_assert!(breaker.is_closed());
                }
            }
            if breaker.epoch() != before {
                inside = 0;
                prop_assert!(breaker.since() == at(ms));
            } else {
                prop_assert_eq!(breaker.state(), state);
            }
            prop_assert_eq!(breaker.next_try().is_some(), breaker.state() == State::Open);
            if let Some(until) = breaker.next_try() {
                prop_assert!(until <= breaker.since() + most);
                prop_assert!(!breaker.has_room() && !breaker.is_closed());
            }
        }
    }
}
