//! Calls of tools, with all that a caller can say of one; the plain way to them is [`super::values`].
//!
//! Arguments and results stay the bytes they are. A client that goes away drops the call's future, and with it the call.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::HeaderMap;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use wharf_core::catalog::Tool;
use wharf_core::digits::Digits;
use wharf_core::{CallId, Code, Outcome, PluginId};
use wharf_plugin_api::{Caller, Delivery, Reply, RpcError};

use super::input::Own;
use super::params::Names;
use super::room::Room;
use super::tries::{Tries, marked};
use super::{Edge, input, progress};
use crate::apart::apart;
use crate::held::{Events, Taker};
use crate::late;
use crate::mcp::modern::{Brought, open_to_questions};
use crate::mcp::park::{Live, Origin, Passed};
use crate::route::{CallEvent, CallSpec, Edge as EdgeKind, Failure, Settled};
use crate::serve::answer::{Answering, Outgoing, known};
use crate::serve::auth::Principal;
use crate::serve::body::{self, JsonBody};
use crate::serve::heads::Heads;
use crate::serve::problem::Problem;
use crate::serve::sse;
use crate::serve::taking::taker_of;
use crate::serve::trace::Traced;
use crate::tasks::on_bytes;

/// The method that both routes come to.
pub(super) const CALL: &str = "tools/call";

/// The body of a call.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) arguments: Option<&'a RawValue>,
    timeout_ms: Option<u64>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) meta: Option<&'a RawValue>,
    /// The answers to what an earlier call of the same asked.
    #[serde(borrow, default, rename = "inputResponses", deserialize_with = "present")]
    pub(super) answers: Option<&'a RawValue>,
    /// What that call gave to be shown again.
    #[serde(default, rename = "requestState")]
    pub(super) state: Option<String>,
}

