//! The server side of the modern era: each request stands for itself, and says who asks.
//!
//! What comes here was let through by the ladder. Nothing is kept of a client between two requests but what waits for its
//! answers (`park`) and what it listens to (`listen`), each of which ends by itself.

mod answer;
mod hearing;
#[cfg(test)]
pub(crate) mod testkit;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::value::{RawValue, to_raw_value};
use wharf_core::catalog::{Face, Kind};
use wharf_core::{PluginId, splice};
use wharf_plugin_api::{Caller, Era, Reply, RpcError};

use self::answer::Answer;
pub(crate) use self::answer::MISSING_CAPABILITY;
use self::hearing::Hearing;
use super::exchange::Exchange;
use super::forward::{self, bad};
use super::ladder::{Envelope, MODERN};
use super::level::{Level, UNTIL_LOUDER};
use super::listen::{self, Listens};
use super::params::{Member, Params};
use super::park::{Live, Origin, Park, Passed, bad_state};
use super::{Mcp, ModernRequest, Visitor, capabilities, links, lists, param_headers, translate};
use crate::Host;
use crate::apart::apart;
use crate::held::Events;
use crate::late;
use crate::plugin::watch::{Want, Wanted};
use crate::route::{CallEvent, CallSpec, Edge, asks};
use crate::tasks::Tasks;

/// Notifications of one request that wait for their transport. What does not fit is dropped, as everywhere on the way of a
/// call: neither the plugin nor the answer waits for a client that does not read.
const EVENTS: usize = 256;

/// What the modern side keeps. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Modern {
    pub(crate) park: Park,
    pub(crate) listens: Listens,
}

/// A request under way.
struct Asking {
    mcp: Mcp,
    visitor: Visitor,
    envelope: Envelope,
    request: ModernRequest,
    out: Events,
}

impl Modern {
    pub(crate) fn new(tasks: Tasks) -> Self {
        Self { park: Park::new(tasks), listens: Listens::default() }
    }
}

impl Mcp {
    /// The calls that wait for their clients.
    pub(crate) fn park(&self) -> &Park {
        &self.modern.park
    }

    /// Answers one modern request. Dropping the answer's future cancels it.
    pub(crate) fn modern(&self, visitor: Visitor, mut request: ModernRequest) -> Exchange {
        let known = request.envelope.take().map(Ok);
        let envelope = match known.unwrap_or_else(|| Envelope::read(request.params.as_ref())) {
            Ok(envelope) => envelope,
            Err(error) => return Exchange::refused(&request.id, error),
        };
        if request.method == "subscriptions/listen" {
            return listen::open(self, visitor, &request);
        }
        let (out, events) = Events::new(self.host.held(), EVENTS);
        let asking = Asking { mcp: self.clone(), visitor, envelope, request, out };
        // Where it is captured it stays: what is handed to an async function by value is kept twice.
        let answer = apart(|| async move {
            asking.answer().await.unwrap_or_else(Answer::refused).answered(&asking.request.id)
        });
        Exchange { events, answer }
    }
}

/// Whether this method went with the legacy era. A plugin is not asked: what it answers would be of another era.
fn is_removed(method: &str) -> bool {
    matches!(
        method,
        "initialize"
            | "ping"
            | "logging/setLevel"
            | "resources/subscribe"
            | "resources/unsubscribe"
            | "tasks/list"
            | "tasks/result"
            | "roots/list"
            | "sampling/createMessage"
            | "elicitation/create"
    )
}

/// The capability that a method is part of.
fn part_of(method: &str) -> Option<&'static str> {
    match method {
        "tools/list" | "tools/call" => Some("tools"),
        "prompts/list" | "prompts/get" => Some("prompts"),
        "resources/list" | "resources/templates/list" | "resources/read" => Some("resources"),
        "completion/complete" => Some("completions"),
        _ => None,
    }
}

/// Whether a plugin may ask during this.
fn may_ask(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read")
}

/// Whether it names a task that was begun.
fn is_of_task(method: &str) -> bool {
    matches!(method, "tasks/get" | "tasks/update" | "tasks/cancel")
}

fn no_method(method: &str) -> RpcError {
    RpcError::new(RpcError::METHOD_NOT_FOUND, format!("Method not found: {method}"))
}

/// The plugin of a face at which a task of this visitor is. A legacy plugin's tasks are other ones, which only its own
/// clients know.
pub(super) fn owner_of_task(mcp: &Mcp, visitor: &Visitor, task: &str) -> Option<PluginId> {
    let catalog = mcp.host.catalog();
    let within = catalog.shelf(&visitor.face).map_or(&[][..], |shelf| &shelf.plugins);
    let mut modern = within.iter().filter(|(_, era)| *era == Era::Modern).map(|(plugin, _)| plugin);
    let is_owner = |plugin: &&PluginId| match &visitor.face {
        // What nobody began through us can only be at the one plugin of the face.
        Face::Plugin(_) => mcp.tasks.may_be_of(&visitor.principal, plugin, task),
        Face::All | Face::Group(_) => mcp.tasks.owns(&visitor.principal, plugin, task),
    };
    modern.find(is_owner).cloned()
}

