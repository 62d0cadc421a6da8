//! Connections: so many for everything, and a few more that only tell how things are and take an operator's word. Where all
//! of the former are taken, health and administration can still be reached; calls are told that there is no room. Where the
//! others are taken as well, who comes waits in the system's queue. Either is told, once until there is room again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use http::Method;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wharf_core::Code;

use super::problem::Problem;
use crate::host::connections::{Crowd, OneOf};
use crate::route::Failure;

/// Room for the connections of one socket.
#[derive(Debug)]
pub(super) struct Rooms {
    all: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    /// How many of each there are.
    most: (usize, usize),
    /// How people call the socket.
    socket: &'static str,
    crowd: Arc<Crowd>,
    /// How much of the present want of room was told.
    told: AtomicU8,
}

/// Nothing of it; that calls are refused; that nobody gets in.
const NOTHING: u8 = 0;
const FULL: u8 = 1;
const SHUT: u8 = 2;

/// Room for one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    _permit: OwnedSemaphorePermit,
    is_spare: bool,
    /// Once it is of a connection.
    _one: Option<OneOf>,
}

/// When a connection is free is its client's business.
const RETRY: Duration = Duration::from_secs(1);

impl Rooms {
    /// So many for everything, and so many beside them.
    pub(super) fn new(most: (usize, usize), socket: &'static str, crowd: &Arc<Crowd>) -> Self {
        let [all, spare] = [most.0, most.1].map(|permits| Arc::new(Semaphore::new(permits)));
        Self { all, spare, most, socket, crowd: Arc::clone(crowd), told: AtomicU8::new(NOTHING) }
    }

    /// Waits for room.
    pub(super) async fn seat(&self) -> Option<Seat> {
        if self.all.available_permits() == 0 && self.spare.available_permits() == 0 {
            self.shuts();
        }
        let (all, spare) = (Arc::clone(&self.all).acquire_owned(), Arc::clone(&self.spare).acquire_owned());
        tokio::select! {
            biased;
            permit = all => Some(Seat { _permit: permit.ok()?, is_spare: false, _one: None }),
            permit = spare => Some(Seat { _permit: permit.ok()?, is_spare: true, _one: None }),
        }
    }

    /// The seat for a connection that has come by now: a better one may have become free while nobody came.
    pub(super) fn taken(&self, seat: Seat) -> Seat {
        let seat = match Arc::clone(&self.all).try_acquire_owned() {
            Ok(permit) if seat.is_spare => Seat { _permit: permit, is_spare: false, _one: None },
            Ok(_) | Err(_) => seat,
        };
        if seat.is_spare {
            self.fills();
        } else if self.all.available_permits() >= self.most.0 / 8 {
            self.empties();
        }
        Seat { _one: Some(self.crowd.enter()), ..seat }
    }

    fn fills(&self) {
        if self.told.compare_exchange(NOTHING, FULL, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.crowd.fills();
            tracing::warn!(
                connections = self.most.0,
                over = self.socket,
                "all connections are in use: calls over further ones are refused, health and administration are served; let \
                 clients keep one connection for many requests and close the streams that they do not read, or put a proxy \
                 in front that does (host_connections_open tells how many there are)"
            );
        }
    }

    fn shuts(&self) {
        if self.told.swap(SHUT, Ordering::Relaxed) != SHUT {
            tracing::warn!(
                connections = self.most.0 + self.most.1,
                over = self.socket,
                "the connections for health and administration are in use too: who connects now waits until one is closed"
            );
        }
    }

    /// Not at the first connection that is closed: at the bound they come and go.
    fn empties(&self) {
        if self.told.swap(NOTHING, Ordering::Relaxed) != NOTHING {
            tracing::info!(over = self.socket, "there is room for connections again");
        }
    }
}

impl Seat {
    /// One for everything.
    #[cfg(test)]
    pub(super) fn of(permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: permit, is_spare: false, _one: None }
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
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use futures_util::FutureExt;
    use http::Method;

    use super::{FULL, NOTHING, Rooms, SHUT, serves};
    use crate::host::connections::Crowd;

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
        let rooms = Rooms::new((1, 1), "a test", &Arc::default());
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
    #[tokio::test]
    async fn want_of_room_is_told_once_until_there_is_room_again() {
        let crowd = Arc::<Crowd>::default();
        let rooms = Rooms::new((8, 1), "a test", &crowd);
        let told = || (rooms.told.load(Ordering::Relaxed), crowd.full(), crowd.open());
        let mut open = Vec::new();
        for n in 1..=8 {
            let seat = rooms.seat().await.unwrap();
            assert_eq!(told(), (NOTHING, 0, n - 1), "a seat is kept for who comes next");
            open.push(rooms.taken(seat));
        }
        for _ in 0..3 {
            let spare = rooms.seat().await.unwrap();
            let spare = rooms.taken(spare);
            assert_eq!(told(), (FULL, 1, 9), "once");
            drop(spare);
        }
        let seat = rooms.seat().await.unwrap();
        open.push(rooms.taken(seat));
        assert!(rooms.seat().now_or_never().is_none());
        assert_eq!(told(), (SHUT, 1, 9));
        // One that is closed at the bound is no end of it.
        open.remove(0);
        let seat = rooms.seat().await.unwrap();
        open.push(rooms.taken(seat));
        assert_eq!(told(), (SHUT, 1, 9));
        open.drain(..3);
        let seat = rooms.seat().await.unwrap();
        open.push(rooms.taken(seat));
        assert_eq!(told(), (NOTHING, 1, 7));
    }
}
