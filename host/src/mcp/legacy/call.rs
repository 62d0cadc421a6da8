//! A request of a legacy session at its plugin: what the plugin says on the way, what it asks, and its answer in the
//! words of the client's era.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::value::RawValue;
use wharf_core::catalog::{Collision, Kind, Shelf};
use wharf_core::{PluginId, splice};
use wharf_plugin_api::{Era, Notification, Reply, RpcError, jsonrpc};

use super::Asking;
use super::rounds::{self, Rounds, Same};
use crate::late;
use crate::mcp::failure;
use crate::mcp::forward::{self, Forwarded};
use crate::mcp::session::{Session, relay};
use crate::mcp::{Visitor, links, translate};
use crate::route::{Asked, CallEvent, Edge, Failure, Settled, asks};

/// What a result holds that promises another; nearly none does.
static TASK: LazyLock<splice::Key> = LazyLock::new(|| splice::Key::new("task"));

/// Asks the plugin, as often as it wants input first.
///
/// # Errors
/// The answer, if there is none of the plugin.
pub(super) async fn run(asking: &mut Asking) -> Result<Reply, RpcError> {
    let (session, params) = (&asking.session, asking.params.take());
    let Visitor { face, principal } = &session.visitor;
    let way = forward::way(&session.host, face, principal, &asking.method, params).await?;
    let forwarded = way.taken(session.caller(), &asking.method)?;
    settle(asking, forwarded).await
}

/// Likewise, of a request that has its way already.
pub(super) fn settle(asking: &Asking, forwarded: Forwarded) -> impl Future<Output = Result<Reply, RpcError>> {
    // Before the work: what is handed to it is in memory twice.
    let mut rounds = Rounds::default();
    let mut going = Going::begin(&asking.session, forwarded);
    async move {
        loop {
            let wanted = {
                let settled = poll_fn(|cx| going.poll(cx, asking)).await;
                let answered = settled.map_err(|failure| failure::error(&failure))?;
                match rounds::wanted(&answered)? {
                    Some(wanted) => wanted,
                    None => return answer(asking, &going.same.plugin, answered),
                }
            };
            // Whatever is still open of the call that has ended ends with it.
            (going.events, going.open) = (None, None);
            // Apart, as all that is larger than a call.
            let next = Box::pin(rounds.next(asking, &going.same, &going.token, wanted)).await?;
            going = Going::begin(&asking.session, next);
        }
    }
}

/// One call of the plugin, and what is said and asked on its way.
struct Going {
    same: Same,
    call: Pin<Box<dyn Future<Output = Result<Settled, Failure>> + Send>>,
    events: Option<late::Receiver<CallEvent>>,
    /// The client's progress token.
    token: Option<Box<RawValue>>,
    asked: Asked,
    /// The questions that are open. Made when the plugin asks; nearly none does.
    open: Option<FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

impl Going {
    fn begin(session: &Session, forwarded: Forwarded) -> Self {
        let Forwarded { mut spec, events, token, tool } = forwarded;
        let same = Same::of(&spec, tool);
        let (asks, asked) = asks();
        (spec.asks, spec.edge) = (Some(asks), Edge::Legacy);
        Self { same, call: session.host.call(spec), events, token, asked, open: None }
    }

    /// All that the plugin says before its answer is said to the client before the answer.
    fn poll(&mut self, cx: &mut Context<'_>, asking: &Asking) -> Poll<Result<Settled, Failure>> {
        // First: where it is over, nothing need be waited for.
        if let Poll::Ready(outcome) = self.call.as_mut().poll(cx) {
            while let Some(Ok(event)) = self.events.as_mut().map(late::Receiver::try_recv) {
                self.said(event, asking);
            }
            return Poll::Ready(outcome);
        }
        while let Some(Poll::Ready(Some(event))) = self.events.as_mut().map(|events| events.poll_recv(cx)) {
            self.said(event, asking);
        }
        while let Poll::Ready(ask) = self.asked.poll_next(cx) {
            let relayed = relay(Arc::clone(&asking.session.asks), asking.out.clone(), ask);
            self.open.get_or_insert_default().push(Box::pin(relayed));
        }
        while let Some(Poll::Ready(Some(()))) = self.open.as_mut().map(|open| open.poll_next_unpin(cx)) {}
        Poll::Pending
    }

    /// What the plugin says during the call: progress to who gave a token, log messages by level, the rest as it is.
    fn said(&self, event: CallEvent, Asking { session, out, .. }: &Asking) {
        let notification = match event {
            CallEvent::Notification(notification) => notification,
            CallEvent::Accepted(_) => return,
        };
        let Notification { method, params } = &notification;
        let message = match &**method {
            "notifications/progress" => {
                let told = self.token.as_deref().zip(params.as_deref());
                let told = told.and_then(|(token, params)| translate::with_token(params, token));
                let Some(told) = told else { return };
                jsonrpc::notification(method, Some(&told))
            }
            "notifications/message" => {
                if !session.level().lets(params.as_deref()) {
                    return;
                }
                jsonrpc::notification(method, params.as_deref())
            }
            _ => return session.tell(&self.same.plugin, &notification, true),
        };
        if !out.push(message) {
            let plugin = &self.same.plugin;
            tracing::debug!(%plugin, "a notification of a call was dropped: its client is slow or gone");
        }
    }
}

/// The plugin's answer, as the client knows such answers.
fn answer(asking: &Asking, plugin: &PluginId, settled: Settled) -> Result<Reply, RpcError> {
    let Asking { session, method, .. } = asking;
    let result = match settled.reply {
        Reply::Result(result) => result,
        error @ Reply::Error(_) => return Ok(error),
    };
    let result = match settled.era {
        Era::Legacy => result,
        Era::Modern => translate::to_legacy(complete(result)?),
    };
    note_task(session, plugin, &result);
    Ok(Reply::Result(session.look(|shelf| {
        links::learn(&session.host, &session.visitor.principal, (plugin, shelf), (method, &result));
        if !keeps_apart(shelf, plugin) {
            return result;
        }
        let seen =
            |uri: &str| Some(shelf.uri_as_seen(plugin, uri)).filter(|seen| seen != uri).map(Cow::into_owned);
        translate::with_uris(result, method, &seen)
    })))
}

/// A result that is the answer, and not a promise that a legacy client cannot follow.
fn complete(result: Box<RawValue>) -> Result<Box<RawValue>, RpcError> {
    let kind = splice::field(&result, "resultType").map(RawValue::get);
    if kind.is_none_or(|kind| kind == "\"complete\"") {
        return Ok(result);
    }
    let text = format!(
        "the plugin answered with a result of type {}, which this client cannot take",
        kind.unwrap_or_default()
    );
    Err(RpcError::new(RpcError::INTERNAL, text))
}

/// A task that was begun is this principal's.
fn note_task(session: &Session, plugin: &PluginId, result: &RawValue) {
    let task = TASK.of(result).and_then(|task| splice::field(task, "taskId"));
    if let Some(task) = task.and_then(|task| serde_json::from_str::<String>(task.get()).ok()) {
        session.tasks.note(&session.visitor.principal, plugin, &task);
    }
}

/// Whether the face shows any URI of this plugin under another name; if not, no result needs to be looked into.
fn keeps_apart(shelf: &Shelf, plugin: &PluginId) -> bool {
    let uris = |collision: &&Collision| matches!(collision.kind, Kind::Resource | Kind::Template);
    shelf.collisions.iter().filter(uris).any(|collision| collision.plugins.contains(plugin))
}
