//! How many calls of a plugin may be tried again: a share of its calls, so that a plugin in trouble is not given more work
//! than one that is well.

use std::time::Duration;

use crate::bucket::Bucket;
use crate::moment::Moment;

/// Thousandths of a token: a share of a call is no whole one.
const TOKEN: u64 = 1000;
/// Tokens that are kept at most.
const MOST: u64 = 100 * TOKEN;
/// What another try costs.
const COST: u64 = 10 * TOKEN;
/// So many tries a second are always allowed: a plugin with few calls saves nothing up.
const ALWAYS: u32 = 3;

/// The budget of one plugin.
#[derive(Clone, Debug)]
pub struct Budget {
    tokens: u64,
    /// The plugin's calls when it was last looked at.
    calls: u64,
    always: Bucket,
}

impl Default for Budget {
    /// A full one.
    fn default() -> Self {
        Self { tokens: MOST, calls: 0, always: Bucket::new(ALWAYS, Duration::from_secs(1) / ALWAYS) }
    }
}

impl Budget {
    /// Takes another try from it, if it has one. `calls`: how many the plugin has had so far; `share`: the tries that each of
    /// them brings in (`retry.budget`).
    pub fn take(&mut self, calls: u64, share: f64, now: Moment) -> bool {
        let new = calls.saturating_sub(self.calls);
        self.calls = calls;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "of 0 to 10,000")]
        let each = (share.clamp(0.0, 1.0) * COST as f64) as u64;
        self.tokens = self.tokens.saturating_add(new.saturating_mul(each)).min(MOST);
        let mut always = self.always;
        if always.take(now).is_zero() {
            self.always = always;
            return true;
        }
        let left = self.tokens.checked_sub(COST);
        self.tokens = left.unwrap_or(self.tokens);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::Budget;
    use crate::moment::Moment;

    fn at(millis: u64) -> Moment {
        Moment::new(Duration::from_millis(millis))
    }

    #[test]
    fn a_plugin_whose_every_call_fails_gets_a_share_and_a_few() {
        let mut budget = Budget::default();
        // A thousand calls within a second, each of which wants another try.
        let tries = (1..=1000).filter(|n| budget.take(*n, 0.2, at(*n))).count();
        // The saved 10, 200 for the calls, the 3 that are always there and those of that second.
        assert!((212..=216).contains(&tries), "{tries}");
    }

    #[test]
    fn without_a_share_there_are_three_a_second() {
        let mut budget = Budget::default();
        let tries = (0..10_000).filter(|n| budget.take(*n, 0.0, at(*n))).count();
        assert!((10 + 30..=10 + 33).contains(&tries), "{tries}");
    }

    proptest! {
        #[test]
        fn never_more_than_the_share_and_never_fewer_than_three_a_second(
            steps in proptest::collection::vec((0u64..400, 0u64..30), 1..300),
            share in 0.0f64..=1.0,
        ) {
            let (mut budget, mut now, mut calls, mut tries) = (Budget::default(), 0, 0, 0u64);
            let mut recent: Vec<u64> = Vec::new();
            for (pause, new) in steps {
                now += pause;
                calls += new;
                recent.retain(|at| now - at < 1000);
                let let_in = budget.take(calls, share, at(now));
                prop_assert!(let_in || recent.len() >= 3, "{recent:?} at {now}");
                if let_in {
                    tries += 1;
                    recent.push(now);
                }
                let most = 10.0 + share * calls as f64 + 3.0 + 3.0 * now as f64 / 1000.0;
                prop_assert!(tries as f64 <= most + 0.01, "{tries} of {calls} after {now} ms");
            }
        }
    }
}
