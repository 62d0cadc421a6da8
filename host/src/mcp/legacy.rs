//! The methods of a legacy session. What a plugin must answer goes on in [`call`]; all else is answered here.

mod call;
mod rounds;
mod tasks;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;

use serde_json::value::RawValue;
use wharf_core::splice;
use wharf_plugin_api::{Era, Id, Notification, Reply, RpcError};

use super::exchange::{AnswerKind, Answered, Exchange};
use super::failure::{INVALID_REQUEST, NO_RESOURCE};
use super::forward::{self, bad};
use super::level::Level;
use super::lists;
use super::session::{Outlet, Session, Unanswered};
use super::{Params, Visitor, translate};
use crate::apart::apart;
use crate::held::Events;

/// Messages of one request that wait for its transport; what does not fit is dropped, and a question refused.
const EVENTS: usize = 256;

/// A request under way.
struct Asking {
    session: Arc<Session>,
    id: Id,
    method: Cow<'static, str>,
    /// Whoever needs them takes them.
    params: Option<Params>,
    /// What its client is told before the answer.
    out: Outlet,
}

/// Takes up a request. The work is done as the answer is polled.
pub(super) fn request(
    session: &Arc<Session>,
    id: Id,
    method: Cow<'static, str>,
    params: Option<Params>,
) -> Exchange {
    if method != "ping" {
        session.initialized();
    }
    let open = session.opened();
    let ticket = match session.inflight.begin(&id) {
        Ok(ticket) => ticket,
        Err(refused) => return Exchange::refused(&id, refused),
    };
    let (out, events) = Events::new(session.host.held(), EVENTS);
    let out = Outlet::Call(out);
    let mut asking = Asking { session: Arc::clone(session), id, method, params, out };
    // Where it is captured it stays: what is handed to an async function by value is kept twice.
    let answer = apart(|| async move {
        let _open = &open;
        let told = {
            let work = pin!(asking.answer());
            ticket.unless_told(work).await
        };
        let reply = match told {
            Ok(reply) => reply.unwrap_or_else(Reply::Error),
            Err(Unanswered::Cancelled) => return Answered { message: None, kind: AnswerKind::Handled },
            Err(Unanswered::Ended) => Reply::Error(RpcError::new(INVALID_REQUEST, "the session has ended")),
        };
        Answered::new(&asking.id, &reply)
    });
    Exchange { events, answer }
}

/// Takes note of a notification. There is nobody to tell that it means nothing.
pub(super) fn notification(session: &Session, method: &str, params: Option<Arc<RawValue>>) {
    match method {
        "notifications/initialized" => session.initialized(),
        "notifications/cancelled" => {
            let id = params.as_deref().and_then(|params| splice::field(params, "requestId"));
            match id.and_then(Id::from_raw) {
                Some(id) => session.inflight.cancel(&id),
                None => tracing::debug!("a cancellation without the id of a request was dropped"),
            }
        }
        "notifications/roots/list_changed" => {
            // An instance that many share would take it for every client's.
            let notification = Notification { method: method.to_owned().into(), params };
            session.host.notify_own(session.id(), &notification);
        }
        method => tracing::debug!(method, "a notification of a client was dropped"),
    }
}

impl Asking {
    async fn answer(&mut self) -> Result<Reply, RpcError> {
        // The way of nearly every request. All others are apart: each of them is larger than a call.
        if self.method == forward::CALL {
            return call::run(self).await;
        }
        Box::pin(self.others()).await
    }

    async fn others(&mut self) -> Result<Reply, RpcError> {
        let (session, params) = (&*self.session, self.params.as_deref());
        if let Some(kind) = lists::kind(&self.method) {
            let list = lists::list(&session.host, &session.visitor.face, Era::Legacy, kind, params).await?;
            return Ok(Reply::Result(list));
        }
        match &*self.method {
            "ping" => Ok(nothing()),
            "initialize" => Err(RpcError::new(INVALID_REQUEST, "this session is initialized already")),
            "logging/setLevel" => set_level(session, params).await,
            "resources/subscribe" => subscribe(session, params).await.map_err(in_legacy_words),
            "resources/unsubscribe" => unsubscribe(session, params).await.map_err(in_legacy_words),
            "resources/read" => call::run(self).await.map_err(in_legacy_words),
            // Methods of the modern era, which mean nothing within a session.
            "server/discover" | "subscriptions/listen" => Err(no_method(&self.method)),
            method if method.starts_with("tasks/") => tasks::run(self).await,
            _ => call::run(self).await,
        }
    }
}

/// The empty result: no key at all.
fn nothing() -> Reply {
    RawValue::from_string("{}".to_owned()).map_or_else(
        |error| Reply::Error(RpcError::new(RpcError::INTERNAL, error.to_string())),
        Reply::Result,
    )
}

fn no_method(method: &str) -> RpcError {
    RpcError::new(RpcError::METHOD_NOT_FOUND, format!("Method not found: {method}"))
}

async fn set_level(session: &Session, params: Option<&RawValue>) -> Result<Reply, RpcError> {
    let name = forward::text(params, "level")?;
    let level = Level::named(&name).ok_or_else(|| {
        bad(format!(
            "params.level {name:?} is none of debug, info, notice, warning, error, critical, alert, emergency"
        ))
    })?;
    session.set_level(level).await;
    Ok(nothing())
}

async fn subscribe(session: &Session, params: Option<&RawValue>) -> Result<Reply, RpcError> {
    let uri = forward::text(params, "uri")?;
    let host = &session.host;
    let Visitor { principal, face } = &session.visitor;
    let (plugin, upstream) = forward::owner(host, face, principal, &uri).await?;
    let told = host.hello(&plugin).is_some_and(|hello| {
        let resources = hello.capabilities.as_deref().and_then(|all| splice::field(all, "resources"));
        let subscribe = resources.and_then(|resources| splice::field(resources, "subscribe"));
        subscribe.is_some_and(|subscribe| subscribe.get() == "true")
    });
    if !told {
        let text = format!("plugin {plugin} does not tell of changes of its resources");
        return Err(RpcError::new(RpcError::METHOD_NOT_FOUND, text));
    }
    session.wants.subscribe(host, uri, plugin, upstream).await?;
    Ok(nothing())
}

async fn unsubscribe(session: &Session, params: Option<&RawValue>) -> Result<Reply, RpcError> {
    let uri = forward::text(params, "uri")?;
    if !session.wants.unsubscribe(&uri) {
        // There is nothing to take back; that the resource exists is all that can be asked for.
        let Visitor { principal, face } = &session.visitor;
        forward::owner(&session.host, face, principal, &uri).await?;
    }
    Ok(nothing())
}

/// Our own word that nobody has a resource, with the code of the legacy revisions.
fn in_legacy_words(error: RpcError) -> RpcError {
    let about_a_uri = error.data.as_deref().is_some_and(|data| splice::field(data, "uri").is_some());
    let ours = error.code == RpcError::INVALID_PARAMS && about_a_uri;
    if ours { translate::with_code(error, NO_RESOURCE) } else { error }
}
