//! The requests of one client that are under way, from the moment they are read until their answers are taken.
//!
//! ```text
//! taken -> backlog (bounded in bytes) -> lane (bounded in number) -> exchange -> queue of what goes out
//! ```
//! A request beyond what its lane carries waits in the backlog, so that what comes after it, a cancellation above all, is
//! still read. Only a full backlog holds the reader up; it empties as calls end, each of which has its deadline. A place in
//! a lane is given back when the answer is in the queue: a client that reads nothing gets nothing more done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wharf_plugin_api::{Id, Reply, RpcError};

use super::super::out::{Out, Waiting};
use crate::mcp::failure::{BUSY, INVALID_REQUEST};
use crate::mcp::{Answered, Exchange, REQUESTS};
use crate::tasks::Tasks;

/// Modern requests at a time.
const MODERN: usize = 64;
/// Subscriptions at a time. They have no end of their own, so they must not take the places of those that have.
pub(super) const LISTENS: usize = 64;
/// Bytes that wait for a place, and what one message counts beside its length.
pub(super) const BACKLOG: usize = 32 << 20;
const BASE: usize = 16 << 10;
/// For the word that time is over.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What bounds a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// The bound of its session.
    Legacy,
    Modern,
    Listen,
}

/// The requests of one client. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Flights {
    tasks: Tasks,
    out: Out,
    table: Table,
    backlog: Arc<Semaphore>,
    legacy: Arc<Semaphore>,
    modern: Arc<Semaphore>,
    listens: Arc<Semaphore>,
    open: TaskTracker,
    /// Fires when nothing more comes: all ends without a word.
    over: CancellationToken,
    /// Fires when those who wait have waited long enough: they are told.
    late: CancellationToken,
}

type Table = Arc<Mutex<HashMap<Id, Flight>>>;

/// A request in flight.
#[derive(Clone, Debug)]
struct Flight {
    /// Cancelled by its client: no answer.
    cancelled: CancellationToken,
    /// Only a subscription is closed: it gets an answer.
    closed: Option<CancellationToken>,
}

/// Takes a request out of the table when it is over.
struct Entry {
    id: Id,
    table: Table,
}

/// No critical section can panic half way, so a poisoned lock is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Flights ===

impl Flights {
    pub(super) fn new(tasks: Tasks, out: Out) -> Self {
        Self {
            tasks,
            out,
            table: Table::default(),
            backlog: Arc::new(Semaphore::new(BACKLOG)),
            legacy: Arc::new(Semaphore::new(REQUESTS)),
            modern: Arc::new(Semaphore::new(MODERN)),
            listens: Arc::new(Semaphore::new(LISTENS)),
            open: TaskTracker::new(),
            over: CancellationToken::new(),
            late: CancellationToken::new(),
        }
    }

    pub(super) fn over(&self) -> &CancellationToken {
        &self.over
    }

    /// Takes a request up; `size` is what it holds in memory. Waits only while the backlog is full.
    pub(super) async fn take(
        &self,
        lane: Lane,
        id: Id,
        size: usize,
        begin: impl FnOnce() -> Exchange + Send + 'static,
    ) {
        let Some(waiting) = self.room(size).await else { return };
        let flight = match self.enter(lane, &id) {
            Ok(flight) => flight,
            Err(refused) => return self.refuse(waiting, &id, refused),
        };
        let (this, entry) = (self.clone(), Entry { id, table: Arc::clone(&self.table) });
        self.spawn(async move {
            let mut place = None;
            let last = tokio::select! {
                last = this.fly(lane, begin, (&mut place, waiting)) => last,
                last = closing(flight.closed.as_ref(), &entry.id) => last.map(|last| this.out.hold(last)),
                () = flight.cancelled.cancelled() => None,
                () = this.late.cancelled() => too_late(&entry.id).message.map(|last| this.out.hold(last)),
                () = this.over.cancelled() => None,
            };
            // The id is free before the client can know. Its place is not, before the answer is taken.
            drop(entry);
            if let Some(message) = last {
                this.deliver(message).await;
            }
            drop(place);
        });
    }

    /// Says what needs no work. Waits for nothing but room in the backlog.
    pub(super) async fn say(&self, message: Bytes) {
        let Some(message) = self.out.try_hand_over(self.out.hold(message)) else { return };
        let Some(waiting) = self.room(message.len()).await else { return };
        self.say_later(waiting, message);
    }

    /// The client takes a request back. False: there is none with this id.
    pub(super) fn cancel(&self, id: &Id) -> bool {
        let found = locked(&self.table).get(id).map(|flight| flight.cancelled.clone());
        found.inspect(CancellationToken::cancel).is_some()
    }

