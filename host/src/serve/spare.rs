//! Connections: so many for everything, and a few more that only tell how things are and take an operator's word. Where all
//! of the former are taken, health and administration can still be reached; calls are told that there is no room.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wharf_core::Code;

use super::problem::Problem;
use crate::route::Failure;

/// Room for the connections of one socket.
#[derive(Debug)]
pub(super) struct Rooms {
    all: Arc<Semaphore>,
    spare: Arc<Semaphore>,
}

/// Room for one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    _permit: OwnedSemaphorePermit,
    is_spare: bool,
}

/// When a connection is free is its client's business.
const RETRY: Duration = Duration::from_secs(1);

impl Rooms {
    pub(super) fn new(all: usize, spare: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), spare: Arc::new(Semaphore::new(spare)) }
    }

    /// Waits for room.
    pub(super) async fn seat(&self) -> Option<Seat> {
        let (all, spare) = (Arc::clone(&self.all).acquire_owned(), Arc::clone(&self.spare).acquire_owned());
        tokio::select! {
            biased;
            permit = all => Some(Seat { _permit: permit.ok()?, is_spare: false }),
            permit = spare => Some(Seat { _permit: permit.ok()?, is_spare: true }),
        }
    }

    /// The seat for a connection that has come by now: a better one may have become free while nobody came.
    pub(super) fn taken(&self, seat: Seat) -> Seat {
        match Arc::clone(&self.all).try_acquire_owned() {
            Ok(permit) if seat.is_spare => Seat { _permit: permit, is_spare: false },
            Ok(_) | Err(_) => seat,
        }
    }
}

impl Seat {
    /// One for everything.
    #[cfg(test)]
    pub(super) fn of(permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: permit, is_spare: false }
    }

    /// Whether its connection is for health and administration only.
    pub(super) fn is_spare(&self) -> bool {
        self.is_spare
    }
}

/// Whether a request may come over a spare connection: no call, nothing of MCP, nothing that outlives its answer.
pub(super) fn serves(method: &Method, path: &str) -> bool {
    match path {
        "/healthz" | "/readyz" | "/metrics" => true,
        "/api/v1/pipe" => false,
        _ => {
            let call = ["/call", "/read", "/get"].iter().any(|end| path.ends_with(end));
            let is_call = method == Method::POST && call && !path.starts_with("/api/v1/calls/");
            path.starts_with("/api/v1/") && !is_call
        }
    }
}

/// What all else is told.
pub(super) fn refused() -> Problem {
    let detail = "all connections are in use; this one is for health and administration only";
    Failure { retry_after: Some(RETRY), ..Failure::new(Code::Overloaded, detail) }.into()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http::Method;

    use super::{Rooms, serves};

    #[test]
    fn what_is_no_call_can_be_asked_when_all_is_taken() {
        for (method, path, served) in [
            (Method::GET, "/healthz", true),
            (Method::GET, "/readyz", true),
            (Method::GET, "/metrics", true),
            (Method::GET, "/api/v1/plugins", true),
            (Method::POST, "/api/v1/plugins/p/restart", true),
            (Method::POST, "/api/v1/reload", true),
            (Method::POST, "/api/v1/calls/c-1/cancel", true),
            (Method::GET, "/api/v1/plugins/p/tools/call", true),
            (Method::POST, "/api/v1/plugins/p/tools/t/call", false),
            (Method::POST, "/api/v1/plugins/p/resources/read", false),
            (Method::POST, "/api/v1/plugins/p/prompts/x/get", false),
            (Method::GET, "/api/v1/pipe", false),
            (Method::POST, "/tools/p/t", false),
            (Method::POST, "/mcp", false),
            (Method::GET, "/mcp", false),
            (Method::GET, "/sse", false),
            (Method::POST, "/plugins/p/mcp", false),
        ] {
            assert_eq!(serves(&method, path), served, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn spare_room_is_taken_last_and_given_up_for_better() {
        let rooms = Rooms::new(1, 1);
        let first = rooms.seat().await.unwrap();
        assert!(!first.is_spare());
        let second = rooms.seat().await.unwrap();
        assert!(second.is_spare());
        assert!(rooms.seat().now_or_never().is_none());
        let second = rooms.taken(second);
        assert!(second.is_spare());
        drop(first);
        let second = rooms.taken(second);
        assert!(!second.is_spare());
        assert!(rooms.seat().await.unwrap().is_spare());
    }
}
