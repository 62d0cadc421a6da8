//! The only place that spawns tasks: each is tracked, named and in a span, and ends with the host.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// After so long a thread without blocking work ends. A start has dozens of them, and each holds memory of its own; they would
/// live on as long as there is a little work now and then, for they take turns: as many as there is work in this time. To
/// begin one anew costs less than 0.1 ms.
pub(crate) const IDLE_THREAD: Duration = Duration::from_millis(100);
/// Work on more bytes than this takes milliseconds.
const LARGE: usize = 2 << 20;

/// Works on so many bytes, here. If they are many, the other tasks of this thread go on in another one meanwhile: no plugin
/// with a large answer holds up the rest.
pub(crate) fn on_bytes<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let hands_over =
        || Handle::try_current().is_ok_and(|at| at.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes > LARGE && hands_over() { tokio::task::block_in_place(work) } else { work() }
}

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

    /// Likewise, in another runtime than this one.
    pub(crate) fn spawn_on<F>(&self, at: &Handle, span: tracing::Span, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn_on(task.instrument(span), at)
    }

    /// Runs blocking work off the data path.
    pub fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        self.tracker.spawn_blocking(work)
    }

    /// How many run.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.tracker.len()
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

#[cfg(test)]
mod tests {
    use super::{LARGE, on_bytes};

    #[test]
    #[expect(clippy::disallowed_methods, reason = "there is no host whose tasks these could be")]
    fn large_work_is_done_wherever_it_is() {
        let alone = on_bytes(LARGE + 1, || 1);
        let one = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let one = one.block_on(async { on_bytes(LARGE + 1, || 1) });
        let many = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let many = many.block_on(async {
            tokio::spawn(async {
                let (tell, told) = std::sync::mpsc::channel();
                tokio::spawn(async move { tell.send(1) });
                // The only thread is free for the other task.
                on_bytes(LARGE + 1, || told.recv())
            })
            .await
        });
        assert_eq!((alone, one, many.unwrap()), (1, 1, Ok(1)));
    }
}
