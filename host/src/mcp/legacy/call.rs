//! A request of a legacy session at its plugin: what the plugin says on the way, what it asks, and its answer in the
//! words of the client's era.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::value::RawValue;
use wharf_core::catalog::{Collision, Kind, Shelf};
use wharf_core::{PluginId, splice};
use wharf_plugin_api::{Era, Notification, Reply, RpcError, jsonrpc};

use super::rounds::{self, Rounds};
use crate::late;
use crate::mcp::failure;
use crate::mcp::forward::{Forwarded, forward};
use crate::mcp::params::Params;
use crate::mcp::session::{Outlet, Session, relay};
use crate::mcp::{links, translate};
use crate::route::{CallEvent, CallSpec, Edge, Failure, Settled, asks};

/// What a result holds that promises another; nearly none does.
static TASK: LazyLock<splice::Key> = LazyLock::new(|| splice::Key::new("task"));

/// Asks the plugin, as often as it wants input first.
///
/// # Errors
/// The answer, if there is none of the plugin.
pub(super) async fn run(
    session: &Arc<Session>,
    method: &str,
    params: Option<Params>,
    out: Outlet,
) -> Result<Reply, RpcError> {
    let forwarded = forward(&session.host, &session.visitor.face, session.caller(), method, params).await?;
    settle(session, method, forwarded, out).await
}

/// Likewise, of a request that has its way already.
pub(super) async fn settle(
    session: &Arc<Session>,
    method: &str,
    forwarded: Forwarded,
    out: Outlet,
) -> Result<Reply, RpcError> {
    let plugin = forwarded.spec.plugin.clone();
    let mut rounds = Rounds::new(&forwarded);
    let mut settled = at_the_plugin(session, forwarded, &out).await;
    loop {
        let answered = settled.map_err(|failure| failure::error(&failure))?;
        let Some(wanted) = rounds::wanted(&answered)? else {
            return answer(session, method, &plugin, answered);
        };
        let again = rounds.next(session, method, wanted, &out).await?;
        settled = at_the_plugin(session, again, &out).await;
    }
}

/// One call of the plugin. All that it says before its answer is said to the client before the answer.
async fn at_the_plugin(
    session: &Arc<Session>,
    forwarded: Forwarded,
    out: &Outlet,
) -> Result<Settled, Failure> {
    let Forwarded { spec, mut events, token, tool: _ } = forwarded;
    let plugin = spec.plugin.clone();
    let (asks, mut asked) = asks();
    let mut call = session.host.call(CallSpec { asks: Some(asks), edge: Edge::Legacy, ..spec });
    // Made when the plugin asks; nearly none does.
    let mut open = None;
    let say = |event| said(session, &plugin, token.as_deref(), event, out);
    let outcome = loop {
        tokio::select! {
            biased;
            Some(event) = next(&mut events) => say(event),
            ask = asked.next() => {
                let relayed = relay(Arc::clone(&session.asks), out.clone(), ask);
                open.get_or_insert_with(FuturesUnordered::new).push(relayed);
            }
            () = relayed(&mut open) => {}
            outcome = &mut call => break outcome,
        }
    };
    while let Some(Ok(event)) = events.as_mut().map(late::Receiver::try_recv) {
        say(event);
    }
    outcome
}

/// Resolves when one of the questions that are open is answered.
async fn relayed<F: Future<Output = ()>>(open: &mut Option<FuturesUnordered<F>>) {
    match open {
        Some(open) if !open.is_empty() => open.next().await.unwrap_or_default(),
        Some(_) | None => std::future::pending().await,
    }
}

async fn next(events: &mut Option<late::Receiver<CallEvent>>) -> Option<CallEvent> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

/// What the plugin says during the call: progress to who gave a token, log messages by level, the rest as it is.
fn said(session: &Session, plugin: &PluginId, token: Option<&RawValue>, event: CallEvent, out: &Outlet) {
    let notification = match event {
        CallEvent::Notification(notification) => notification,
        CallEvent::Accepted(_) => return,
    };
    let Notification { method, params } = &notification;
    let message = match &**method {
        "notifications/progress" => {
            let told = token.zip(params.as_deref());
            let Some(told) = told.and_then(|(token, params)| translate::with_token(params, token)) else {
                return;
            };
            jsonrpc::notification(method, Some(&told))
        }
        "notifications/message" => {
            if !session.level().lets(params.as_deref()) {
                return;
            }
            jsonrpc::notification(method, params.as_deref())
        }
        _ => return session.tell(plugin, &notification, true),
    };
    if !out.push(message) {
        tracing::debug!(%plugin, "a notification of a call was dropped: its client is slow or gone");
    }
}

/// The plugin's answer, as the client knows such answers.
fn answer(session: &Session, method: &str, plugin: &PluginId, settled: Settled) -> Result<Reply, RpcError> {
    let result = match settled.reply {
        Reply::Result(result) => result,
        error @ Reply::Error(_) => return Ok(error),
    };
    let result = match settled.era {
        Era::Legacy => result,
        Era::Modern => translate::to_legacy(complete(result)?),
    };
    note_task(session, plugin, &result);
    let shelf = session.shelf();
    links::learn(&session.host, &session.visitor.principal, (plugin, &shelf), (method, &result));
    if !keeps_apart(&shelf, plugin) {
        return Ok(Reply::Result(result));
    }
    let seen =
        |uri: &str| Some(shelf.uri_as_seen(plugin, uri)).filter(|seen| seen != uri).map(Cow::into_owned);
    Ok(Reply::Result(translate::with_uris(result, method, &seen)))
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
