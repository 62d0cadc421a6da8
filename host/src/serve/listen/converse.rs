//! One connection from its first byte to its last: plain as long as it is, hyper's from then on.

use std::convert::Infallible;
use std::future::{Future, poll_fn, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::BoxError;
use futures_util::FutureExt as _;
use futures_util::future::Either;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Shared;
use crate::aside::Aside;
use crate::deaf::Ear;
use crate::held::STUCK;
use crate::serve::auth::Via;
use crate::serve::door::Connection;
use crate::serve::drain::Over;
use crate::serve::framing::{Verdict, Watched};
use crate::serve::plain::{Handed, Plain};

const HEAD_BYTES: usize = 64 * 1024;

impl Shared {
    /// Serves one connection to its end, or to the end of the request in flight when the host ends; in that case no longer
    /// than its client takes something. One that leaves too much waiting is cut off at once.
    pub(super) async fn converse<T>(&self, via: Via, stream: T, verdict: Verdict, is_spare: bool)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let taker = self.held.taker("connection");
        let came_by = Connection { verdict: &verdict, taker: &taker, is_spare };
        let (ends, mut over) = (AtomicBool::new(false), Some(Aside::new(self.drain.over(&taker))));
        let stream = Watched::new(stream, Arc::clone(&taker), verdict.clone());
        let plain = Plain::new(stream, (&self.door, via, came_by), &self.drain, &ends).serve();
        let ended = match self.until_over(&mut over, (came_by, via, &ends), plain).await {
            None | Some(Ok(None)) => return,
            Some(Err(error)) => Err(error.into()),
            Some(Ok(Some(handed))) => {
                let hyper = self.by_hyper(via, came_by, handed, &ends);
                self.until_over(&mut over, (came_by, via, &ends), hyper).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error = &*error, "a connection broke off");
        }
    }

    /// Serves a connection whatever comes on it.
    async fn by_hyper<T>(
        &self,
        via: Via,
        came_by: Connection<'_>,
        handed: Handed<T>,
        ends: &AtomicBool,
    ) -> Result<(), BoxError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let first = Mutex::new(handed.answer);
        let service = service_fn(|request| {
            let busy = self.drain.enter();
            let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let answer = match first {
                Some(answer) => Either::Left(ready(*answer)),
                None => Either::Right(self.door.handle(via, came_by, request)),
            };
            answer.map(|answer| {
                let answer = self.drain.tell(answer);
                drop(busy);
                Ok::<_, Infallible>(answer)
            })
        });
        let connection = http1::Builder::new()
            // The framing watches how long a client takes.
            .header_read_timeout(None)
            // At most 100 headers: hyper's own bound, and dearer when it is set.
            .max_header_size(HEAD_BYTES)
            .max_buf_size(HEAD_BYTES)
            // Answers are written from where they are, not from a copy: what counts as held is what is in memory.
            .writev(true)
            .serve_connection(TokioIo::new(handed.stream), service)
            // Costs a request nothing that asks for no upgrade; a pipe leaves the connection by it.
            .with_upgrades();
        let mut connection = pin!(connection);
        let (mut ear, mut is_told) = (Ear::default(), false);
        poll_fn(|cx| {
            let polled = connection.as_mut().poll(&mut ear.context(cx));
            // Behind that: hyper would close a connection of which it has not read anything yet.
            if polled.is_pending() && ends.load(Ordering::Acquire) && !std::mem::replace(&mut is_told, true) {
                connection.as_mut().graceful_shutdown();
                return connection.as_mut().poll(&mut ear.context(cx));
            }
            polled
        })
        .await
        .map_err(Into::into)
    }

    /// Serves a connection until that is done, or no longer than it may be; `None` then.
    async fn until_over<F: Future>(
        &self,
        over: &mut Option<Aside<impl Future<Output = Over>>>,
        (came_by, via, ends): (Connection<'_>, Via, &AtomicBool),
        serves: F,
    ) -> Option<F::Output> {
        let mut serves = pin!(serves);
        if let Some(waits) = over {
            tokio::select! {
                biased;
                // First: a request that is there already is answered, and not cut off.
                served = &mut serves => return Some(served),
                why = waits => match why {
                    Over::AtOnce => return None,
                    Over::InTime => ends.store(true, Ordering::Release),
                },
            }
            *over = None;
        }
        tokio::select! {
            served = serves => Some(served),
            () = came_by.taker.must_go() => None,
            () = came_by.taker.stuck(STUCK) => {
                tracing::warn!(?via, "a client takes nothing while the host ends; its connection is cut");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