/// What a client brings back: the answers, and the token.
pub(crate) struct Brought {
    pub(crate) answers: Option<Box<RawValue>>,
    pub(crate) state: Option<String>,
    /// It wants a task of 2025-11-25.
    pub(crate) task: bool,
}

impl Brought {
    /// # Errors
    /// -32602, if either is not what it must be.
    pub(crate) fn of(params: Option<&Params>) -> Result<Self, RpcError> {
        let found =
            |member| params.and_then(|params| params.member(member)).filter(|value| value.get() != "null");
        let [answers, state] = [Member::InputResponses, Member::RequestState].map(found);
        if answers.is_some_and(|answers| !answers.get().starts_with('{')) {
            return Err(bad("params.inputResponses must be an object"));
        }
        let state = state.map(|state| serde_json::from_str(state.get())).transpose();
        let state = state.map_err(|_| bad("params.requestState must be a string"))?;
        let task = params.is_some_and(|params| params.has(Member::Task));
        Ok(Self { answers: answers.map(ToOwned::to_owned), state, task })
    }
}

/// Readies a request of a legacy plugin for questions. What a modern client answers with is between it and us.
///
/// # Errors
/// [`bad_state`], if the client brings a token: no call waits under it.
pub(crate) fn open_to_questions(
    (mut spec, events): (CallSpec, Option<late::Receiver<CallEvent>>),
    host: &Host,
    brought: Brought,
) -> Result<Box<Live>, RpcError> {
    let (era, room) = host.speaks(&spec.plugin);
    let legacy = era == Some(Era::Legacy);
    let (asks, asked) = asks();
    if legacy {
        if brought.state.is_some() {
            return Err(bad_state());
        }
        // What a client answers with is between it and us, and a task of 2025-11-25 is nothing that it could follow.
        let answers = brought.answers.is_some();
        let goes = [(answers, "inputResponses"), (answers, "requestState"), (brought.task, "task")];
        let goes: Vec<_> = goes.into_iter().filter_map(|(goes, key)| goes.then_some(key)).collect();
        if !goes.is_empty() {
            spec.payload = spec.payload.without(&goes);
        }
        if may_ask(&spec.method) {
            spec.asks = Some(asks);
        }
    }
    let early = brought.answers.filter(|_| legacy);
    Ok(Live::new(spec.plugin.clone(), room, host.call(spec), asked, events, early))
}

// === impl Asking ===

impl Asking {
    /// # Errors
    /// What we refuse by ourselves, whoever is behind the request.
    async fn answer(&self) -> Result<Answer, RpcError> {
        let method = &*self.request.method;
        if is_removed(method) {
            return Err(no_method(method));
        }
        // Apart, as all that is larger than a call.
        if method == "server/discover" {
            return Box::pin(self.discover()).await.map(Answer::result);
        }
        self.must_be_advertised()?;
        if let Some(kind) = lists::kind(method) {
            return Box::pin(self.list(kind)).await.map(Answer::result);
        }
        self.forward().await
    }

