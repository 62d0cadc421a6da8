//! A legacy session of a client with us: who the client is, what of it is open, and how it ends.
//!
//! What the methods do is in `legacy`; what the session hears from the host without having asked is in `session::life`.

mod asks;
mod feeds;
mod hears;
mod inflight;
mod life;
mod queue;
mod table;
#[cfg(test)]
mod tests;
mod wants;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wharf_plugin_api::{Caller, Client, Id, Reply};

pub(super) use self::asks::{Asks, Outlet, relay};
use self::inflight::Inflight;
pub(crate) use self::inflight::MOST as REQUESTS;
pub(super) use self::inflight::Unanswered;
use self::queue::Queue;
pub(super) use self::table::Sessions;
use self::wants::Wants;
use super::exchange::Exchange;
use super::level::{Level, UNTIL_LOUDER};
use super::tasks::TaskTable;
use super::{Params, Visitor};
use crate::Host;
use crate::plugin::watch::Watch;

/// How long a session lives of which nothing is heard and that has nothing open.
pub(super) const IDLE: Duration = Duration::from_secs(30 * 60);

/// A session. It ends when its client says so, when nothing was heard of it for too long, or with the host.
#[derive(Debug)]
pub(crate) struct Session {
    id: Arc<str>,
    revision: String,
    ended: CancellationToken,
    /// Whether it was ended, for who asks with every request: `ended` would take a lock for that. Where the host ends it is
    /// set a moment later.
    is_over: AtomicBool,
    pub(super) host: Host,
    pub(super) visitor: Visitor,
    pub(super) tasks: Arc<TaskTable>,
    /// What the client says of itself; its log level is kept beside it.
    client: Client,
    /// The least severe level that it set; above all levels: it set none.
    level: AtomicU8,
    /// Whether the client is past its handshake. Nothing is told to it before.
    initialized: AtomicBool,
    pub(super) inflight: Inflight,
    pub(super) asks: Arc<Asks>,
    pub(super) queue: Arc<Queue>,
    pub(super) wants: Wants,
    /// What plugins are told of its client.
    told: Mutex<Arc<Client>>,
    used: Mutex<Instant>,
    /// Requests and feeds that are open.
    open: AtomicUsize,
}

/// What a session says that belongs to no request of its client.
#[derive(Debug)]
pub(crate) struct Feed {
    session: Arc<Session>,
    turn: u64,
    _open: Open,
}

/// Something of a session that is open; until it is dropped the session is not idle.
#[derive(Debug)]
pub(super) struct Open(Arc<Session>);

/// No level was set.
const UNSET: u8 = u8::MAX;

impl Session {
    fn new(
        id: Arc<str>,
        revision: String,
        host: Host,
        visitor: Visitor,
        tasks: Arc<TaskTable>,
        client: Client,
        queue: Arc<Queue>,
    ) -> Self {
        Self {
            ended: host.tasks().ending().child_token(),
            is_over: AtomicBool::new(false),
            id,
            revision,
            host,
            // Its own: each of its calls counts it, and those of other sessions, which another thread may serve, do not.
            visitor: Visitor { principal: (&*visitor.principal).into(), ..visitor },
            tasks,
            client,
            level: AtomicU8::new(UNSET),
            initialized: AtomicBool::new(false),
            inflight: Inflight::default(),
            asks: Arc::default(),
            queue,
            wants: Wants::default(),
            told: Mutex::default(),
            used: Mutex::new(Instant::now()),
            open: AtomicUsize::new(0),
        }
    }

    /// Its id: unguessable, of visible ASCII.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The revision that both sides settled on.
    pub(crate) fn revision(&self) -> &str {
        &self.revision
    }

    /// Resolves when the session has ended.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Ends it, and all that belongs to it.
    pub(crate) fn end(&self) {
        // First: an answer that says so is there before anybody else hears of the end.
        self.inflight.end();
        self.is_over.store(true, Ordering::Release);
        self.ended.cancel();
    }

    /// A request of the client.
    pub(crate) fn request(
        self: &Arc<Self>,
        id: Id,
        method: impl Into<Cow<'static, str>>,
        params: Option<Params>,
    ) -> Exchange {
        super::legacy::request(self, id, method.into(), params)
    }

    /// A notification of the client.
    pub(crate) fn notification(&self, method: &str, params: Option<Arc<RawValue>>) {
        self.touch();
        super::legacy::notification(self, method, params);
    }

    /// The client's answer to something that it was asked.
    pub(crate) fn response(&self, id: Option<&Id>, reply: Reply) {
        self.touch();
        self.asks.answer(id, reply);
    }

    /// Nothing comes from the client any more, and it cannot come back: it answers no question. What it asked for goes on.
    pub(crate) fn falls_silent(&self) {
        self.asks.end();
    }

    /// Takes the feed; who took it before finds it ended. What was said while nobody listened is kept, within a bound.
    pub(crate) fn feed(self: &Arc<Self>) -> Feed {
        Feed { turn: self.queue.take_turn(), _open: self.opened(), session: Arc::clone(self) }
    }

    /// Who calls, in the session's calls.
    pub(super) fn caller(&self) -> Caller {
        let level = self.level().as_str();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Made anew only when the level was set.
        if told.log_level.as_deref() != Some(level) {
            *told = Arc::new(Client { log_level: Some(level.into()), ..self.client.clone() });
        }
        Caller {
            principal: Arc::clone(&self.visitor.principal),
            client: Arc::clone(&told),
            session: Some(Arc::clone(&self.id)),
        }
    }

    /// The least severe level of log messages that it is told.
    pub(super) fn level(&self) -> Level {
        Level::of_severity(self.level.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// Sets it, and asks the plugins of the face for it. When this is over they know, but for those that are too slow.
    pub(super) async fn set_level(&self, level: Level) {
        self.level.store(level.severity(), Ordering::Release);
        let told = self.want_logs();
        join_all(told.iter().map(|watch| watch.taken(UNTIL_LOUDER))).await;
    }

    /// Wants the level that was set of every plugin that is on the face now. Without one the plugins say what they will.
    fn want_logs(&self) -> Vec<Arc<Watch>> {
        let level = || Level::of_severity(self.level.load(Ordering::Acquire));
        self.wants.logs(&self.host, &self.visitor.face, level)
    }

    /// The handshake is over: the client said so, or it goes on as if it had.
    pub(super) fn initialized(&self) {
        if !self.initialized.swap(true, Ordering::AcqRel) {
            self.queue.ring();
        }
    }

    /// Something was heard of it.
    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn opened(self: &Arc<Self>) -> Open {
        // When it was used is told at the end: while anything is open, nobody asks.
        self.open.fetch_add(1, Ordering::AcqRel);
        Open(Arc::clone(self))
    }

    /// When it will have been idle for too long; later, while something is open.
    fn idle_at(&self) -> Instant {
        if self.open.load(Ordering::Acquire) > 0 {
            return Instant::now() + IDLE;
        }
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) + IDLE
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.touch();
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Feed {
    /// The next message, whole and on one line; `None` when the session has ended, or another took the feed.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let session = &self.session;
        loop {
            let rung = session.queue.rung();
            tokio::pin!(rung);
            // Enabled before the look, so that nothing is missed between the two.
            rung.as_mut().enable();
            if session.ended.is_cancelled() || !session.queue.has_turn(self.turn) {
                return None;
            }
            if session.initialized.load(Ordering::Acquire)
                && let Some(message) = session.queue.pop()
            {
                return Some(message);
            }
            tokio::select! {
                () = rung => {}
                () = session.ended.cancelled() => return None,
            }
        }
    }
}
