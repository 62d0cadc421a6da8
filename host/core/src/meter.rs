//! Counts that the path of a call can afford: fixed arrays of atomics, no lock, and nothing allocated but at the first
//! request that ends in a way that none ended in before.
//!
//! What is measured and under which labels it is shown are not known here; time comes in as a duration.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::outcome::Outcome;

/// The upper bounds of the buckets, seconds (those of the OpenTelemetry conventions for MCP). One more has no bound.
pub const BOUNDS: [f64; 14] =
    [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
const MILLIS: [u64; 14] =
    [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 120_000, 300_000];
const BUCKETS: usize = BOUNDS.len() + 1;
const NANOS: f64 = 1e-9;

/// Durations, counted by buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    /// Of all durations, nanoseconds: room for five centuries.
    sum: AtomicU64,
}

/// What a histogram held at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Upper bound in seconds and how many fell into the bucket, the one without a bound last.
    pub buckets: [(f64, u64); BUCKETS],
    /// Of all durations, seconds.
    pub sum: f64,
    /// How many there were.
    pub count: u64,
}

/// The requests of one kind, by how they ended.
#[derive(Debug, Default)]
pub struct Meter {
    ok: OnceLock<Box<Histogram>>,
    others: OnceLock<Box<[OnceLock<Box<Histogram>>; Outcome::COUNT]>>,
}

// === impl Histogram ===

impl Histogram {
    /// Counts a duration.
    pub fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = MILLIS.iter().position(|most| nanos <= most * 1_000_000).unwrap_or(BUCKETS - 1);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What it holds. Of a duration that is counted at this moment the sum may lack.
    #[must_use]
    pub fn read(&self) -> Reading {
        let mut counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let mut bounds = BOUNDS.iter().copied();
        let buckets = [(); BUCKETS]
            .map(|()| (bounds.next().unwrap_or(f64::INFINITY), counts.next().unwrap_or_default()));
        #[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
        let sum = self.sum.load(Ordering::Relaxed) as f64 * NANOS;
        Reading { buckets, sum, count: buckets.iter().map(|(_, count)| count).sum() }
    }
}

// === impl Meter ===

impl Meter {
    /// Counts a request that ended so after so long.
    pub fn record(&self, outcome: Outcome, took: Duration) {
        let place = match outcome {
            Outcome::Ok => Some(&self.ok),
            Outcome::RpcError | Outcome::Failed(_) => {
                self.others.get_or_init(Box::default).get(outcome.index())
            }
        };
        if let Some(place) = place {
            place.get_or_init(Box::default).record(took);
        }
    }

    /// The outcomes that there were.
    pub fn read(&self) -> impl Iterator<Item = (Outcome, Reading)> {
        let others = self.others.get();
        let of = move |outcome: Outcome| match outcome {
            Outcome::Ok => self.ok.get(),
            Outcome::RpcError | Outcome::Failed(_) => others?.get(outcome.index())?.get(),
        };
        Outcome::all().filter_map(move |outcome| Some((outcome, of(outcome)?.read())))
    }

    /// Whether nothing was counted yet.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.ok.get().is_none() && self.others.get().is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{BOUNDS, Histogram, MILLIS, Meter};
    use crate::code::Code;
    use crate::outcome::Outcome;

    #[test]
    fn a_duration_falls_into_the_bucket_whose_bound_it_does_not_pass() {
        for (millis, bound) in MILLIS.iter().zip(BOUNDS) {
            assert!((bound * 1000.0 - *millis as f64).abs() < 1e-9, "{bound}");
        }
        let histogram = Histogram::default();
        histogram.record(Duration::ZERO);
        histogram.record(Duration::from_millis(10));
        histogram.record(Duration::from_nanos(10_000_001));
        histogram.record(Duration::from_secs(301));
        histogram.record(Duration::MAX);
        let counts = histogram.read().buckets.map(|(_, count)| count);
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    }

    #[test]
    fn each_outcome_is_counted_by_itself() {
        let meter = Meter::default();
        assert!(meter.is_blank());
        let timeout = Outcome::Failed(Code::Deadline);
        for outcome in [Outcome::Ok, timeout, Outcome::Ok] {
            meter.record(outcome, Duration::from_millis(500));
        }
        let read: Vec<_> = meter.read().map(|(outcome, read)| (outcome, read.count, read.sum)).collect();
        assert_eq!(read, [(Outcome::Ok, 2, 1.0), (timeout, 1, 0.5)]);
        assert!(!meter.is_blank());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_every_bound_holds(took in prop::collection::vec(0u64..400_000, 0..50)) {
            let histogram = Histogram::default();
            took.iter().for_each(|millis| histogram.record(Duration::from_millis(*millis)));
            let read = histogram.read();
            prop_assert_eq!(read.count, took.len() as u64);
            prop_assert!((read.sum * 1000.0 - took.iter().sum::<u64>() as f64).abs() < 1e-3);
            let mut below = 0;
            for (bound, count) in read.buckets {
                below += count;
                let expected = took.iter().filter(|millis| **millis as f64 <= bound * 1000.0).count();
                prop_assert_eq!(below, expected as u64);
            }
        }
    }
}
