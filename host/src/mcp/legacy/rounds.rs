//! A modern plugin wants input before it answers: its client, a legacy one, is asked by requests, and the plugin is called
//! again with the answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use wharf_core::ask::{Declared, needed};
use wharf_core::catalog::Item;
use wharf_core::idempotency::Key;
use wharf_core::trace_context::TraceContext;
use wharf_core::{PluginId, splice};
use wharf_plugin_api::{Era, Reply, Request, RpcError};

use super::Asking;
use crate::mcp::failure::INVALID_REQUEST;
use crate::mcp::forward::Forwarded;
use crate::mcp::session::{Outlet, Session};
use crate::route::{CallSpec, Settled};

/// Rounds of one request, at most: a plugin that never has enough is a broken one.
const ROUNDS: u32 = 8;
/// How long they may take together; people answer.
const TIME: Duration = Duration::from_secs(600);
/// Questions of one round, at most.
const QUESTIONS: usize = 32;

/// What a plugin wants before it answers.
pub(super) struct Wanted {
    requests: BTreeMap<String, InputRequest>,
    /// To be given back as it came; absent if it was.
    state: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct InputRequest {
    method: String,
    params: Option<Box<RawValue>>,
}

/// What the same call is made of once more. All but the params is small, and they are those of the call.
pub(super) struct Same {
    pub(super) plugin: PluginId,
    tool: Option<Named>,
    params: Option<Arc<RawValue>>,
    trace: Option<Box<TraceContext>>,
    key: Option<Key>,
    durable: bool,
}

/// A tool.
enum Named {
    /// As the face lists it.
    Listed(Arc<Item>),
    /// One that is not listed, by its name.
    Own(String),
}

/// The rounds of one request.
#[derive(Default)]
pub(super) struct Rounds {
    made: u32,
    until: Option<Instant>,
}

/// What a modern plugin wants, if its answer says so.
///
/// # Errors
/// If what it wants cannot be read.
pub(super) fn wanted(settled: &Settled) -> Result<Option<Wanted>, RpcError> {
    let result = match (&settled.reply, settled.era) {
        (Reply::Result(result), Era::Modern) => result,
        (Reply::Result(_) | Reply::Error(_), Era::Legacy | Era::Modern) => return Ok(None),
    };
    if splice::field(result, "resultType").is_none_or(|kind| kind.get() != "\"input_required\"") {
        return Ok(None);
    }
    let broken =
        |what: String| RpcError::new(RpcError::INTERNAL, format!("the plugin wants input, but {what}"));
    let requests = match splice::field(result, "inputRequests") {
        None => BTreeMap::new(),
        Some(given) => serde_json::from_str(given.get())
            .map_err(|error| broken(format!("its inputRequests cannot be read: {error}")))?,
    };
    if requests.len() > QUESTIONS {
        return Err(broken(format!("asks {} questions at once, more than {QUESTIONS}", requests.len())));
    }
    let state = splice::field(result, "requestState").map(ToOwned::to_owned);
    if requests.is_empty() && state.is_none() {
        return Err(broken("does not say which: neither inputRequests nor requestState".to_owned()));
    }
    Ok(Some(Wanted { requests, state }))
}

impl Same {
    pub(super) fn of(spec: &CallSpec, listed: Option<Arc<Item>>) -> Self {
        Self {
            plugin: spec.plugin.clone(),
            tool: listed.map(Named::Listed).or_else(|| spec.tool.clone().map(Named::Own)),
            params: spec.payload.params().cloned(),
            trace: spec.trace.clone(),
            key: spec.key.clone(),
            durable: spec.durable,
        }
    }
}

impl Rounds {
    /// Asks the client, and makes the same call again with its answers.
    ///
    /// # Errors
    /// If the client cannot be asked, refuses, or the rounds or their time are used up.
    pub(super) async fn next(
        &mut self,
        asking: &Asking,
        same: &Same,
        token: &Option<Box<RawValue>>,
        wanted: Wanted,
    ) -> Result<Forwarded, RpcError> {
        let Asking { session, method, out, .. } = asking;
        let over = |text: String| RpcError::new(RpcError::INTERNAL, text);
        self.made += 1;
        if self.made > ROUNDS {
            return Err(over(format!("the plugin still wants input after {ROUNDS} rounds")));
        }
        let until = *self.until.get_or_insert_with(|| Instant::now() + TIME);
        let answers = tokio::time::timeout_at(until, ask(session, wanted.requests, out)).await;
        let answers =
            answers.map_err(|_| over(format!("the client did not answer within {} s", TIME.as_secs())))??;
        let params = with_answers(same.params.as_deref(), answers.as_deref(), wanted.state.as_deref());
        let params =
            params.ok_or_else(|| over("params that are no object cannot carry the answers".to_owned()))?;
        let spec = CallSpec {
            tool: same.tool.as_ref().map(|tool| match tool {
                Named::Listed(item) => item.own.clone(),
                Named::Own(own) => own.clone(),
            }),
            // A round that asked has left it free.
            key: same.key.clone(),
            timeout: Some(until.saturating_duration_since(Instant::now())),
            trace: same.trace.clone(),
            durable: same.durable,
            ..CallSpec::new(same.plugin.clone(), method.clone(), Some(params), session.caller())
        };
        Ok(Forwarded::listening(spec, token.clone()))
    }
}

/// The client's answers, as the `inputResponses` of the next call; `None`: nothing was asked.
async fn ask(
    session: &Arc<Session>,
    requests: BTreeMap<String, InputRequest>,
    out: &Outlet,
) -> Result<Option<Box<RawValue>>, RpcError> {
    if requests.is_empty() {
        return Ok(None);
    }
    let caller = session.caller();
    let declared = Declared::of(&caller.client.capabilities);
    // Nothing is asked unless all can be: half of the answers are none.
    for InputRequest { method, params } in requests.values() {
        let lacks = match needed(method, params.as_deref()) {
            Some(capability) if declared.has(capability) => continue,
            Some(capability) => {
                format!("the capability {}, which this client did not declare", capability.as_str())
            }
            None => format!("an answer to {method}, which no client can be asked"),
        };
        return Err(RpcError::new(INVALID_REQUEST, format!("the plugin needs {lacks}")));
    }
    let mut open = Vec::new();
    for (key, InputRequest { method, params }) in requests {
        let request = Request { method: method.into(), params: params.map(Into::into) };
        open.push((key, session.asks.ask(&request, out)?));
    }
    let mut members = Vec::new();
    for (key, mut asked) in open {
        let answer = match asked.answer().await {
            Reply::Result(answer) => answer,
            Reply::Error(error) => {
                let message = format!("the client did not answer what the plugin asked: {}", error.message);
                // In our words: it is the client's own error that comes back to it.
                return Err(RpcError { message, whole: None, ..error });
            }
        };
        let key = serde_json::to_string(&key).unwrap_or_default();
        members.push(format!("{key}:{}", answer.get()));
    }
    Ok(RawValue::from_string(format!("{{{}}}", members.join(","))).ok())
}

/// The params of the first call with answers and state; a state that was not given this time is not sent.
fn with_answers(
    params: Option<&RawValue>,
    answers: Option<&RawValue>,
    state: Option<&RawValue>,
) -> Option<Arc<RawValue>> {
    let mut out = match params {
        Some(params) => splice::without_fields(params, &["inputResponses", "requestState"])?,
        None => RawValue::from_string("{}".to_owned()).ok()?,
    };
    for (key, value) in [("inputResponses", answers), ("requestState", state)] {
        if let Some(value) = value {
            out = splice::with_field(&out, key, value)?;
        }
    }
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use wharf_plugin_api::RawValue;

    use super::with_answers;

    #[test]
    fn the_call_is_the_same_but_for_the_answers() {
        let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
        let first = raw(r#"{ "name":"t" ,"arguments":{"n":1.0}}"#);
        let state = raw(r#""s\u0061\/=""#);
        let with = |answers: Option<&RawValue>, state: Option<&RawValue>| {
            with_answers(Some(&first), answers, state).unwrap().get().to_owned()
        };
        assert_eq!(with(None, None), first.get());
        assert_eq!(
            with(Some(&raw(r#"{"k":{"action":"accept"}}"#)), Some(&state)),
            r#"{ "name":"t" ,"arguments":{"n":1.0},"inputResponses":{"k":{"action":"accept"}},"requestState":"s\u0061\/="}"#
        );
        let second = raw(r#"{"name":"t","inputResponses":{},"requestState":"old"}"#);
        assert_eq!(with_answers(Some(&second), None, None).unwrap().get(), r#"{"name":"t"}"#);
    }
}
