//! Streamable HTTP of the modern era: no session, no stream beside those of requests, and headers that repeat what the body
//! says. A request that is given up is taken back by closing its response.
//!
//! It must not know when to start anew: a connection holds nothing that could be lost.

use std::sync::Arc;

use http::StatusCode;
use tokio::time::{Duration, Instant, timeout_at};
use wharf_core::manifest::EraChoice;
use wharf_core::splice;
use wharf_plugin_api::{CallError, CallErrorKind, Cause, CauseKind, Delivery, Inbox, Reply, Request, Scope};

use super::exchange::Trouble;
use super::session::Session;
use super::{Flavor, Wire, handshake, open};
use crate::dialect::handshake::HostScope;
use crate::dialect::modern::{self, Discovery};
use crate::dialect::web::Endpoint;
use crate::dialect::{Connected, Options};

const DIALECT: &str = "http";
const TOOLS_LIST: &str = "tools/list";
/// How long the tools may take to be listed again within a call.
const RELIST: Duration = Duration::from_secs(10);
/// Pages of that list.
const MAX_PAGES: usize = 100;

/// Connects in the era that is known, else in the one that the server shows.
///
/// # Errors
/// Why there is no working connection. A refusal of the legacy handshake is kept apart.
pub(crate) async fn connect_by_era(
    endpoint: Endpoint,
    inbox: Arc<dyn Inbox>,
    options: Options,
) -> Result<Connected, Trouble> {
    let (until, era) = match options.era {
        EraChoice::Legacy => return open(Flavor::Http, endpoint, inbox, options).await,
        era @ EraChoice::Modern => (options.handshake_deadline, era),
        era @ EraChoice::Auto => (options.probe_deadline(), era),
    };
    let (wire, lost) = Wire::new(Flavor::Modern, endpoint.clone(), Arc::clone(&inbox), options.clone());
    let (shown, refused) = match (wire.discover(until).await, era) {
        (Ok(Discovery::Modern(hello)), _) => return Ok(wire.connected(*hello, lost)),
        (
            Ok(Discovery::Again(cause) | Discovery::Refused(cause) | Discovery::Unknown(cause)),
            EraChoice::Modern,
        )
        | (Ok(Discovery::Again(cause)), _) => return Err(Trouble::Cause(cause)),
        (Ok(Discovery::Refused(cause)), _) => (true, Some(cause)),
        (Ok(Discovery::Unknown(cause)), _) => {
            tracing::debug!(plugin = %options.label, %cause, "not modern");
            (true, None)
        }
        (Err(trouble), EraChoice::Modern) => return Err(trouble),
        (Err(trouble), _) => match Shows::by(&trouble) {
            Shows::Era => (true, None),
            Shows::Trouble => (false, None),
            Shows::Nothing => return Err(trouble),
        },
    };
    // Closes it: nothing of it is left beside the next one.
    drop(wire);
    match open(Flavor::Http, endpoint, inbox, options).await {
        Ok(connected) => Ok(Connected { shown, ..connected }),
        Err(second) => Err(match refused {
            Some(first) => neither(&first, second),
            None => second,
        }),
    }
}

/// What a failure of the question says.
#[derive(Debug, PartialEq, Eq)]
enum Shows {
    /// The server does not know the question.
    Era,
    /// Nothing that lasts: the server, or someone before it, could not answer. It may know `initialize`.
    Trouble,
    /// Who is not let in, or does not arrive, need not ask anything else.
    Nothing,
}

impl Shows {
    fn by(trouble: &Trouble) -> Self {
        match trouble {
            Trouble::Status(refused) | Trouble::Session(refused) => match refused.status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Nothing,
                _ if refused.is_passing() => Self::Trouble,
                _ => Self::Era,
            },
            Trouble::Call(error) => match (error.kind, error.delivery) {
                (CallErrorKind::Connection, Delivery::NotDelivered) => Self::Nothing,
                (CallErrorKind::Connection | CallErrorKind::Timeout, _) => Self::Trouble,
                (_, _) => Self::Era,
            },
            Trouble::Cause(cause) if cause.kind == CauseKind::StartTimeout => Self::Trouble,
            Trouble::Cause(_) => Self::Era,
        }
    }
}

