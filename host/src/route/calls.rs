//! The calls of all plugins together: so many are in flight, whatever the bounds of each plugin add up to. One more is turned
//! away, by whoever knows first that it is a call. What is no call is not counted, and is never turned away here.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use wharf_core::Code;

use super::failure::Failure;
use crate::plugin::gate::Pace;

/// Calls in flight of one host.
#[derive(Debug)]
pub(crate) struct Calls {
    most: usize,
    now: AtomicUsize,
    /// How long calls took lately.
    pub(crate) pace: Pace,
    /// Calls that were turned away since the start.
    turned_away: AtomicU64,
    /// It is not their callers who leave those that are in flight.
    cut_off: AtomicBool,
}

/// A call in flight; dropped, it is none any more.
#[derive(Debug)]
pub(crate) struct Inside<'a>(&'a Calls);

/// As many calls as may be are in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Saturated {
    most: usize,
    /// When there is likely to be room.
    retry_in: Duration,
}

/// If nothing is known of how long calls take.
const UNKNOWN: Duration = Duration::from_secs(1);

impl Calls {
    pub(crate) fn new(most: usize) -> Self {
        let (now, turned_away, cut_off) = Default::default();
        Self { most, now, pace: Pace::default(), turned_away, cut_off }
    }

    /// The host ends in the middle of them: what was handed over is not known to have ended, and nobody took it back.
    pub(crate) fn cut_off(&self) {
        self.cut_off.store(true, Ordering::Relaxed);
    }

    /// Whether it does.
    pub(crate) fn are_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// Counts a call in until the guard is dropped.
    pub(crate) fn enter(&self) -> Result<Inside<'_>, Saturated> {
        if self.now.fetch_add(1, Ordering::Relaxed) < self.most {
            return Ok(Inside(self));
        }
        self.now.fetch_sub(1, Ordering::Relaxed);
        Err(self.turn_away())
    }

    /// Refuses a call that is not even read yet, if there is no room for it.
    pub(crate) fn has_room(&self) -> Result<(), Saturated> {
        if self.are_all_in_flight() { Err(self.turn_away()) } else { Ok(()) }
    }

    /// Whether as many are in flight as may be.
    pub(crate) fn are_all_in_flight(&self) -> bool {
        self.now.load(Ordering::Relaxed) >= self.most
    }

    /// How many are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.now.load(Ordering::Relaxed).min(self.most)
    }

    /// How many were turned away since the start.
    pub(crate) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    fn turn_away(&self) -> Saturated {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        Saturated { most: self.most, retry_in: self.pace.typical().unwrap_or(UNKNOWN) }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl From<Saturated> for Failure {
    fn from(full: Saturated) -> Self {
        let detail = format!(
            "{} calls are in flight already, of all plugins together (wharf up --max-calls)",
            full.most
        );
        Self { retry_after: Some(full.retry_in), ..Self::new(Code::Overloaded, detail) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wharf_core::Code;

    use super::{Calls, UNKNOWN};
    use crate::route::Failure;

    #[test]
    fn one_more_than_may_be_is_turned_away_and_told_when_to_come_back() {
        let calls = Calls::new(2);
        let first = calls.enter().unwrap();
        let _second = calls.enter().unwrap();
        assert_eq!(calls.has_room().unwrap_err().retry_in, UNKNOWN);
        calls.pace.took(Duration::from_millis(40));
        let failure = Failure::from(calls.enter().unwrap_err());
        assert_eq!((failure.code, failure.retry_after), (Code::Overloaded, Some(Duration::from_millis(40))));
        assert!(failure.detail.contains("2 calls") && failure.detail.contains("--max-calls"), "{failure}");
        assert_eq!((calls.in_flight(), calls.turned_away()), (2, 2));
        drop(first);
        assert!(calls.has_room().is_ok());
        calls.enter().unwrap();
        assert_eq!(calls.in_flight(), 1);
    }
}
