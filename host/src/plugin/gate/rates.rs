//! How many calls a caller may begin in a time (`limits.rate`), by the principal under which it was let in: a new session is
//! no new caller here, else whoever connects anew for each call would never be bounded.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::time::Instant;
use wharf_core::manifest::Rate;

/// Callers that are remembered. Those beyond it are counted as one.
const REMEMBERED: usize = 4096;

/// The rates of all callers of one plugin.
#[derive(Default)]
pub(crate) struct Rates(ArcSwapOption<Limiter>);

struct Limiter {
    rate: Rate,
    callers: RateLimiter<Arc<str>, HashMapStateStore<Arc<str>>, Since, NoOpMiddleware<Duration>>,
    /// Who comes when no more are remembered.
    others: Arc<str>,
}

/// The runtime's clock, which tests can hold.
#[derive(Clone, Debug)]
struct Since(Instant);

impl Clock for Since {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Rates {
    /// Sets the rate; what callers have used of the same one stays used.
    pub(crate) fn configure(&self, rate: Option<Rate>) {
        if self.0.load().as_ref().map(|limiter| limiter.rate) != rate {
            self.0.store(rate.and_then(Limiter::new).map(Arc::new));
        }
    }

    /// Counts a call, or tells in how long this caller may begin the next one.
    pub(crate) fn count(&self, principal: &Arc<str>) -> Result<(), Duration> {
        self.0.load().as_ref().map_or(Ok(()), |limiter| limiter.count(principal))
    }
}

impl Limiter {
    fn new(rate: Rate) -> Option<Self> {
        let most = NonZeroU32::new(rate.calls)?;
        let quota = Quota::with_period(rate.per / rate.calls)?.allow_burst(most);
        let callers = RateLimiter::new(quota, HashMapStateStore::default(), Since(Instant::now()));
        // No principal has no name.
        Some(Self { rate, callers, others: "".into() })
    }

    fn count(&self, principal: &Arc<str>) -> Result<(), Duration> {
        if self.callers.len() >= REMEMBERED {
            // Whoever could begin as many as ever need not be remembered.
            self.callers.retain_recent();
        }
        let full = self.callers.len() >= REMEMBERED;
        let caller = if full { &self.others } else { principal };
        self.callers.check_key(caller).map_err(|not_yet| not_yet.wait_time_from(self.callers.clock().now()))
    }
}

impl std::fmt::Debug for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rates").field(&self.0.load().as_ref().map(|limiter| limiter.rate)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use wharf_core::manifest::Rate;

    use super::{REMEMBERED, Rates};

    fn rates(rate: &str) -> Rates {
        let rates = Rates::default();
        rates.configure(Rate::parse(rate));
        rates
    }

    fn who(name: &str) -> Arc<str> {
        name.into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_the_time_to_the_next_call_is_true() {
        let (rates, a) = (rates("4/s"), who("a"));
        for _ in 0..4 {
            rates.count(&a).unwrap();
        }
        assert_eq!(rates.count(&a), Err(Duration::from_millis(250)));
        rates.count(&who("b")).unwrap();
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(rates.count(&a), Err(Duration::from_millis(150)));
        tokio::time::advance(Duration::from_millis(150)).await;
        rates.count(&a).unwrap();
        assert!(rates.count(&a).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_rate_set_again_forgives_nothing_and_none_counts_nothing() {
        let (rates, a) = (rates("1/h"), who("a"));
        rates.count(&a).unwrap();
        rates.configure(Rate::parse("1/h"));
        assert_eq!(rates.count(&a), Err(Duration::from_secs(3600)));
        rates.configure(Rate::parse("2/h"));
        rates.count(&a).unwrap();
        rates.configure(None);
        for _ in 0..9 {
            rates.count(&a).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_callers_are_remembered_than_fit_and_those_beyond_share_one_rate() {
        let rates = rates("1/s");
        for n in 0..REMEMBERED {
            rates.count(&who(&n.to_string())).unwrap();
        }
        rates.count(&who("x")).unwrap();
        assert!(rates.count(&who("y")).is_err(), "counted with x");
        let len = || rates.0.load().as_ref().unwrap().callers.len();
        assert_eq!(len(), REMEMBERED + 1);
        tokio::time::advance(Duration::from_secs(2)).await;
        rates.count(&who("z")).unwrap();
        assert!(len() < 9, "those that have their whole rate again are forgotten");
    }
}
