//! A request that finds no idle connection makes one, and takes one that is given back meanwhile if that is there first: a
//! server may be slow to take a connection that has others, and answers on those.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::lane::Lane;
use super::{Pool, Unanswered, lock};

/// Connections of one server that may still come about though their requests went over others: the next need not make one.
/// What is more is given up.
pub(super) const LEFT: usize = 4;
/// So long it may take until they are there.
const PATIENCE: Duration = Duration::from_secs(4);

/// The requests of one serving thread that wait for a connection.
#[derive(Default)]
pub(super) struct Wanted(VecDeque<oneshot::Sender<Box<Lane>>>);

/// A request that waits. What it was given and did not take is for the next.
struct Waits<'a> {
    pool: &'a Arc<Pool>,
    given: oneshot::Receiver<Box<Lane>>,
}

impl Wanted {
    fn join(&mut self) -> oneshot::Receiver<Box<Lane>> {
        self.0.retain(|other| !other.is_closed());
        let (give, given) = oneshot::channel();
        self.0.push_back(give);
        given
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.0.iter().filter(|one| !one.is_closed()).count()
    }

    /// Gives a connection to the request that waits longest, or back where none does.
    pub(super) fn give(&mut self, mut lane: Box<Lane>) -> Option<Box<Lane>> {
        while let Some(next) = self.0.pop_front() {
            lane = next.send(lane).err()?;
        }
        Some(lane)
    }
}

impl Pool {
    /// A connection that was given back, or a new one, and whether it is new.
    pub(super) async fn freed_or_new(self: &Arc<Self>) -> Result<(Box<Lane>, bool), Unanswered> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let given = self.idle().wanted.join();
        let mut waits = Waits { pool: self, given };
        let pool = Arc::clone(self);
        let mut made = Box::pin(async move { pool.connect().await });
        let freed = tokio::select! {
            biased;
            Ok(freed) = &mut waits.given => freed,
            made = &mut made => return Ok((made?, true)),
        };
        self.left(made);
        Ok((freed, false))
    }

    /// Gives a connection to a request that waits for one, on this serving thread or, while there are few, on another. Gives it
    /// back where none does.
    pub(super) fn give(&self, lane: Box<Lane>) -> Option<Box<Lane>> {
        // The way of nearly every call.
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return Some(lane);
        }
        let lane = self.idle().wanted.give(lane)?;
        if !self.has_few() {
            return Some(lane);
        }
        self.idle.all().try_fold(lane, |lane, other| lock(other).wanted.give(lane))
    }

    /// Has a connection come about whose request went over another.
    fn left(self: &Arc<Self>, made: impl Future<Output = Result<Box<Lane>, Unanswered>> + Send + 'static) {
        let Ok(one) = Arc::clone(&self.left).try_acquire_owned() else { return };
        let (tasks, pool) = (&self.client.tasks, Arc::clone(self));
        let ending = tasks.ending().clone();
        let made = async move {
            if let Ok(Ok(lane)) = tokio::time::timeout(PATIENCE, made).await {
                pool.keep(lane);
            }
            drop(one);
        };
        let span = tracing::debug_span!(parent: None, "connect");
        drop(tasks.spawn(span, async move { ending.run_until_cancelled(made).await }));
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.pool.waiting.fetch_sub(1, Ordering::Relaxed);
        self.given.close();
        // Where no runtime is left nobody else comes.
        if let Ok(lane) = self.given.try_recv()
            && Handle::try_current().is_ok()
        {
            self.pool.keep(lane);
        }
    }
}
