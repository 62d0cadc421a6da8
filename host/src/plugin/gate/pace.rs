//! How long calls took lately: what a time to come back is reckoned from.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A running mean, which forgets: the last call counts an eighth.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// In microseconds; 0: no call has ended yet.
    mean: AtomicU64,
}

const LAST: u64 = 8;

impl Pace {
    /// A call ended that ran for so long. Of two that end in the same moment one may be lost: it is a mean.
    pub(crate) fn took(&self, ran: Duration) {
        let ran = u64::try_from(ran.as_micros()).unwrap_or(u64::MAX / LAST).clamp(1, u64::MAX / LAST);
        let mean = self.mean.load(Ordering::Relaxed);
        let new = if mean == 0 { ran } else { mean - mean / LAST + ran / LAST };
        self.mean.store(new.max(1), Ordering::Relaxed);
    }

    /// How long a call runs, typically. `None`: none has ended yet.
    pub(crate) fn typical(&self) -> Option<Duration> {
        let mean = self.mean.load(Ordering::Relaxed);
        (mean > 0).then(|| Duration::from_micros(mean))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pace;

    #[test]
    fn the_mean_follows_what_calls_take() {
        let pace = Pace::default();
        assert_eq!(pace.typical(), None);
        pace.took(Duration::from_millis(80));
        assert_eq!(pace.typical(), Some(Duration::from_millis(80)));
        pace.took(Duration::ZERO);
        assert_eq!(pace.typical(), Some(Duration::from_millis(70)));
        for _ in 0..100 {
            pace.took(Duration::from_secs(1));
        }
        let typical = pace.typical().unwrap();
        assert!(typical > Duration::from_millis(990) && typical <= Duration::from_secs(1), "{typical:?}");
        pace.took(Duration::MAX);
    }
}