    async fn discover(&self) -> Result<Box<RawValue>, RpcError> {
        let own = capabilities::introduce(&self.mcp.host, &self.visitor.face, Era::Modern).await?;
        let mut out = format!(
            r#"{{"resultType":"complete","supportedVersions":["{}"],"capabilities":{}"#,
            MODERN.join("\",\""),
            own.capabilities,
        );
        if let Some(instructions) = own.instructions {
            out.push_str(r#","instructions":"#);
            out.push_str(to_raw_value(&instructions).map_err(|_| bad("instructions"))?.get());
        }
        // As of a list: a plugin may come with the next moment.
        let info = own.server_info;
        out.push_str(&format!(
            r#","ttlMs":0,"cacheScope":"private","_meta":{{"io.modelcontextprotocol/serverInfo":{info}}}}}"#
        ));
        RawValue::from_string(out)
            .map_err(|error| RpcError::new(RpcError::INTERNAL, format!("the answer is not JSON: {error}")))
    }

    /// A face of several declares everything; one plugin's own face declares what that plugin does.
    fn must_be_advertised(&self) -> Result<(), RpcError> {
        let (Face::Plugin(plugin), Some(part)) = (&self.visitor.face, part_of(&self.request.method)) else {
            return Ok(());
        };
        // Of a plugin that was never there nothing is known; it fails where it is called.
        let Some(hello) = self.mcp.host.hello(plugin) else { return Ok(()) };
        let declared = hello.capabilities.as_deref().and_then(|all| splice::field(all, part));
        declared.map(|_| ()).ok_or_else(|| no_method(&self.request.method))
    }

    async fn list(&self, kind: Kind) -> Result<Box<RawValue>, RpcError> {
        let (host, face) = (&self.mcp.host, &self.visitor.face);
        lists::list(host, face, Era::Modern, kind, self.request.params.as_deref()).await
    }

    async fn forward(&self) -> Result<Answer, RpcError> {
        let method = &*self.request.method;
        let live = self.live().await?;
        let plugin = live.plugin.clone();
        let _louder = match self.wanted_level() {
            Some(level) => Box::pin(self.louder(&plugin, level)).await,
            None => None,
        };
        let hearing = Hearing::new(&self.envelope, self.out.clone());
        let passed =
            self.mcp.modern.park.pass(live, || self.origin(), &mut |event| hearing.hear(event)).await;
        let outcome = match passed {
            Passed::Asked(result) => return Ok(Answer::result(result)),
            Passed::Ended(outcome) => outcome,
        };
        let uri = || self.request.params.as_ref()?.text(Member::Uri).map(Cow::into_owned).ok();
        let mut answer = Answer::of(outcome, method, uri);
        if let Reply::Result(result) = answer.reply {
            if answer.is_task {
                self.note_task(&plugin, &result);
            }
            answer.reply = Reply::Result(self.with_uris(&plugin, method, result));
        }
        Ok(answer)
    }

    /// The level of log messages that the client names.
    fn wanted_level(&self) -> Option<Level> {
        self.envelope.client.log_level.as_deref().and_then(Level::named)
    }

    /// A legacy plugin says more for as long as a client that names a level for its request wants to hear it.
    async fn louder(&self, plugin: &PluginId, level: Level) -> Option<Want> {
        let host = &self.mcp.host;
        let legacy = host.hello(plugin)?.era() == Era::Legacy;
        let watch = host.watch(plugin).filter(|_| legacy && level < Level::default())?;
        let want = watch.want(Wanted::Logs(level.severity()));
        watch.taken(UNTIL_LOUDER).await;
        Some(want)
    }

    /// A task that was begun is this principal's.
    fn note_task(&self, plugin: &PluginId, result: &RawValue) {
        if let Ok(task) = forward::text(Some(result), "taskId") {
            self.mcp.tasks.note(&self.visitor.principal, plugin, &task);
        }
    }

    /// The result with the URIs of this face, where that keeps those of two plugins apart.
    fn with_uris(&self, plugin: &PluginId, method: &str, result: Box<RawValue>) -> Box<RawValue> {
        let catalog = self.mcp.host.catalog_now();
        let Some(shelf) = catalog.shelf(&self.visitor.face) else { return result };
        links::learn(&self.mcp.host, &self.visitor.principal, (plugin, shelf), (method, &result));
        if shelf.collisions.is_empty() {
            return result;
        }
        let seen = |uri: &str| match shelf.uri_as_seen(plugin, uri) {
            Cow::Borrowed(same) if same == uri => None,
            seen @ (Cow::Borrowed(_) | Cow::Owned(_)) => Some(seen.into_owned()),
        };
        translate::with_uris(result, method, &seen)
    }

    /// The call that this request begins, or goes on with.
    async fn live(&self) -> Result<Box<Live>, RpcError> {
        let (host, park) = (&self.mcp.host, &self.mcp.modern.park);
        let ModernRequest { method, params, .. } = &self.request;
        let brought = Brought::of(params.as_ref())?;
        if let Some(token) = brought.state.as_deref().filter(|token| park.knows(token)) {
            let mut live = Box::pin(park.resume(token, &self.origin())).await?;
            if let Some(answers) = &brought.answers {
                live.answer(answers);
            }
            return Ok(live);
        }
        let face =
            if is_of_task(method) { Box::pin(self.of_task()).await? } else { self.visitor.face.clone() };
        let principal = &self.visitor.principal;
        let way = forward::way(host, &face, principal, method, params.clone()).await?;
        let client = Arc::clone(&self.envelope.client);
        let mut forwarded = way.taken(Caller { client, ..Caller::new(Arc::clone(principal)) }, method)?;
        forwarded.spec.edge = Edge::Modern;
        if let (Some(tool), Some(headers)) = (&forwarded.tool, &self.request.param_headers)
            && tool.may_name_headers
        {
            param_headers::check(&tool.definition, params.as_deref(), headers)?;
        }
        open_to_questions((forwarded.spec, forwarded.events), host, brought)
    }

    /// The face to go by: a task's request goes to the plugin whose task it is.
    async fn of_task(&self) -> Result<Face, RpcError> {
        let (method, face) = (&*self.request.method, &self.visitor.face);
        let params = self.request.params.as_ref().ok_or_else(|| forward::no_text("taskId"))?;
        let task = params.text(Member::TaskId)?;
        if let Face::Plugin(plugin) = face {
            self.mcp.host.listed(plugin).await.map_err(|failure| super::failure::error(&failure))?;
            if self.mcp.host.hello(plugin).is_some_and(|hello| hello.era() == Era::Legacy) {
                return Err(no_method(method));
            }
        }
        let owner = owner_of_task(&self.mcp, &self.visitor, &task);
        owner.map(Face::Plugin).ok_or_else(|| bad(format!("Unknown task: {task}")))
    }

    /// The request, for who keeps its call while its client is away.
    fn origin(&self) -> Origin {
        Origin {
            principal: Arc::clone(&self.visitor.principal),
            face: self.visitor.face.clone(),
            method: self.request.method.clone().into_owned(),
            params: self.request.params.as_ref().map(Params::copied),
        }
    }
}
