//! A token bucket as one number (GCRA): how long until the next token.

use std::time::Duration;

use crate::moment::Moment;

/// Lets `burst` through at once and one more each `interval`.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    interval: Duration,
    burst: u32,
    /// When the bucket will be full again.
    full_at: Moment,
}

impl Bucket {
    /// A full bucket of `burst` tokens, refilled by one each `interval`.
    #[must_use]
    pub fn new(burst: u32, interval: Duration) -> Self {
        Self { interval, burst: burst.max(1), full_at: Moment::default() }
    }

    /// Takes a token, in advance if need be: it may be used after the returned time.
    pub fn take(&mut self, now: Moment) -> Duration {
        let full_at = self.full_at.max(now) + self.interval;
        self.full_at = full_at;
        (full_at - now).saturating_sub(self.interval * self.burst)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Bucket;
    use crate::moment::Moment;

    #[test]
    fn a_burst_passes_and_the_rest_is_spread() {
        let mut bucket = Bucket::new(3, Duration::from_secs(1));
        let at = |s| Moment::new(Duration::from_secs(s));
        let waits: Vec<u64> = (0..6).map(|_| bucket.take(at(100)).as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 1, 2, 3]);
        assert_eq!(bucket.take(at(110)), Duration::ZERO);
    }
}
