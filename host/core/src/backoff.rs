//! How long to wait before the next try: exponential, capped, with jitter from a number that is passed in.

use std::time::Duration;

use crate::manifest::{Restart, Retry};

/// An exponential delay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first delay.
    pub initial: Duration,
    /// Each further delay is this many times the last.
    pub factor: f64,
    /// The longest delay before jitter.
    pub max: Duration,
}

impl Backoff {
    /// The `n`th delay, from 0, without jitter: `min(max, initial * factor^n)`.
    #[must_use]
    pub fn nth(&self, n: u32) -> Duration {
        let exponent = i32::try_from(n.min(1000)).unwrap_or(1000);
        let secs = self.initial.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        if secs.is_finite() && secs < self.max.as_secs_f64() {
            Duration::from_secs_f64(secs)
        } else {
            self.max
        }
    }

    /// The `n`th delay times a number from `1 - jitter` to `1 + jitter`; `roll` is uniform in `0.0..=1.0`.
    #[must_use]
    pub fn around(&self, n: u32, jitter: f64, roll: f64) -> Duration {
        self.nth(n).mul_f64((1.0 + jitter * (2.0 * roll - 1.0)).max(0.0))
    }

    /// A random part of the `n`th delay: all of it with `jitter` 0, anything from nothing to all with 1 ("full jitter").
    #[must_use]
    pub fn within(&self, n: u32, jitter: f64, roll: f64) -> Duration {
        self.nth(n).mul_f64((1.0 - jitter * roll).max(0.0))
    }
}

impl From<&Restart> for Backoff {
    fn from(restart: &Restart) -> Self {
        Self { initial: restart.initial.0, factor: restart.factor, max: restart.max.0 }
    }
}

impl From<&Retry> for Backoff {
    fn from(retry: &Retry) -> Self {
        Self { initial: retry.initial.0, factor: retry.factor, max: retry.max_delay.0 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::Backoff;

    /// Seed 004: `retry_delay = min(2 ** (attempt - 1), 60)` seconds, attempts from 1.
    #[test]
    fn the_pattern_of_external_servers_is_a_special_case() {
        let pattern = Backoff { initial: Duration::from_secs(1), factor: 2.0, max: Duration::from_secs(60) };
        for attempt in 1..200u32 {
            let expected = 2f64.powi(attempt as i32 - 1).min(60.0);
            assert_eq!(pattern.around(attempt - 1, 0.0, 0.7).as_secs_f64(), expected, "attempt {attempt}");
        }
    }

    proptest! {
        #[test]
        fn delays_stay_in_their_bounds(n: u32, initial in 0u64..100_000, max in 0u64..100_000, factor in 0.0f64..20.0, jitter in 0.0f64..=1.0, roll in 0.0f64..=1.0) {
            let backoff = Backoff { initial: Duration::from_millis(initial), factor, max: Duration::from_millis(max) };
            let plain = backoff.nth(n);
            prop_assert!(plain <= backoff.max);
            prop_assert!(backoff.nth(n.saturating_add(1)) >= plain);
            prop_assert!(backoff.around(n, jitter, roll) <= plain * 2);
            prop_assert!(backoff.within(n, jitter, roll) <= plain);
        }
    }
}