/// A server that refuses either way is told of in both words.
fn neither(modern: &Cause, legacy: Trouble) -> Trouble {
    let legacy = legacy.cause();
    if legacy.kind != CauseKind::HandshakeRefused {
        return Trouble::Cause(legacy);
    }
    let detail = format!("{}; and as modern: {}", legacy.detail, modern.detail);
    Trouble::Cause(Cause::new(legacy.kind, detail))
}

impl Wire {
    /// Asks the server which revisions it speaks; twice, if it says that it speaks ours.
    async fn discover(&self, until: Instant) -> Result<Discovery, Trouble> {
        self.core.session.send_replace(Arc::new(Session::stateless(&self.core, modern::REVISION)));
        let ask = async || {
            let (question, scope) = (modern::discover(), HostScope::until(until));
            let asking = self.sessionless(&question, &scope);
            let reply = timeout_at(until, asking).await;
            let reply = reply.unwrap_or_else(|_| Err(handshake::too_late(modern::DISCOVER).into()))?;
            Ok::<_, Trouble>(modern::discovered(DIALECT, reply))
        };
        match ask().await? {
            Discovery::Again(_) => ask().await,
            known @ (Discovery::Modern(_) | Discovery::Refused(_) | Discovery::Unknown(_)) => Ok(known),
        }
    }

    /// Sends a request. One that the server refuses for its headers is sent once more, with those that its newest list of
    /// tools asks for.
    pub(super) async fn stateless(
        &self,
        request: Request,
        scope: Arc<dyn Scope>,
    ) -> Result<Reply, CallError> {
        let first = self.sessionless(&request, &scope).await;
        let first = first.map_err(Trouble::call_error)?;
        let reply = match first {
            Reply::Error(error)
                if error.code == modern::HEADER_MISMATCH && request.method == "tools/call" =>
            {
                // In a place of its own: it is rare and large.
                if !Box::pin(self.relisted(&*scope)).await {
                    return Ok(Reply::Error(error));
                }
                Box::pin(self.sessionless(&request, &scope)).await.map_err(Trouble::call_error)?
            }
            answer @ (Reply::Result(_) | Reply::Error(_)) => answer,
        };
        Ok(if request.method == TOOLS_LIST { self.learned(reply) } else { reply })
    }

    async fn sessionless(&self, request: &Request, scope: &Arc<dyn Scope>) -> Result<Reply, Trouble> {
        let session = Arc::clone(&self.core.session.borrow());
        self.exchange(&session, request, scope, None).await
    }

    /// Learns from a page of tools, and takes out those that cannot be called over HTTP.
    fn learned(&self, reply: Reply) -> Reply {
        let options = &self.core.options;
        match reply {
            Reply::Result(page) => {
                Reply::Result(self.core.mirrored.learn(page, |why| options.note("wharf", why)))
            }
            error @ Reply::Error(_) => error,
        }
    }

    /// Reads the tools again, within the time of the call that needs them. The host reads them again too.
    async fn relisted(&self, call: &dyn Scope) -> bool {
        self.incoming.lists_changed();
        let until = Instant::from_std(call.deadline()).min(Instant::now() + RELIST);
        let listing = async {
            let mut request = Request::bare(TOOLS_LIST);
            let scope = HostScope::until(until);
            for _ in 0..MAX_PAGES {
                let Ok(Reply::Result(page)) = self.sessionless(&request, &scope).await else {
                    return false;
                };
                let Reply::Result(page) = self.learned(Reply::Result(page)) else { return false };
                let next = splice::field(&page, "nextCursor").filter(|cursor| cursor.get() != "null");
                let Some(cursor) = next else { return true };
                let Ok(params) = Request::new(TOOLS_LIST, &serde_json::json!({ "cursor": cursor })) else {
                    return false;
                };
                request = params;
            }
            false
        };
        timeout_at(until, listing).await.unwrap_or(false)
    }
}
