//! The requests of a session that are under way, by the client's own ids.

use std::sync::{Arc, Mutex, PoisonError};

use wharf_plugin_api::{Id, RpcError};

use crate::mcp::failure::{BUSY, INVALID_REQUEST};
use crate::word::Word;

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
    cancelled: Word,
    ended: Word,
}

/// A request under way; dropping it makes its id free again.
#[derive(Debug)]
pub(in crate::mcp) struct Ticket {
    table: Arc<Mutex<Table>>,
    told: Arc<Told>,
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
            told.ended.say();
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
            told.cancelled.say();
        }
    }

    /// The session has ended: all of them are told, and those that still come.
    pub(in crate::mcp) fn end(&self) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.is_over = true;
        let open: Vec<_> = table.open.iter().map(|(_, told)| Arc::clone(told)).collect();
        drop(table);
        open.iter().for_each(|told| told.ended.say());
    }
}

impl Ticket {
    /// Resolves when the client cancels it.
    pub(in crate::mcp) async fn cancelled(&self) {
        self.told.cancelled.heard().await;
    }

    /// Resolves when the session has ended.
    pub(in crate::mcp) async fn ended(&self) {
        self.told.ended.heard().await;
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
    use futures_util::FutureExt;
    use wharf_plugin_api::Id;

    use super::{Inflight, MOST};

    #[tokio::test]
    async fn ids_are_told_apart_by_type_and_given_back() {
        let inflight = Inflight::default();
        let number = inflight.begin(&Id::number(1)).unwrap();
        let text = inflight.begin(&Id::text("1")).unwrap();
        assert_eq!(inflight.begin(&Id::number(1)).unwrap_err().code, -32600);
        inflight.cancel(&Id::text("1"));
        text.cancelled().await;
        assert!(number.cancelled().now_or_never().is_none());
        drop(number);
        assert!(inflight.begin(&Id::number(1)).is_ok());
    }

    #[tokio::test]
    async fn the_end_is_told_to_all_and_to_those_that_still_come() {
        let inflight = Inflight::default();
        let before = inflight.begin(&Id::number(1)).unwrap();
        assert!(before.ended().now_or_never().is_none());
        inflight.end();
        before.ended().await;
        inflight.begin(&Id::number(2)).unwrap().ended().await;
        assert!(before.cancelled().now_or_never().is_none(), "nobody cancelled it");
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
