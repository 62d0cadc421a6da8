//! The tasks of a plugin that have not ended, as far as its answers tell: as long as there is one, the plugin is in use.
//!
//! A task of which nobody asks again is counted for as long as the plugin says that it keeps it, within bounds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use wharf_core::splice;

/// How many are counted; one more is not.
const MOST: usize = 4096;
/// The largest id that is kept, bytes.
const LONGEST: usize = 256;
/// How long a task counts of which the plugin does not say how long it keeps it, and the longest at all.
const KEPT: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(24 * 3600));

/// The open tasks of one plugin, each with the time until which it counts.
#[derive(Debug, Default)]
pub(crate) struct OpenTasks(Mutex<HashMap<String, Instant>>);

/// What an answer says of a task.
#[derive(Deserialize)]
struct Told {
    #[serde(rename = "taskId")]
    id: String,
    status: String,
    #[serde(default, alias = "ttlMs")]
    ttl: Option<f64>,
}

impl OpenTasks {
    /// Notes what an answer of the plugin says of a task, if it does.
    pub(crate) fn note(&self, result: &RawValue) {
        // Of 2025-11-25 inside `task` or flat, of the extension of 2026 flat.
        let told = splice::field(result, "task").or_else(|| splice::field(result, "taskId").map(|_| result));
        let Some(told) = told.and_then(|raw| serde_json::from_str::<Told>(raw.get()).ok()) else { return };
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(told.status.as_str(), "completed" | "failed" | "cancelled") {
            open.remove(&told.id);
        } else if told.id.len() <= LONGEST && (open.len() < MOST || open.contains_key(&told.id)) {
            let said = told.ttl.and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok());
            open.insert(told.id, Instant::now() + said.unwrap_or(KEPT.0).min(KEPT.1));
        }
    }

    /// Whether there is one.
    pub(crate) fn any(&self) -> bool {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        open.retain(|_, until| *until > now);
        !open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::OpenTasks;
    use crate::plugin::testkit::raw;

    #[tokio::test(start_paused = true)]
    async fn a_task_is_open_until_its_end_or_the_time_that_it_is_kept() {
        let tasks = OpenTasks::default();
        tasks.note(&raw(r#"{"content":[],"task":5}"#));
        assert!(!tasks.any());
        for (begun, end) in [
            (
                r#"{"task":{"taskId":"1","status":"working","ttl":60000}}"#,
                r#"{"taskId":"1","status":"failed"}"#,
            ),
            (
                r#"{"taskId":"2","status":"input_required","ttlMs":60000.0}"#,
                r#"{"taskId":"2","status":"cancelled"}"#,
            ),
        ] {
            tasks.note(&raw(begun));
            assert!(tasks.any());
            tasks.note(&raw(end));
            assert!(!tasks.any());
            tasks.note(&raw(begun));
            tokio::time::advance(Duration::from_secs(59)).await;
            assert!(tasks.any());
            tokio::time::advance(Duration::from_secs(2)).await;
            assert!(!tasks.any());
        }
        tasks.note(&raw(r#"{"taskId":"3","status":"working","ttl":null}"#));
        tokio::time::advance(Duration::from_secs(3599)).await;
        assert!(tasks.any());
    }
}
