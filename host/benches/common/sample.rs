//! Numbers of one kind, and what stands for them all.

use std::time::Duration;

/// A sample of one number, sorted.
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The smallest value that this share of all is not above. Of nothing: not a number.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a position in a list"
    )]
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let position = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(position.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub(crate) fn max(&self) -> f64 {
        self.quantile(1.0)
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
