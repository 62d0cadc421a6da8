//! How many of a gate's places each caller has, counted without a lock.
//!
//! A small table of counters. A caller's calls are counted in one of a few neighbouring counters that nobody else uses at the
//! time; where all of these are others', a call is not counted, and its caller is treated better than it has to be. With as
//! many callers as that nobody has more than a place or two.

use std::sync::atomic::{AtomicU64, Ordering};

use super::CallerKey;

/// Counters. A power of two.
const COUNTERS: usize = 128;
/// Neighbours that are tried.
const TRIED: usize = 8;
/// Of a counter, the lower half counts; the upper half is of its caller's number.
const COUNT: u64 = 0xffff_ffff;

/// Places by caller.
#[derive(Debug)]
pub(super) struct Shares([AtomicU64; COUNTERS]);

/// One place that is counted; the counter, unless there was none.
#[derive(Debug)]
#[must_use = "it is given back by whoever has it, to the gate"]
pub(crate) struct Held(Option<u8>);

impl Default for Shares {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Shares {
    /// Counts a place as this caller's.
    pub(super) fn take(&self, caller: CallerKey) -> Held {
        for at in counters(caller) {
            let Some(counter) = self.0.get(usize::from(at)) else { continue };
            let more = |now: u64| match now & COUNT {
                0 => Some(mark(caller) | 1),
                _ => (now & !COUNT == mark(caller)).then_some(now + 1),
            };
            if counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok() {
                return Held(Some(at));
            }
        }
        Held(None)
    }

    /// Counts it no more.
    pub(super) fn give_back(&self, held: Held) {
        if let Some(counter) = held.0.and_then(|at| self.0.get(usize::from(at))) {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many places it has.
    pub(super) fn of(&self, caller: CallerKey) -> usize {
        let all = counters(caller).filter_map(|at| self.0.get(usize::from(at)));
        let own =
            all.map(|counter| counter.load(Ordering::Relaxed)).filter(|now| now & !COUNT == mark(caller));
        own.map(|now| usize::try_from(now & COUNT).unwrap_or(usize::MAX)).sum()
    }
}

fn mark(caller: CallerKey) -> u64 {
    caller.0 & !COUNT
}

/// Where a caller may be counted, by the lower half of its number.
fn counters(caller: CallerKey) -> impl Iterator<Item = u8> {
    let first = caller.0 as usize;
    (0..TRIED).map(move |next| (first.wrapping_add(next) % COUNTERS) as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{CallerKey, Shares, TRIED};

    /// A number that is counted first in this counter.
    fn caller(mark: u64, first: u64) -> CallerKey {
        CallerKey((mark << 32) | first)
    }

    #[test]
    fn callers_that_meet_in_a_counter_are_told_apart() {
        let shares = Shares::default();
        let (one, two) = (caller(1, 5), caller(2, 5));
        let held = [shares.take(one), shares.take(two), shares.take(one)];
        assert_eq!((shares.of(one), shares.of(two)), (2, 1));
        held.into_iter().for_each(|held| shares.give_back(held));
        assert_eq!((shares.of(one), shares.of(two)), (0, 0));
    }

    #[test]
    fn where_no_counter_is_left_a_place_is_not_counted_and_nothing_is_wrong_with_it() {
        let shares = Shares::default();
        let held: Vec<_> = (0..TRIED as u64).map(|mark| shares.take(caller(mark + 1, 9))).collect();
        let late = caller(99, 9);
        let uncounted = shares.take(late);
        assert_eq!(shares.of(late), 0);
        shares.give_back(uncounted);
        held.into_iter().for_each(|held| shares.give_back(held));
        let _held = shares.take(late);
        assert_eq!(shares.of(late), 1);
    }

    proptest! {
        /// With as many callers as fit, the counts are those that a map would keep, whoever comes and goes in which order.
        #[test]
        fn counts_are_exact(acts in prop::collection::vec((0u64..TRIED as u64, prop::bool::weighted(0.6), 0usize..9), 0..300)) {
            let shares = Shares::default();
            let mut held: Vec<(u64, _)> = Vec::new();
            for (mark, comes, which) in acts {
                if comes {
                    held.push((mark, shares.take(caller(mark + 1, mark % 3))));
                } else if which < held.len() {
                    shares.give_back(held.swap_remove(which).1);
                }
                for mark in 0..TRIED as u64 {
                    let count = held.iter().filter(|(of, held)| *of == mark && held.0.is_some()).count();
                    prop_assert_eq!(shares.of(caller(mark + 1, mark % 3)), count);
                }
            }
        }
    }
}
