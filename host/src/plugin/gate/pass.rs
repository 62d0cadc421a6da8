//! A place at a plugin, and a place in the queue for one. Both are given back when they are dropped, however the call ends; but
//! what a pass holds can be had from it, and is given back by whoever has it then.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::shares::Held;
use super::{CallerKey, Gate, Refused, Turn, WAITS};

/// A call that was let in. Dropped, its place goes to the next.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    gate: &'a Gate,
    held: Option<Held>,
    waited: Duration,
}

/// A call that waits for its turn, which it comes to.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    gate: &'a Gate,
    caller: CallerKey,
    number: u64,
    /// When the call came.
    since: Instant,
    /// `None` once it is known what becomes of it.
    turn: Option<oneshot::Receiver<Turn>>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(gate: &'a Gate, held: Held, waited: Duration) -> Self {
        Self { gate, held: Some(held), waited }
    }

    /// How long it waited for its turn; nothing if it did not have to.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }

    /// The place itself, to be given back with [`Gate::leave`].
    pub(crate) fn into_held(mut self) -> Option<Held> {
        self.held.take()
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.gate.leave(held);
        }
    }
}

impl<'a> Place<'a> {
    pub(super) fn new(
        gate: &'a Gate,
        caller: CallerKey,
        (number, since): (u64, Instant),
        turn: oneshot::Receiver<Turn>,
    ) -> Self {
        Self { gate, caller, number, since, turn: Some(turn) }
    }
}

impl<'a> Future for Place<'a> {
    type Output = Result<Pass<'a>, Refused>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(turn) = &mut self.turn else { return Poll::Ready(Err(Refused::Waited)) };
        let turn = ready!(Pin::new(turn).poll(cx));
        self.turn = None;
        let (held, given) = turn.unwrap_or(Err(Refused::Waited))?;
        Poll::Ready(Ok(Pass::new(self.gate, held, given.saturating_duration_since(self.since))))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(mut turn) = self.turn.take() else { return };
        let left = {
            let mut waiting = self.gate.waiting();
            let left = waiting.leave(self.caller.0, self.number);
            if left.is_some() {
                self.gate.load.fetch_sub(WAITS, Ordering::AcqRel);
            }
            left
        };
        // Its turn came in the very moment in which it left, or comes: that is not taken any more.
        turn.close();
        if left.is_none()
            && let Ok(Ok((held, _))) = turn.try_recv()
        {
            self.gate.leave(held);
        }
    }
}
