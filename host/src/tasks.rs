//! The only place that spawns tasks: each is tracked, named and in a span, and ends with the host.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// The tasks of one host. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    ending: CancellationToken,
}

impl Tasks {
    /// Runs `task` in a span of its own. It must end by itself soon after [`Tasks::ending`] is cancelled.
    pub fn spawn<F>(&self, span: tracing::Span, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(task.instrument(span))
    }

    /// Runs blocking work off the data path.
    pub fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        self.tracker.spawn_blocking(work)
    }

    /// Cancelled when the host ends.
    #[must_use]
    pub fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    /// Tells all tasks to end and waits for them, at most `budget`. Returns how many are left.
    pub async fn end(&self, budget: Duration) -> usize {
        self.ending.cancel();
        self.tracker.close();
        // The count below says whether it ended or timed out.
        tokio::time::timeout(budget, self.tracker.wait()).await.ok();
        self.tracker.len()
    }
}
