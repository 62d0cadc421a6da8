//! The server behind every dialect: takes one message, runs what it asks for in a task of its own, and puts the answer
//! into the outlet that came with it. Knows no wire.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use wharf_plugin_api::jsonrpc::{self, Id, Message, Reply, RpcError};

use super::args::{Args, WrongId};
use super::faults::Faults;
use super::frame::{Frame, Outlet};
use super::ledger::{Entry, Ledger};
use super::odd;
use super::script::{Item, Script};
use super::session::{self, Session, Stage};
use super::tools::{Call, Outcome, invalid};
use crate::tasks::Tasks;

/// The revisions of the legacy era; the last is what an unknown one is answered with.
pub(crate) const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// How many requests run at once.
const RUNNING: usize = 1024;

/// An id that no client sends.
const NOBODY: &str = "nobody-asked-this";

/// Not in JSON-RPC, but what servers use for refusals of their own.
const REFUSED: i64 = -32000;

/// The mock, without its wire.
pub(crate) struct Server {
    script: Script,
    by_name: HashMap<String, usize>,
    pub(crate) faults: Faults,
    pub(crate) tasks: Tasks,
    ledger: Option<Arc<Ledger>>,
    permits: Arc<Semaphore>,
    calls: AtomicU64,
    counter: AtomicU64,
    /// Held by the one request that runs, where only one may.
    turn: tokio::sync::Mutex<()>,
    ping_client: bool,
    list_changed: bool,
}

/// A request on its way.
struct Asked {
    session: Arc<Session>,
    id: Id,
    method: String,
    params: Option<Box<RawValue>>,
    out: Outlet,
    /// It is the n-th call of a tool.
    n: Option<u64>,
    _permit: OwnedSemaphorePermit,
}

impl Server {
    pub(crate) fn new(args: &Args, script: Script, faults: Faults, ledger: Option<Ledger>) -> Arc<Self> {
        let by_name = script.tools.iter().enumerate().map(|(i, tool)| (tool.name().to_owned(), i)).collect();
        Arc::new(Self {
            script,
            by_name,
            faults,
            tasks: Tasks::default(),
            ledger: ledger.map(Arc::new),
            permits: Arc::new(Semaphore::new(RUNNING)),
            calls: AtomicU64::new(0),
            counter: AtomicU64::new(0),
            turn: tokio::sync::Mutex::default(),
            ping_client: args.ping_client,
            list_changed: args.list_changed,
        })
    }

    /// Counts one up.
    pub(crate) fn count(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether a request is still on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.permits.available_permits() == RUNNING
    }

    /// Takes a message. Never waits; the outlet is dropped when everything was said.
    pub(crate) fn receive(self: &Arc<Self>, session: &Arc<Session>, message: Message<'_>, out: Outlet) {
        match message {
            Message::Request { id, method, params } => {
                let asked = self.take(session, id, &method, params, out);
                let Some((asked, cancelled)) = asked else { return };
                let server = Arc::clone(self);
                self.tasks.spawn(tracing::debug_span!("mock request"), async move {
                    server.run(asked, cancelled).await
                });
            }
            Message::Notification { method, params } => self.notified(session, &method, params),
            Message::Response { id, reply } => session.answered(id.as_ref(), reply),
        }
    }

