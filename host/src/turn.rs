//! Giving way to the other tasks of a thread.

use std::task::Poll;

/// Lets the tasks that are ready run first.
pub(crate) async fn step_back() {
    let mut behind = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut behind, true) {
            return Poll::Ready(());
        }
        // Unlike tokio's own yield it asks the system for nothing new: a lone call would pay for that.
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
