//! How many lines per second a plugin may log: a token bucket that counts what it turns away. Pure: time comes in.

use std::time::{Duration, Instant};

/// Lines at once, after a quiet time, in seconds of the rate.
const BURST: u32 = 5;

/// A token bucket, kept as the time at which it would be full.
#[derive(Debug)]
pub(super) struct Rate {
    full_at: Instant,
    /// The time one line takes at the rate.
    cost: Duration,
    /// The time all lines take that may come at once.
    burst: Duration,
}

impl Rate {
    /// `rate`: lines per second, over time; at least one.
    pub(super) fn new(rate: u32, now: Instant) -> Self {
        let cost = Duration::from_secs(1) / rate.max(1);
        Self { full_at: now, cost, burst: cost * burst(rate.max(1)) }
    }

    /// Whether one more line may pass.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        let after = self.full_at.max(now) + self.cost;
        let fits = after <= now + self.burst;
        if fits {
            self.full_at = after;
        }
        fits
    }
}

/// Lines at once, after a quiet time.
pub(super) fn burst(rate: u32) -> u32 {
    rate.saturating_mul(BURST)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Rate, burst};

    fn admitted(rate: &mut Rate, at: Instant, of: u32) -> u32 {
        (0..of).filter(|_| rate.admits(at)).count().try_into().unwrap()
    }

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let start = Instant::now();
        for wanted in [1, 3, 200, 5000] {
            let mut rate = Rate::new(wanted, start);
            assert_eq!(admitted(&mut rate, start, 50_000), burst(wanted));
            assert_eq!(admitted(&mut rate, start + Duration::from_secs(1), 50_000), wanted);
            assert_eq!(admitted(&mut rate, start + Duration::from_secs(3600), 50_000), 5 * wanted);
        }
    }
}
