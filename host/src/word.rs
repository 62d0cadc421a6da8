//! A word that is said once to one task. Every call holds a few that are hardly ever said: this is lighter than a
//! cancellation token, which keeps a tree and a list of those who wait.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures_util::task::AtomicWaker;

/// What may be said.
#[derive(Debug, Default)]
pub(crate) struct Word {
    said: AtomicBool,
    task: AtomicWaker,
}

impl Word {
    pub(crate) fn say(&self) {
        self.said.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Resolves when it is said. One task at a time waits for it.
    pub(crate) async fn heard(&self) {
        poll_fn(|cx| {
            // Before the look: who says it after that wakes this task.
            self.task.register(cx.waker());
            if self.said.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::Word;

    #[tokio::test]
    async fn it_is_heard_before_and_after_it_was_said() {
        let word = Word::default();
        assert!(word.heard().now_or_never().is_none());
        tokio::join!(word.heard(), async { word.say() });
        word.heard().await;
    }
}