    /// No more comes in: waits for the answers, at most `within`. Who has none by then is told so.
    pub(super) async fn finish(&self, within: Duration) {
        let closed: Vec<_> =
            locked(&self.table).values().filter_map(|flight| flight.closed.clone()).collect();
        closed.iter().for_each(CancellationToken::cancel);
        self.open.close();
        if within.is_zero() || timeout(within, self.open.wait()).await.is_ok() {
            return;
        }
        tracing::info!("requests were still in flight when their client's time was over");
        self.late.cancel();
        if timeout(LAST_WORD, self.open.wait()).await.is_err() {
            tracing::debug!("a client did not take the word that its time was over");
        }
    }

    /// Room in the backlog; `None` once all is over.
    async fn room(&self, size: usize) -> Option<OwnedSemaphorePermit> {
        let cost = u32::try_from(BASE.saturating_add(size).min(BACKLOG)).ok()?;
        tokio::select! {
            room = Arc::clone(&self.backlog).acquire_many_owned(cost) => room.ok(),
            () = self.over.cancelled() => None,
        }
    }

    fn enter(&self, lane: Lane, id: &Id) -> Result<Flight, RpcError> {
        let mut table = locked(&self.table);
        if table.contains_key(id) {
            return Err(RpcError::new(INVALID_REQUEST, "a request with this id is in flight already"));
        }
        if lane == Lane::Listen && self.open.is_closed() {
            return Err(RpcError::new(BUSY, "the host is ending; another one may take its place"));
        }
        if lane == Lane::Listen && self.listens.available_permits() == 0 {
            let text = format!(
                "{LISTENS} listens of this connection are open; close one, or ask for more in one of them"
            );
            return Err(RpcError::new(BUSY, text));
        }
        let closed = (lane == Lane::Listen).then(CancellationToken::new);
        let flight = Flight { cancelled: CancellationToken::new(), closed };
        table.insert(id.clone(), flight.clone());
        Ok(flight)
    }

    /// Waits for a place, and goes on to the answer.
    async fn fly(
        &self,
        lane: Lane,
        begin: impl FnOnce() -> Exchange,
        (place, waiting): (&mut Option<OwnedSemaphorePermit>, OwnedSemaphorePermit),
    ) -> Option<Waiting> {
        let places = match lane {
            Lane::Legacy => &self.legacy,
            Lane::Modern => &self.modern,
            Lane::Listen => &self.listens,
        };
        *place = Some(Arc::clone(places).acquire_owned().await.ok()?);
        drop(waiting);
        run(begin(), &self.out).await
    }

    fn refuse(&self, waiting: OwnedSemaphorePermit, id: &Id, error: RpcError) {
        if let Some(message) = Answered::new(id, &Reply::Error(error)).message {
            self.say_later(waiting, self.out.hold(message));
        }
    }

    fn say_later(&self, waiting: OwnedSemaphorePermit, message: Waiting) {
        let this = self.clone();
        self.spawn(async move {
            this.deliver(message).await;
            drop(waiting);
        });
    }

    async fn deliver(&self, message: Waiting) {
        tokio::select! {
            // Fails only if nobody is there to take it.
            sent = self.out.hand_over(message) => drop(sent),
            () = self.over.cancelled() => {}
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(tracing::debug_span!("exchange"), self.open.track_future(work));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        locked(&self.table).remove(&self.id);
    }
}

/// Lets out what an exchange says; returns its answer. A client that reads slowly stretches no call: what it is told on the
/// way waits beside it.
async fn run(exchange: Exchange, out: &Out) -> Option<Waiting> {
    let Exchange { mut events, mut answer } = exchange;
    let mut said = None;
    let answered = loop {
        tokio::select! {
            biased;
            room = out.place(), if said.is_some() => {
                let room = room.ok()?;
                if let Some(Waiting(event)) = said.take() {
                    room.send(event);
                }
            }
            Some(event) = events.recv(), if said.is_none() => said = Some(out.hold(event)),
            answered = &mut answer => break answered,
        }
    };
    // What the call holds is free while its last words wait.
    drop(answer);
    let answer = answered.message.map(|message| out.hold(message));
    while let Some(event) = said.take().or_else(|| events.try_recv().ok().map(|event| out.hold(event))) {
        out.hand_over(event).await.ok()?;
    }
    answer
}

async fn closing(closed: Option<&CancellationToken>, id: &Id) -> Option<Bytes> {
    let Some(closed) = closed else { return std::future::pending().await };
    closed.cancelled().await;
    super::closed(id).message
}

fn too_late(id: &Id) -> Answered {
    let text =
        "the connection ended before this was answered; keep the input open until all answers are there";
    Answered::new(id, &Reply::Error(RpcError::new(BUSY, text)))
}

#[cfg(test)]
mod tests;
