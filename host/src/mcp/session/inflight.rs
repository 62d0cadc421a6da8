//! The requests of a session that are under way, by the client's own ids.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures_util::task::AtomicWaker;
use wharf_plugin_api::{Id, RpcError};

use crate::mcp::failure::{BUSY, INVALID_REQUEST};

/// Requests of one session at a time, at most.
pub(crate) const MOST: usize = 64;

/// The requests that are under way. An id keeps its type: `1` is not `"1"`.
#[derive(Debug, Default)]
pub(in crate::mcp) struct Inflight(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    /// So few that looking through them is the fastest way to find one.
    open: Vec<(Id, Arc<Told>)>,
    /// The session has ended.
    is_over: bool,
}

/// What a request may be told before its answer is there.
#[derive(Debug, Default)]
struct Told {
    /// Of [`CANCELLED`] and [`ENDED`].
    words: AtomicU8,
    task: AtomicWaker,
}

const CANCELLED: u8 = 1;
const ENDED: u8 = 1 << 1;

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mcp) enum Unanswered {
    /// Its client cancelled it.
    Cancelled,
    /// The session has ended.
    Ended,
}

/// A request under way; dropping it makes its id free again.
#[derive(Debug)]
pub(in crate::mcp) struct Ticket {
    table: Arc<Mutex<Table>>,
    told: Arc<Told>,
}

impl Told {
    fn say(&self, word: u8) {
        self.words.fetch_or(word, Ordering::AcqRel);
        self.task.wake();
    }
}

impl Inflight {
    /// Takes up a request.
    ///
    /// # Errors
    /// If its id is in use, or too many are under way.
    pub(in crate::mcp) fn begin(&self, id: &Id) -> Result<Ticket, RpcError> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.open.iter().any(|(other, _)| other == id) {
            let text = format!("the id {id} belongs to a request that is still under way");
            return Err(RpcError::new(INVALID_REQUEST, text));
        }
        if table.open.len() >= MOST {
            let text = format!("{MOST} requests of this session are under way already; wait for one of them");
            return Err(RpcError::new(BUSY, text));
        }
        let told = Arc::<Told>::default();
        if table.is_over {
            told.say(ENDED);
        }
        table.open.push((id.clone(), Arc::clone(&told)));
        Ok(Ticket { table: Arc::clone(&self.0), told })
    }

    /// The client wants no answer to it any more. One that is answered already is none of our business.
    pub(in crate::mcp) fn cancel(&self, id: &Id) {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = table.open.iter().find(|(other, _)| other == id).map(|(_, told)| Arc::clone(told));
        // Who hears it may drop its ticket at once.
        drop(table);
        if let Some(told) = told {
            told.say(CANCELLED);
        }
    }

    /// The session has ended: all of them are told, and those that still come.
    pub(in crate::mcp) fn end(&self) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.is_over = true;
        let open: Vec<_> = table.open.iter().map(|(_, told)| Arc::clone(told)).collect();
        drop(table);
        open.iter().for_each(|told| told.say(ENDED));
    }
}

impl Ticket {
    /// Works on the answer, unless the client cancels it or the session ends first. An answer that is there is told, also when
    /// the session has ended; a client that cancelled wants none. One task at a time waits here.
    pub(in crate::mcp) async fn unless_told<F: Future>(
        &self,
        mut work: Pin<&mut F>,
    ) -> Result<F::Output, Unanswered> {
        poll_fn(|cx| {
            let was_cancelled = || self.told.words.load(Ordering::Acquire) & CANCELLED != 0;
            if was_cancelled() {
                return Poll::Ready(Err(Unanswered::Cancelled));
            }
            let polled = work.as_mut().poll(cx);
            if polled.is_pending() {
                // Before the next look: who says something after it wakes this task. An answer needs nobody to wake it.
                self.told.task.register(cx.waker());
            }
            match polled {
                _ if was_cancelled() => Poll::Ready(Err(Unanswered::Cancelled)),
                Poll::Pending if self.told.words.load(Ordering::Acquire) & ENDED != 0 => {
                    Poll::Ready(Err(Unanswered::Ended))
                }
                polled @ (Poll::Ready(_) | Poll::Pending) => polled.map(Ok),
            }
        })
        .await
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = table.open.iter().position(|(_, told)| Arc::ptr_eq(told, &self.told)) {
            table.open.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;

    use futures_util::FutureExt;
    use wharf_plugin_api::Id;

    use super::{Inflight, MOST, Ticket, Unanswered};

    /// What a request is told that goes on for ever; `None`: nothing yet.
    fn told(ticket: &Ticket) -> Option<Unanswered> {
        ticket.unless_told(pin!(pending::<()>())).now_or_never().and_then(Result::err)
    }

    #[tokio::test]
    async fn ids_are_told_apart_by_type_and_given_back() {
        let inflight = Inflight::default();
        let number = inflight.begin(&Id::number(1)).unwrap();
        let text = inflight.begin(&Id::text("1")).unwrap();
        assert_eq!(inflight.begin(&Id::number(1)).unwrap_err().code, -32600);
        inflight.cancel(&Id::text("1"));
        assert_eq!((told(&text), told(&number)), (Some(Unanswered::Cancelled), None));
        drop(number);
        assert!(inflight.begin(&Id::number(1)).is_ok());
    }

    #[tokio::test]
    async fn the_end_is_told_to_all_and_to_those_that_still_come() {
        let inflight = Inflight::default();
        let before = inflight.begin(&Id::number(1)).unwrap();
        assert_eq!(told(&before), None);
        inflight.end();
        assert_eq!(told(&before), Some(Unanswered::Ended), "nobody cancelled it");
        assert_eq!(told(&inflight.begin(&Id::number(2)).unwrap()), Some(Unanswered::Ended));
    }

    #[tokio::test]
    async fn an_answer_goes_before_the_end_and_behind_a_cancellation() {
        let inflight = Inflight::default();
        let ticket = inflight.begin(&Id::number(1)).unwrap();
        inflight.end();
        assert_eq!(ticket.unless_told(pin!(ready(7))).await, Ok(7));
        inflight.cancel(&Id::number(1));
        assert_eq!(ticket.unless_told(pin!(ready(7))).await, Err(Unanswered::Cancelled));
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_either_word() {
        for is_end in [true, false] {
            let inflight = Inflight::default();
            let ticket = inflight.begin(&Id::number(1)).unwrap();
            let says = async { if is_end { inflight.end() } else { inflight.cancel(&Id::number(1)) } };
            let mut work = pin!(pending::<()>());
            let (told, ()) = tokio::join!(ticket.unless_told(work.as_mut()), says);
            let expected = if is_end { Unanswered::Ended } else { Unanswered::Cancelled };
            assert_eq!(told, Err(expected));
        }
    }

    #[test]
    fn there_are_only_so_many() {
        let inflight = Inflight::default();
        let tickets: Vec<_> = (0..MOST as u64).map(|n| inflight.begin(&Id::number(n)).unwrap()).collect();
        assert_eq!(inflight.begin(&Id::text("more")).unwrap_err().code, -32010);
        drop(tickets);
        assert!(inflight.begin(&Id::text("more")).is_ok());
    }
}