/// Keeps `null` apart from absent.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// `POST /api/v1/plugins/{id}/tools/{tool}/call`
pub(super) async fn call(
    State(edge): State<Edge>,
    Extension(principal): Extension<Principal>,
    Names((plugin, tool)): Names<(String, String)>,
    taker: Option<Extension<Arc<Taker>>>,
    (tries, _): (Tries, Room),
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Outgoing, Problem> {
    let taker = taker_of(taker, edge.host.held());
    let names = (&*plugin, &*tool);
    begin(&edge, principal, names, (&Heads::of(&headers), tries, body), &taker).await?.answer(&edge).await
}

/// A call that is under way. Of the request, it holds what it would be known by if it had to be parked.
pub(in crate::serve) enum Begun {
    /// Its answer is a stream that has begun.
    Streams(Response),
    Waits {
        tool: Arc<Tool>,
        live: Box<Live>,
        principal: Principal,
        arguments: Option<Arc<RawValue>>,
    },
}

/// Begins a call, whoever has found the names in the path.
pub(in crate::serve) async fn found<B>(
    edge: &Edge,
    principal: Principal,
    names: (&str, &str),
    (heads, body): (&Heads<'_>, B),
    taker: &Arc<Taker>,
) -> Result<Begun, Problem>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<axum::BoxError>,
{
    let tries = Tries::of(heads)?;
    edge.host.has_room()?;
    let body = pin!(body::json(heads, body)).await?;
    pin!(begin(edge, principal, names, (heads, tries, body), taker)).await
}

async fn begin(
    edge: &Edge,
    principal: Principal,
    (plugin, tool): (&str, &str),
    (heads, tries, body): (&Heads<'_>, Tries, Option<Bytes>),
    taker: &Arc<Taker>,
) -> Result<Begun, Problem> {
    let mut wanted = {
        let body = body.as_deref().unwrap_or(b"{}");
        on_bytes(body.len(), || parse(body))?
    };
    let away = |failure| edge.host.turned_away(plugin, CALL, failure);
    let tool = match wanted.timeout_ms {
        None => pin!(edge.host.tool(plugin, tool)).await.map_err(away)?,
        Some(most) => {
            let begun = Instant::now();
            let tool =
                edge.host.tool_within(plugin, tool, Duration::from_millis(most)).await.map_err(away)?;
            // The caller's time runs while a plugin on its way up is waited for.
            let waited = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            wanted.timeout_ms = Some(most.saturating_sub(waited).max(1));
            tool
        }
    };
    pin!(checked(edge, &tool, wanted.arguments)).await?;
    let own = Own::of(heads, tries, wanted.meta)?;
    let streams = sse::heard(heads);
    let keyed = own.tries.key.is_some();
    let arguments: Option<Arc<RawValue>> = wanted.arguments.map(|raw| raw.to_owned().into());
    let live = match wanted.state.as_deref().filter(|token| edge.mcp.park().knows(token)) {
        Some(token) => resumed(edge, &tool, &principal, &wanted, token).await?,
        None => {
            let said = (arguments.clone(), own, Traced::heard(heads));
            begun(edge, &tool, &principal, &wanted, streams, said)?
        }
    };
    if streams {
        let origin = input::origin(&principal, &tool, wanted.arguments);
        return Ok(Begun::Streams(streamed(edge, tool, live, (origin, keyed), taker)));
    }
    Ok(Begun::Waits { tool, live, principal, arguments })
}

impl Begun {
    /// Waits for the answer.
    pub(in crate::serve) fn answer(self, edge: &Edge) -> Answering<'_> {
        let (tool, live, principal, arguments) = match self {
            Self::Streams(response) => return known(response),
            Self::Waits { tool, live, principal, arguments } => (tool, live, principal, arguments),
        };
        apart(|| async move {
            let origin = || input::origin(&principal, &tool, arguments.as_deref());
            let passed = edge.mcp.park().pass(live, origin, &mut drop).await;
            let replayed = passed.is_replayed();
            let answer = passed_answer(&tool, passed).map(|body| Outgoing::Json(body.into()));
            Ok(marked(answer.unwrap_or_else(Outgoing::from), replayed))
        })
    }
}

/// The answer as a stream of events.
fn streamed(
    edge: &Edge,
    tool: Arc<Tool>,
    live: Box<Live>,
    (origin, keyed): (Origin, bool),
    taker: &Arc<Taker>,
) -> Response {
    let (sender, events) = Events::new(edge.host.held(), progress::QUEUE);
    let (park, taker) = (edge.mcp.park().clone(), Arc::clone(taker));
    let call = async move {
        // The router drops what a slow client has no room for; this is the same queue, one step on.
        let mut hear = |event| {
            sender.try_send(progress::event_frame(event));
        };
        let passed = park.pass(live, || origin.clone(), &mut hear).await;
        let replayed = passed.is_replayed();
        (replayed, passed_answer(&tool, passed).map(|body| taker.hold(body.into())))
    };
    if !keyed {
        let call = async { call.await.1 };
        return sse::respond(progress::stream(&edge.tasks, call, events));
    }
    let mut call = Box::pin(call);
    // An answer that is kept is there at once, and so before the head of the stream.
    match call.as_mut().now_or_never() {
        Some((replayed, outcome)) => {
            let call = std::future::ready(outcome);
            let response = sse::respond(progress::stream(&edge.tasks, call, events));
            marked(response.into(), replayed).into_response()
        }
        None => sse::respond(progress::stream(&edge.tasks, async { call.await.1 }, events)),
    }
}

/// What does not fit the tool's schema is counted, and goes no further.
pub(super) async fn checked(
    edge: &Edge,
    tool: &Arc<Tool>,
    arguments: Option<&RawValue>,
) -> Result<(), Problem> {
    let checked = edge.schemas.check(&edge.tasks, tool, arguments).await.map_err(Problem::from);
    checked.inspect_err(|problem| tool.meter.record(Outcome::Failed(problem.code()), Duration::ZERO))
}

/// The call that a request goes on with.
async fn resumed(
    edge: &Edge,
    tool: &Tool,
    principal: &Principal,
    wanted: &Wanted<'_>,
    token: &str,
) -> Result<Box<Live>, Problem> {
    let origin = input::origin(principal, tool, wanted.arguments);
    let live = edge.mcp.park().resume(token, &origin).await;
    let mut live = live.map_err(|error| Problem::new(Code::BadRequest, error.message))?;
    if let Some(answers) = wanted.answers {
        live.answer(answers);
    }
    Ok(live)
}

/// The call that a request begins.
fn begun(
    edge: &Edge,
    tool: &Tool,
    principal: &Principal,
    wanted: &Wanted<'_>,
    streams: bool,
    (arguments, own, traced): (Option<Arc<RawValue>>, Own, Traced),
) -> Result<Box<Live>, Problem> {
    let meta = own.rest(wanted.meta);
    let payload = input::payload(tool, wanted, (arguments, meta))?;
    let mut spec = spec(tool, input::caller(principal), None);
    spec.payload = payload;
    spec.durable = own.durable;
    spec.timeout = wanted.timeout_ms.map(Duration::from_millis);
    spec.trace = traced.with(meta);
    own.tries.put(&mut spec);
    let events = streams.then(|| {
        let (sender, events) = late::queue::<CallEvent>(progress::QUEUE);
        spec.events = Some(sender);
        events
    });
    let answers = wanted.answers.map(ToOwned::to_owned);
    let brought = Brought { answers, state: wanted.state.clone(), task: false };
    open_to_questions((spec, events), &edge.host, brought)
        .map_err(|error| Problem::new(Code::BadRequest, error.message))
}

/// The body that a call comes to.
fn passed_answer(tool: &Tool, passed: Passed) -> Result<Vec<u8>, Problem> {
    match passed {
        Passed::Ended(outcome) => answer(tool, outcome?),
        // Who answers in the end, and when, is not known yet.
        Passed::Asked(result) => {
            let head = format!(r#"{{"plugin":"{}","result":"#, tool.plugin);
            Ok([head.as_bytes(), result.get().as_bytes(), b"}"].concat())
        }
    }
}

fn parse(body: &[u8]) -> Result<Wanted<'_>, Problem> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::new(Code::BadRequest, "the body must be a JSON object"));
    }
    if let Some(arguments) = alone(body) {
        return Ok(Wanted { arguments: Some(arguments), ..Wanted::default() });
    }
    let wanted: Wanted<'_> = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    must_be_object("\"arguments\"", wanted.arguments)?;
    must_be_object("\"meta\"", wanted.meta)?;
    must_be_object("\"inputResponses\"", wanted.answers)?;
    Ok(wanted)
}

/// The arguments of a body that holds nothing else, as nearly each does. What is not exactly so is read key by key.
fn alone(body: &[u8]) -> Option<&RawValue> {
    let value = body.strip_prefix(br#"{"arguments":"#)?.strip_suffix(b"}")?;
    let arguments: &RawValue = serde_json::from_str(std::str::from_utf8(value).ok()?).ok()?;
    arguments.get().starts_with('{').then_some(arguments)
}

pub(super) fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(Code::BadRequest, format!("the body is not what is expected: {error}"))
}

pub(super) fn must_be_object(what: &str, json: Option<&RawValue>) -> Result<(), Problem> {
    if json.is_none_or(|json| json.get().starts_with('{')) {
        return Ok(());
    }
    Err(Problem::new(Code::BadRequest, format!("{what} must be a JSON object")))
}

pub(super) fn spec(tool: &Tool, caller: Caller, arguments: Option<&RawValue>) -> CallSpec {
    let arguments = arguments.map(|arguments| Arc::from(arguments.to_owned()));
    let plugin = PluginId::clone(&tool.plugin);
    CallSpec { edge: EdgeKind::Rest, ..CallSpec::tool(plugin, tool.name.as_str(), arguments, caller) }
}

/// The body of an answered call. The plugin's result is put in as it came.
pub(super) fn answer(tool: &Tool, settled: Settled) -> Result<Vec<u8>, Problem> {
    let (call_id, instance, duration) = (settled.call_id, settled.instance, settled.duration);
    let duration = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let result = match &settled.reply {
        Reply::Result(result) => result.get(),
        Reply::Error(error) => return Err(refused(about(tool, call_id), error.clone())),
    };
    let mut out = String::with_capacity(result.len() + tool.plugin.as_str().len() + 128);
    // Ids hold nothing that JSON would have to escape.
    out.push_str(r#"{"call_id":""#);
    call_id.push_to(&mut out);
    out.push_str(r#"","plugin":""#);
    out.push_str(tool.plugin.as_str());
    out.push_str(r#"","instance":"#);
    out.push_str(Digits::decimal(u64::from(instance.0)).as_str());
    out.push_str(r#","duration_ms":"#);
    out.push_str(Digits::decimal(duration).as_str());
    out.push_str(r#","result":"#);
    out.push_str(result);
    out.push('}');
    Ok(out.into_bytes())
}

/// What an error after an answer says besides its code.
pub(super) fn about(tool: &Tool, call_id: CallId) -> Failure {
    Failure {
        plugin: Some(tool.plugin.as_str().into()),
        tool: Some(tool.name.as_str().into()),
        call_id: Some(call_id),
        delivery: Some(Delivery::Answered),
        ..Failure::new(Code::ProtocolError, String::new())
    }
}

pub(super) fn refused(about: Failure, error: RpcError) -> Problem {
    let detail = format!("the plugin refused the request: {error}");
    Problem::with_rpc_error(Failure { detail, ..about }, error)
}

#[cfg(test)]
pub(super) mod tests;
