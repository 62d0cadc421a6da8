//! The choice: by hand where a rule is plain, by any set of instances where it must always hold.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Candidate, Wish, key, pick};
use crate::id::InstanceNo;
use crate::lifecycle::State;
use crate::manifest::Balance::{LeastInflight, RoundRobin, Sticky};
use crate::slot::{Role, Slot};

fn c(n: u32, state: State, inflight: usize) -> Candidate {
    Candidate { slot: Slot::new(InstanceNo(n)), state, serves: true, full: false, inflight }
}

fn weighing(weight: u32, candidate: Candidate) -> Candidate {
    Candidate { slot: Slot { weight, ..candidate.slot }, ..candidate }
}

fn preferred(priority: u32, candidate: Candidate) -> Candidate {
    Candidate { slot: Slot { priority, ..candidate.slot }, ..candidate }
}

fn standby(candidate: Candidate) -> Candidate {
    Candidate { slot: Slot { role: Role::Standby, ..candidate.slot }, ..candidate }
}

fn of(all: &[Candidate], wish: &Wish<'_>) -> Option<usize> {
    pick(all.iter().copied(), wish)
}

const LEAST: Wish<'static> =
    Wish { balance: LeastInflight, active: 1, turn: 0, key: 0, pinned: None, tried: &[] };

#[test]
fn ready_before_degraded_before_none() {
    let all = [c(0, State::Starting, 0), c(1, State::Degraded, 0), c(2, State::Ready, 9)];
    assert_eq!(of(&all, &LEAST), Some(2));
    assert_eq!(of(&all[..2], &LEAST), Some(1));
    assert_eq!(of(&all[..1], &LEAST), None);
    assert_eq!(of(&[], &LEAST), None);
    assert_eq!(of(&[Candidate { serves: false, ..c(0, State::Ready, 0) }], &LEAST), None);
    assert_eq!(of(&[Candidate { full: true, ..c(0, State::Ready, 0) }], &LEAST), None);
}

#[test]
fn the_least_busy_for_its_weight_wins_and_ties_are_shared() {
    let all = [c(0, State::Ready, 2), c(1, State::Ready, 1), c(2, State::Ready, 1)];
    assert_eq!([0, 1].map(|turn| of(&all, &Wish { turn, ..LEAST }).unwrap()), [1, 2]);
    let strong = [weighing(4, c(0, State::Ready, 6)), c(1, State::Ready, 2)];
    assert_eq!(of(&strong, &LEAST), Some(0));
    let idle = [weighing(2, c(0, State::Ready, 0)), c(1, State::Ready, 0)];
    let picked: Vec<_> = (0..6).map(|turn| of(&idle, &Wish { turn, ..LEAST }).unwrap()).collect();
    assert_eq!(picked, [0, 0, 1, 0, 0, 1]);
}

#[test]
fn round_robin_takes_each_in_turn() {
    let all = [c(0, State::Ready, 5), c(1, State::Backoff, 0), c(2, State::Ready, 0)];
    let wish = |turn| Wish { balance: RoundRobin, turn, ..LEAST };
    assert_eq!([0, 1, 2, 3].map(|turn| of(&all, &wish(turn)).unwrap()), [0, 2, 0, 2]);
}

#[test]
fn a_lower_priority_number_wins_as_long_as_one_of_it_serves() {
    let all = [preferred(2, c(0, State::Ready, 0)), preferred(1, c(1, State::Degraded, 9))];
    assert_eq!(of(&all, &LEAST), Some(1));
    let gone = [all[0], Candidate { serves: false, ..all[1] }];
    assert_eq!(of(&gone, &LEAST), Some(0));
}

#[test]
fn one_that_stands_by_takes_calls_only_for_a_missing_one() {
    let both = [c(0, State::Ready, 9), c(1, State::Ready, 9)];
    let (first, second) = (standby(c(2, State::Ready, 0)), standby(c(3, State::Ready, 0)));
    let wish = Wish { active: 2, ..LEAST };
    assert_eq!(of(&[both[0], both[1], first, second], &wish), Some(0));
    let short = [both[0], Candidate { serves: false, ..both[1] }, first, second];
    assert_eq!(of(&short, &wish), Some(2), "one is missing");
    let busy = [short[0], short[1], Candidate { inflight: 10, ..first }, second];
    assert_eq!(of(&busy, &wish), Some(0), "so one stands in, and no other");
    let ill = [Candidate { state: State::Degraded, ..both[0] }, both[1], first];
    assert_eq!(of(&ill, &wish), Some(2), "one that is ill is missing");
    assert_eq!(of(&[first], &wish), Some(0), "all are gone");
}

#[test]
fn what_was_tried_comes_last() {
    let all = [c(0, State::Ready, 0), preferred(9, c(1, State::Degraded, 5))];
    let [first, second] = [InstanceNo(0), InstanceNo(1)];
    assert_eq!(of(&all, &Wish { tried: &[first], ..LEAST }), Some(1));
    assert_eq!(of(&all, &Wish { tried: &[first, second], ..LEAST }), Some(0));
    assert_eq!(of(&all[..1], &Wish { tried: &[first], ..LEAST }), Some(0));
}

