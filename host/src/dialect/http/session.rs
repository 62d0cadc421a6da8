//! The MCP session of a connection: opening it, and opening a new one, once for all who need it, when the server has
//! forgotten it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use wharf_plugin_api::{CallError, Cause, CauseKind, Hello, jsonrpc};

use super::exchange::Trouble;
use super::{Core, Flavor, HostScope, Wire, handshake, session_error, sse_post};

/// How long a new session may take.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(30);

/// A session as every request needs it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    /// Counts the sessions of this connection.
    pub(crate) epoch: u64,
    /// The server's name for it; a stateless server gives none.
    pub(crate) id: Option<HeaderValue>,
    /// The revision settled on, once it is.
    pub(crate) revision: Option<HeaderValue>,
    /// The headers of its POSTs, made once when all of it is known.
    pub(super) posting: Option<HeaderMap>,
    /// Someone is opening the next one.
    restoring: bool,
    /// There will be no next one.
    dead: Option<String>,
}

/// A session whose handshake is under way. Given up before its end, it is ended at the server too.
struct Opening {
    core: Arc<Core>,
    session: Session,
    kept: bool,
}

impl Wire {
    /// Opens a session and makes it the current one.
    pub(super) async fn open_session(&self, deadline: Instant) -> Result<Hello, Trouble> {
        let opening = self.handshake(deadline);
        tokio::time::timeout_at(deadline, opening)
            .await
            .unwrap_or_else(|_| Err(handshake::too_late(handshake::INITIALIZE).into()))
    }

    async fn handshake(&self, deadline: Instant) -> Result<Hello, Trouble> {
        let core = &self.core;
        let (dialect, assumed, id) = match core.flavor {
            Flavor::Http | Flavor::Modern => ("http", None, None),
            Flavor::SsePost => ("sse-post", Some(sse_post::REVISION), Some(sse_post::new_session_id())),
        };
        let mut opening = Opening {
            core: Arc::clone(core),
            session: Session { epoch: core.session.borrow().epoch + 1, id, ..Session::default() },
            kept: false,
        };
        let scope = HostScope::until(deadline);
        let fresh = opening.session.clone();
        let given = Some(&mut opening.session.id);
        let reply = self
            .exchange(&fresh, &handshake::initialize(core.options.client.as_deref()), &scope, given)
            .await?;
        let hello = handshake::hello(dialect, reply, assumed)?;
        self.incoming.settled(&hello.revision);
        opening.session.revision = HeaderValue::from_str(&hello.revision).ok();
        opening.session.posting = Some(core.posting(&opening.session));
        if core.flavor == Flavor::Http {
            core.post_on(&opening.session, jsonrpc::notification(handshake::INITIALIZED, None)).await?;
        }
        opening.kept = true;
        core.session.send_replace(Arc::new(opening.session.clone()));
        Ok(hello)
    }

    /// A session after the one of `seen`: the one that is there, or a new one that is opened by one task for all.
    pub(super) async fn restored(&self, seen: u64) -> Result<Arc<Session>, CallError> {
        let mut sessions = self.core.session.subscribe();
        let mine = self.core.session.send_if_modified(|session| {
            let first = session.epoch == seen && !session.restoring && session.dead.is_none();
            if first {
                Arc::make_mut(session).restoring = true;
            }
            first
        });
        if mine {
            let wire = self.clone();
            let span = tracing::debug_span!("http session", plugin = %self.core.options.label);
            drop(self.core.options.tasks.spawn(span, async move { wire.restore().await }));
        }
        let settled = sessions.wait_for(|session| session.epoch > seen || session.dead.is_some()).await;
        let settled = settled.map(|session| Arc::clone(&session));
        match settled.as_ref().map(|session| session.dead.as_ref()) {
            Ok(None) => Ok(Arc::clone(&self.core.session.borrow())),
            Ok(Some(why)) => Err(session_error(why.clone())),
            Err(_) => Err(session_error("the connection is closed")),
        }
    }

    async fn restore(&self) {
        let old = Arc::clone(&self.core.session.borrow());
        let opened = tokio::select! {
            () = self.core.closing.cancelled() => Err(Cause::new(CauseKind::Requested, "the connection is closed")),
            opened = self.open_session(Instant::now() + RESTORE_TIMEOUT) => opened.map_err(Trouble::cause),
        };
        match opened {
            Ok(_) => {
                // What the server offers may have changed with the session.
                self.incoming.lists_changed();
                self.core.leave(old);
            }
            Err(cause) => {
                let detail = format!("the server lost the session, and a new one failed: {}", cause.detail);
                self.core.session.send_modify(|session| Arc::make_mut(session).dead = Some(detail.clone()));
                self.core.lose(Cause::new(cause.kind, detail));
            }
        }
    }
}

// === impl Session ===

impl Session {
    /// What requests need where there are no sessions.
    pub(super) fn stateless(core: &Core, revision: &'static str) -> Self {
        let session = Self { revision: Some(HeaderValue::from_static(revision)), ..Self::default() };
        Self { posting: Some(core.posting(&session)), ..session }
    }
}

// === impl Opening ===

impl Drop for Opening {
    fn drop(&mut self) {
        if !self.kept {
            self.core.leave(Arc::new(self.session.clone()));
        }
    }
}
