//! The task of a session: hears the host, relays what the session's own instances ask, and ends what is idle.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use wharf_core::catalog::Shelf;

use super::table::Sessions;
use super::{IDLE, Outlet, Session, relay};
use crate::host::clients::Joined;
use crate::plugin::notice::Notice;
use crate::route::Ask;

/// A session of which nothing was heard for so long makes room where there is none.
const RESTS: Duration = Duration::from_secs(60);

/// What a session hears; taken before the client gets its answer, so that nothing is missed in between.
#[derive(Debug)]
pub(super) struct Ears {
    pub(super) joined: Joined,
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) notices: broadcast::Receiver<Arc<Notice>>,
    pub(super) catalogs: watch::Receiver<()>,
    pub(super) shelf: Arc<Shelf>,
}

/// Lives until the session ends, then takes away what is left of it.
pub(super) async fn live(session: Arc<Session>, mut ears: Ears, sessions: Arc<Sessions>) {
    let mut open = FuturesUnordered::new();
    loop {
        let idle_at = session.idle_at();
        tokio::select! {
            () = session.ended.cancelled() => break,
            notice = ears.notices.recv() => match notice {
                Ok(notice) => session.hear(&notice),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(session = %session.shown(), missed, "a session missed notifications of its plugins");
                }
                Err(RecvError::Closed) => break,
            },
            changed = ears.catalogs.changed() => {
                if changed.is_err() {
                    break;
                }
                let after = session.shelf();
                session.compare(&ears.shelf, &after);
                session.want_logs();
                session.wants.renew(&session.host);
                ears.shelf = after;
            }
            Some(ask) = ears.asks.recv() => {
                open.push(relay(Arc::clone(&session.asks), Outlet::Feed(Arc::clone(&session.queue)), ask));
            }
            Some(()) = open.next(), if !open.is_empty() => {}
            () = tokio::time::sleep_until(idle_at) => {
                if session.idle_at() <= tokio::time::Instant::now() {
                    tracing::info!(session = %session.shown(), "a session was idle for too long and has ended");
                    break;
                }
            }
        }
    }
    session.end();
    session.wants.clear();
    sessions.forget(&session.id);
    drop(ears.joined);
}

impl Session {
    /// What its face offers now.
    pub(in crate::mcp) fn shelf(&self) -> Arc<Shelf> {
        self.host.catalog().shelf(&self.visitor.face).cloned().unwrap_or_default()
    }

    /// Looks at that, without a count of who does.
    pub(in crate::mcp) fn look<R>(&self, at: impl FnOnce(&Shelf) -> R) -> R {
        match self.host.catalog_now().shelf(&self.visitor.face) {
            Some(shelf) => at(shelf),
            None => at(&Shelf::default()),
        }
    }

    /// Whether it may make room for another: nothing of it is open, and its client never went past the handshake, or has
    /// said nothing for a while.
    pub(super) fn is_spare(&self) -> bool {
        let rests = self.idle_at() <= tokio::time::Instant::now() + (IDLE - RESTS);
        self.open.load(Ordering::Acquire) == 0 && (rests || !self.initialized.load(Ordering::Acquire))
    }

    /// Enough of its id to tell it from others in a log; the whole is a secret of its client.
    pub(super) fn shown(&self) -> &str {
        self.id.get(..8).unwrap_or_default()
    }
}