#[test]
fn who_is_pinned_stays_and_waits_where_it_is_full() {
    let all = [c(0, State::Ready, 0), standby(preferred(7, c(1, State::Degraded, 5)))];
    let wish = Wish { pinned: Some(InstanceNo(1)), ..LEAST };
    assert_eq!(of(&all, &wish), Some(1));
    assert_eq!(of(&[all[0], Candidate { full: true, ..all[1] }], &wish), None);
    assert_eq!(of(&[all[0], Candidate { serves: false, ..all[1] }], &wish), Some(0));
    assert_eq!(of(&all, &Wish { tried: &[InstanceNo(1)], ..wish }), Some(0));
}

#[test]
fn names_are_told_apart() {
    assert_ne!(key("a"), key("b"));
    assert_ne!(key(""), key("a"));
    assert_eq!(key("session"), key("session"));
}

prop_compose! {
    fn candidate()(
        n in 0u32..6, state in 0usize..12, serves in any::<bool>(), full in any::<bool>(), stands_by in any::<bool>(),
        inflight in 0usize..5, priority in 0u32..3, weight in 1u32..4,
    ) -> Candidate {
        let role = if stands_by { Role::Standby } else { Role::Active };
        let slot = Slot { role, priority, weight, ..Slot::new(InstanceNo(n)) };
        Candidate { slot, state: State::ALL[state], serves, full, inflight }
    }
}

proptest! {
    #[test]
    fn what_is_picked_can_take_a_call_and_nothing_better_can(
        mut all in proptest::collection::vec(candidate(), 0..6), turn: usize, key: u64, active in 0u32..4, balance in 0usize..3,
        tried in 0u32..6, pinned in proptest::option::of(0u32..6),
    ) {
        for (n, one) in all.iter_mut().enumerate() {
            one.slot.n = InstanceNo(u32::try_from(n).unwrap());
        }
        let tried = [InstanceNo(tried)];
        let balance = [LeastInflight, RoundRobin, Sticky][balance];
        let wish = Wish { balance, active, turn, key, pinned: pinned.map(InstanceNo), tried: &tried };
        let takes = |c: &Candidate| c.serves && !c.full && matches!(c.state, State::Ready | State::Degraded);
        match of(&all, &wish) {
            Some(position) => {
                let picked = all[position];
                let is_pinned = wish.pinned == Some(picked.slot.n);
                prop_assert!(picked.serves && !picked.full);
                prop_assert!(is_pinned || takes(&picked));
                let better = |c: &Candidate| {
                    let class = |c: &Candidate| (tried.contains(&c.slot.n), c.slot.priority, c.state);
                    takes(c) && c.slot.role == Role::Active && class(c) < class(&picked)
                };
                prop_assert!(is_pinned || !all.iter().any(better));
                if picked.slot.role == Role::Standby && !is_pinned {
                    let sound = all.iter().filter(|c| c.serves && c.slot.role == Role::Active && c.state == State::Ready);
                    prop_assert!(sound.count() < active as usize);
                }
            }
            None => {
                let waits = all.iter().any(|c| Some(c.slot.n) == wish.pinned && c.serves && c.full);
                prop_assert!(waits || !all.iter().any(|c| takes(c) && c.slot.role == Role::Active));
            }
        }
    }

    #[test]
    fn in_as_many_turns_as_all_weigh_each_has_its_share(weights in proptest::collection::vec(1u32..6, 1..6), from in 0usize..1000) {
        let all: Vec<_> = weights.iter().zip(0..).map(|(weight, n)| weighing(*weight, c(n, State::Ready, 0))).collect();
        let total: usize = weights.iter().map(|weight| *weight as usize).sum();
        for balance in [RoundRobin, LeastInflight] {
            let mut shares = BTreeMap::<usize, u32>::new();
            // From a whole round on: where the count of turns wraps round, one round may be cut short.
            for turn in from..from + total {
                *shares.entry(of(&all, &Wish { balance, turn, ..LEAST }).unwrap()).or_default() += 1;
            }
            prop_assert_eq!(shares.into_values().collect::<Vec<_>>(), weights.clone());
        }
    }

    #[test]
    fn only_those_move_whose_place_is_gone(count in 2u32..8, gone in 0u32..8, key: u64) {
        let gone = gone % count;
        let all: Vec<_> = (0..count).map(|n| c(n, State::Ready, 0)).collect();
        let wish = Wish { balance: Sticky, key, ..LEAST };
        let before = of(&all, &wish).unwrap();
        let left: Vec<_> = all.iter().copied().filter(|c| c.slot.n.0 != gone).collect();
        let after = left[of(&left, &wish).unwrap()].slot.n.0 as usize;
        if before != gone as usize {
            prop_assert_eq!(before, after);
        }
    }
}

#[test]
fn callers_that_stick_are_spread_by_weight() {
    let all = [weighing(3, c(0, State::Ready, 0)), c(1, State::Ready, 0)];
    let first = (0..4000).filter(|n| {
        let wish = Wish { balance: Sticky, key: key(&format!("session-{n}")), ..LEAST };
        of(&all, &wish) == Some(0)
    });
    let share = first.count();
    assert!((2800..3200).contains(&share), "{share} of 4000");
}