    /// Registers a request in the order in which it came, so that what comes next may cancel it; or refuses it.
    fn take(
        &self,
        session: &Arc<Session>,
        id: Id,
        method: &str,
        params: Option<&RawValue>,
        out: Outlet,
    ) -> Option<(Asked, CancellationToken)> {
        let refused = |error| {
            // No room even for that: then the client does not read, and would not read it.
            out.try_send(Frame::Reply(jsonrpc::response(&id, &Reply::Error(error)))).ok();
        };
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            refused(RpcError::new(REFUSED, format!("{RUNNING} requests run already")));
            return None;
        };
        let Some(cancelled) = session.start(&id) else {
            refused(RpcError::new(-32600, "a request with this id runs already"));
            return None;
        };
        if method == "initialize" {
            session.set(Stage::Opening);
        }
        let n = (method == "tools/call").then(|| self.calls.fetch_add(1, Ordering::Relaxed) + 1);
        let (session, params) = (Arc::clone(session), params.map(ToOwned::to_owned));
        Some((Asked { session, id, method: method.to_owned(), params, out, n, _permit: permit }, cancelled))
    }

    fn notified(self: &Arc<Self>, session: &Arc<Session>, method: &str, params: Option<&RawValue>) {
        match method {
            "notifications/initialized" => {
                let (server, session) = (Arc::clone(self), Arc::clone(session));
                self.tasks.spawn(tracing::debug_span!("mock greeting"), async move {
                    server.greet(&session).await
                });
            }
            "notifications/cancelled" => {
                #[derive(serde::Deserialize)]
                struct Cancelled {
                    #[serde(rename = "requestId")]
                    request_id: Id,
                }
                if let Some(Cancelled { request_id }) =
                    params.and_then(|p| serde_json::from_str(p.get()).ok())
                {
                    session.cancel(&request_id);
                }
            }
            _ => {}
        }
    }

    /// What some servers send as soon as they may.
    async fn greet(&self, session: &Session) {
        if self.list_changed {
            for _ in 0..4 {
                let changed = jsonrpc::notification("notifications/tools/list_changed", None);
                session::push(&session.push, Frame::Message(changed)).await;
            }
        }
        if self.ping_client {
            for method in ["ping", "roots/list"] {
                let wait = std::time::Duration::from_secs(30);
                let said = match session.ask(&session.push, method, None, wait).await {
                    Some(Reply::Result(raw)) => raw.get().to_owned(),
                    Some(Reply::Error(error)) => error.to_string(),
                    None => "nothing".to_owned(),
                };
                super::note(&format!("client answered {method}: {said}"));
            }
        }
    }

    async fn run(self: Arc<Self>, asked: Asked, cancelled: CancellationToken) {
        let outcome = tokio::select! {
            biased;
            () = cancelled.cancelled() => None,
            outcome = Box::pin(self.dispatch(&asked)) => Some(outcome),
        };
        asked.session.finish(&asked.id);
        // Who cancelled does not want to hear of it any more.
        if let Some(outcome) = outcome {
            self.reply(&asked, outcome).await;
        }
    }

    async fn dispatch(self: &Arc<Self>, asked: &Asked) -> Outcome {
        let _turn = if self.faults.args.one_at_a_time { Some(self.turn.lock().await) } else { None };
        if asked.method == "initialize" {
            let outcome = self.initialize(asked).await;
            asked.session.set(if outcome.is_ok() { Stage::Ready } else { Stage::New });
            return outcome;
        }
        if asked.method == "ping" {
            if !self.faults.healthy() {
                std::future::pending::<()>().await;
            }
            return Ok(json!({}));
        }
        let params = params(asked.params.as_deref())?;
        if let Some(n) = asked.n
            && asked.session.is_ready().await
        {
            return self.call(asked, n, params).await;
        }
        let (tools, resources, prompts) = (&self.script.tools, &self.script.resources, &self.script.prompts);
        let known = match asked.method.as_str() {
            "tools/list" => self.page("tools", &params, tools.len(), |i| tools.get(i).map(|t| &t.definition)),
            "resources/list" => {
                self.page("resources", &params, resources.len(), |i| resources.get(i).map(|r| &r.definition))
            }
            "resources/templates/list" => Ok(json!({"resourceTemplates": []})),
            "resources/read" => find(resources, &params, "uri", -32002),
            "prompts/list" => {
                self.page("prompts", &params, prompts.len(), |i| prompts.get(i).map(|p| &p.definition))
            }
            "prompts/get" => find(prompts, &params, "name", RpcError::INVALID_PARAMS),
            "logging/setLevel" => Ok(json!({})),
            "tools/call" => Ok(Value::Null),
            other => return Err(RpcError::new(RpcError::METHOD_NOT_FOUND, format!("no method {other:?}"))),
        };
        if asked.session.is_ready().await {
            known
        } else {
            Err(RpcError::new(-32600, "initialize comes first"))
        }
    }

    async fn initialize(&self, asked: &Asked) -> Outcome {
        if self.faults.args.hang_at_start {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(self.faults.args.start_after()).await;
        let params = params(asked.params.as_deref())?;
        let wanted = params.get("protocolVersion").and_then(Value::as_str);
        let wanted = wanted.ok_or_else(|| invalid("\"protocolVersion\" is missing or no string"))?;
        let [.., latest] = REVISIONS;
        let revision = REVISIONS.into_iter().find(|r| *r == wanted).unwrap_or(latest);
        let mut capabilities = object(&[("logging", json!({})), ("tools", json!({"listChanged": true}))]);
        if !self.script.resources.is_empty() {
            capabilities.insert("resources".to_owned(), json!({}));
        }
        if !self.script.prompts.is_empty() {
            capabilities.insert("prompts".to_owned(), json!({}));
        }
        let mut result = object(&[
            ("protocolVersion", revision.into()),
            ("capabilities", Value::Object(capabilities)),
            ("serverInfo", json!({"name": self.script.name, "version": self.script.version})),
        ]);
        result.extend(self.script.instructions.clone().map(|text| ("instructions".to_owned(), text.into())));
        for frame in self.faults.before_hello() {
            session::push(&asked.out, frame).await;
        }
        Ok(Value::Object(result))
    }

    async fn call(self: &Arc<Self>, asked: &Asked, n: u64, mut params: Map<String, Value>) -> Outcome {
        let faults = &self.faults.args;
        if faults.crash_at_call == Some(n) {
            self.faults.die(faults.crash_code.unwrap_or(1)).await;
        }
        let name = params
            .get("name")
            .and_then(Value::as_str)
            .ok_or_else(|| invalid("\"name\" is missing or no string"))?;
        let tool = self.by_name.get(name).and_then(|i| self.script.tools.get(*i));
        let tool = tool.ok_or_else(|| invalid(&format!("no tool {name:?}")))?;
        let token = params.get("_meta").and_then(|m| m.get("progressToken")).cloned();
        let arguments = match params.remove("arguments") {
            None => Map::new(),
            Some(Value::Object(arguments)) => arguments,
            Some(_) => return Err(invalid("\"arguments\" must be an object")),
        };
        let entry = Entry::begin(self.ledger.clone(), n, tool.name(), &arguments, params.get("_meta"))
            .map_err(|e| unrecorded(&e))?;
        if faults.hang_at_call == Some(n) {
            std::future::pending::<()>().await;
        }
        let (session, out) = (Arc::clone(&asked.session), asked.out.clone());
        let call = Call { server: Arc::clone(self), session, out, token };
        let outcome = tool.run(&call, &arguments).await;
        entry.end().map_err(|e| unrecorded(&e))?;
        if faults.crash_after_call == Some(n) {
            self.faults.die(faults.crash_code.unwrap_or(1)).await;
        }
        outcome
    }

    /// Says the answer, with what goes wrong around it.
    async fn reply(&self, asked: &Asked, outcome: Outcome) {
        let (faults, n) = (&self.faults.args, asked.n);
        let mut frames = n.map(|n| self.faults.before_answer(n)).unwrap_or_default();
        if faults.log_on_stdout {
            frames
                .push(Frame::Raw(format!("INFO  mock: answered {} {}", asked.method, asked.id).into_bytes()));
        }
        if n.is_some() && faults.close_stdout_at_call == n {
            frames.push(Frame::Close);
        }
        let wrong = n.and(faults.wrong_id);
        match wrong {
            // It takes the place of the answer, also where there is room for one only.
            Some(WrongId::Instead) => {
                frames.push(Frame::Reply(self.answer(&Id::text(NOBODY), outcome.clone())))
            }
            Some(WrongId::Extra) => {
                frames.push(Frame::Message(self.answer(&Id::text(NOBODY), outcome.clone())))
            }
            Some(WrongId::Next) => {
                let next = asked.id.as_u64().map_or_else(|| Id::text(NOBODY), |id| Id::number(id + 1));
                frames.push(Frame::Message(self.answer(&next, outcome.clone())));
            }
            None => {}
        }
        if let Some(odd) = n.and_then(|n| self.faults.odd(n)) {
            frames.push(odd::answer(odd, &asked.id));
        } else if wrong != Some(WrongId::Instead) {
            let answer = self.answer(&asked.id, outcome);
            if n.is_some() && faults.answer_twice {
                frames.push(Frame::Message(answer.clone()));
            }
            frames.push(Frame::Reply(answer));
        }
        for frame in frames {
            if !session::push(&asked.out, frame).await {
                return;
            }
        }
    }

    fn answer(&self, id: &Id, outcome: Outcome) -> Vec<u8> {
        let write =
            if self.faults.args.pretty { serde_json::to_string_pretty } else { serde_json::to_string };
        let reply = match outcome.map(|value| write(&value).and_then(RawValue::from_string)) {
            Ok(Ok(raw)) => Reply::Result(raw),
            Ok(Err(error)) => Reply::Error(RpcError::new(RpcError::INTERNAL, error.to_string())),
            Err(error) => Reply::Error(error),
        };
        jsonrpc::response(id, &reply)
    }

    /// One page of a list. A cursor is `page-N`; with `list_forever` there is always a next one, and the list starts over.
    fn page<'a>(
        &self,
        key: &str,
        params: &Map<String, Value>,
        total: usize,
        item: impl Fn(usize) -> Option<&'a Map<String, Value>>,
    ) -> Outcome {
        let (size, forever) = (self.script.page_size, self.script.list_forever);
        let pages = total.div_ceil(size).max(1);
        let page = match params.get("cursor") {
            None => 0,
            Some(cursor) => cursor
                .as_str()
                .and_then(|c| c.strip_prefix("page-")?.parse::<usize>().ok())
                .filter(|page| forever || (1..pages).contains(page))
                .ok_or_else(|| invalid("unknown cursor"))?,
        };
        let start = (page % pages) * size;
        let items: Vec<_> = (start..total.min(start.saturating_add(size))).filter_map(item).collect();
        let mut result = object(&[(key, json!(items))]);
        if forever || page + 1 < pages {
            result.insert("nextCursor".to_owned(), format!("page-{}", page.wrapping_add(1)).into());
        }
        Ok(Value::Object(result))
    }
}

fn find(items: &[Item], params: &Map<String, Value>, key: &str, missing: i64) -> Outcome {
    let name = params
        .get(key)
        .and_then(Value::as_str)
        .ok_or_else(|| invalid(&format!("{key:?} is missing or no string")))?;
    let found = items.iter().find(|i| i.key == name);
    found.map(|i| i.result.clone()).ok_or_else(|| RpcError::new(missing, format!("there is no {name:?}")))
}

fn params(raw: Option<&RawValue>) -> Result<Map<String, Value>, RpcError> {
    let Some(raw) = raw else { return Ok(Map::new()) };
    serde_json::from_str(raw.get()).map_err(|error| invalid(&format!("\"params\": {error}")))
}

fn object(entries: &[(&str, Value)]) -> Map<String, Value> {
    entries.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect()
}

fn unrecorded(error: &std::io::Error) -> RpcError {
    RpcError::new(RpcError::INTERNAL, format!("the ledger cannot be written: {error}"))
}
