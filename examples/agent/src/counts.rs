//! How the calls of this agent went, tool by tool. How other clients fared is not known here.

use std::collections::BTreeMap;
use std::time::Duration;

/// Of one tool.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Count {
    /// Calls that ended.
    pub requests: u64,
    /// Those that ended well.
    pub succeeded: u64,
    /// Of all of them together.
    pub took: Duration,
}

/// By the tool's name.
#[derive(Clone, Debug, Default)]
pub struct Counts(pub BTreeMap<String, Count>);

impl Counts {
    /// Counts a call that ended.
    pub fn count(&mut self, tool: &str, failed: bool, took: Duration) {
        let count = self.0.entry(tool.to_owned()).or_default();
        *count = count.and(Count { requests: 1, succeeded: u64::from(!failed), took });
    }
}

impl Count {
    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            succeeded: self.succeeded + other.succeeded,
            took: self.took + other.took,
        }
    }
}
