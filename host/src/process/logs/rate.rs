//! How many lines per second a plugin may log: a token bucket that counts what it turns away. Pure: time comes in.

use std::time::{Duration, Instant};

/// Lines per second, over time.
const RATE: u32 = 200;

/// Lines at once, after a quiet time.
pub(super) const BURST: u32 = 1000;

/// The time one line takes at the rate.
const COST: Duration = Duration::from_micros(1_000_000 / RATE as u64);

/// A token bucket, kept as the time at which it would be full.
#[derive(Debug)]
pub(super) struct Rate {
    full_at: Instant,
}

impl Rate {
    pub(super) fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Whether one more line may pass.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        let after = self.full_at.max(now) + COST;
        let fits = after <= now + COST * BURST;
        if fits {
            self.full_at = after;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{BURST, RATE, Rate};

    fn admitted(rate: &mut Rate, at: Instant, of: u32) -> u32 {
        (0..of).filter(|_| rate.admits(at)).count().try_into().unwrap()
    }

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        assert_eq!(admitted(&mut rate, start, 5000), BURST);
        assert_eq!(admitted(&mut rate, start + Duration::from_secs(1), 5000), RATE);
        assert_eq!(admitted(&mut rate, start + Duration::from_secs(3600), 5000), BURST);
    }
}
