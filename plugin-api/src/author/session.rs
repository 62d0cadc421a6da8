//! One client's conversation with a server, without a transport.
//!
//! Tools run on the pool's threads; everything else is answered where it is received, so a `ping` is answered however
//! many calls run. A client that skips the handshake is served all the same: nothing here depends on it.

use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::answer::{Answer, ToolError};
use super::call::{Call, Level, Line};
use super::cancel::Cancel;
use super::pool::Pool;
use super::server::{Handler, Server};
use super::tool::Tool;
use crate::jsonrpc::{self, EnvelopeError, Id, Message, Reply, RpcError};
use crate::pipe::{Pipe, Sink};

/// The revisions that are spoken, oldest first.
const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const SERVER_BUSY: i64 = -32000;

/// One client's conversation with a server.
pub struct Session {
    server: Server,
    by_name: HashMap<String, usize>,
    pool: Pool,
    wire: Arc<Wire>,
}

/// What calls share with the session.
struct Wire {
    sink: Sink,
    level: AtomicU8,
    calls: Mutex<HashMap<Id, Arc<Cancel>>>,
}

#[derive(Deserialize)]
struct CallParams<'a> {
    name: String,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(rename = "_meta")]
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "progressToken")]
    token: Option<Id>,
}

#[derive(Deserialize)]
struct Cancelled {
    #[serde(rename = "requestId")]
    id: Id,
}

impl Session {
    pub(super) fn new(server: Server, sink: Sink) -> Self {
        let by_name =
            server.tools.iter().enumerate().map(|(at, (tool, _))| (tool.name.clone(), at)).collect();
        let pool = Pool::new(server.concurrency, server.waiting);
        let wire = Wire { sink, level: AtomicU8::new(Level::Info as u8), calls: Mutex::default() };
        Self { server, by_name, pool, wire: Arc::new(wire) }
    }

    /// Takes one message. Answers go to the sink, now or later, from this thread or another.
    pub fn receive(&self, message: &[u8]) {
        match jsonrpc::parse(message) {
            Ok(Message::Request { id, method, params }) if method == "tools/call" => self.call(id, params),
            Ok(Message::Request { id, method, params }) => {
                let reply = self.answer(&method, params).unwrap_or_else(Reply::Error);
                self.wire.send(&jsonrpc::response(&id, &reply));
            }
            Ok(Message::Notification { method, params }) if method == "notifications/cancelled" => {
                // A cancellation that names nothing in flight is normal: the answer was under way.
                if let Some(call) =
                    read::<Cancelled>(params).ok().and_then(|c| self.wire.calls().remove(&c.id))
                {
                    call.raise();
                }
            }
            // Other notifications change nothing here, and nothing was asked that could be answered.
            Ok(Message::Notification { .. } | Message::Response { .. }) => {}
            Err(error) => {
                let syntax = matches!(&error, EnvelopeError::Json(e) if !e.is_data());
                let code = if syntax { PARSE_ERROR } else { INVALID_REQUEST };
                self.wire.refuse(&RpcError::new(code, error.to_string()));
            }
        }
    }

    /// Lets calls in flight end within the server's grace; then they count as cancelled. Returns how many were.
    pub fn close(&self) -> usize {
        let left = self.pool.wait_idle(self.server.grace);
        for (_, call) in self.wire.calls().drain() {
            call.raise();
        }
        left
    }

    #[cfg(test)]
    pub(super) fn pool_left(&self, budget: std::time::Duration) -> usize {
        self.pool.wait_idle(budget)
    }

    fn answer(&self, method: &str, params: Option<&RawValue>) -> Result<Reply, RpcError> {
        match method {
            "initialize" => {
                #[derive(Deserialize)]
                struct Initialize {
                    #[serde(rename = "protocolVersion")]
                    revision: String,
                }
                self.hello(&read::<Initialize>(params)?.revision)
            }
            "ping" => result(&json!({})),
            "tools/list" => {
                #[derive(Deserialize)]
                struct List {
                    cursor: Option<String>,
                }
                // All tools are on one page, so no cursor is ours.
                if params.is_some() && read::<List>(params)?.cursor.is_some() {
                    return Err(RpcError::new(RpcError::INVALID_PARAMS, "unknown cursor"));
                }
                let tools: Vec<_> = self.server.tools.iter().map(|(tool, _)| tool.definition()).collect();
                result(&json!({"tools": tools}))
            }
            "logging/setLevel" => {
                #[derive(Deserialize)]
                struct SetLevel {
                    level: Level,
                }
                self.wire.level.store(read::<SetLevel>(params)?.level as u8, Ordering::Relaxed);
                result(&json!({}))
            }
            other => Err(RpcError::new(RpcError::METHOD_NOT_FOUND, format!("method not found: {other}"))),
        }
    }

    fn hello(&self, asked: &str) -> Result<Reply, RpcError> {
        let [.., latest] = REVISIONS;
        let revision = REVISIONS.into_iter().find(|known| *known == asked).unwrap_or(latest);
        let mut hello = json!({
            "protocolVersion": revision,
            "capabilities": {"logging": {}, "tools": {"listChanged": false}},
            "serverInfo": {"name": self.server.name, "version": self.server.version},
        });
        if let (Some(text), Some(hello)) = (&self.server.instructions, hello.as_object_mut()) {
            hello.insert("instructions".into(), text.as_str().into());
        }
        result(&hello)
    }

    /// Hands a call to the pool, or answers why not.
    fn call(&self, id: Id, params: Option<&RawValue>) {
        let cancel = Arc::new(Cancel::default());
        match self.wire.calls().entry(id.clone()) {
            Entry::Vacant(free) => drop(free.insert(Arc::clone(&cancel))),
            Entry::Occupied(_) => {
                // An answer under this id would be taken for the answer of the first call.
                let text = format!("the id {id} is that of a request in flight");
                return self.wire.refuse(&RpcError::new(INVALID_REQUEST, text));
            }
        }
        let begun = self.prepare(params, &cancel).and_then(|(call, run)| {
            let (wire, id, cancel) = (Arc::clone(&self.wire), id.clone(), Arc::clone(&cancel));
            let job = Box::new(move || {
                if !cancel.is_raised() {
                    wire.finish(&id, &cancel, &perform(&call, &run));
                }
            });
            self.pool.submit(job).map_err(|refused| RpcError::new(SERVER_BUSY, refused.to_string()))
        });
        if let Err(error) = begun {
            self.wire.finish(&id, &cancel, &Reply::Error(error));
        }
    }

    fn prepare(&self, params: Option<&RawValue>, cancel: &Arc<Cancel>) -> Result<(Call, Handler), RpcError> {
        let wrong = |text: String| RpcError::new(RpcError::INVALID_PARAMS, text);
        let params: CallParams<'_> = read(params)?;
        let found = self.by_name.get(&params.name).and_then(|at| self.server.tools.get(*at));
        let (tool, run) = found.ok_or_else(|| wrong(format!("unknown tool: {}", params.name)))?;
        let raw = params.arguments.map_or("{}", RawValue::get);
        let arguments: Map<String, Value> = serde_json::from_str(raw)
            .map_err(|e| wrong(format!("the arguments are not a JSON object: {e}")))?;
        let call = Call {
            tool: Arc::<Tool>::clone(tool),
            raw: RawValue::from_string(raw.to_owned()).map_err(|e| wrong(e.to_string()))?,
            arguments,
            token: params.meta.and_then(|meta| meta.token),
            reported: Mutex::new(f64::NEG_INFINITY),
            cancel: Arc::clone(cancel),
            line: Arc::<Wire>::clone(&self.wire),
        };
        Ok((call, Arc::clone(run)))
    }
}

impl Pipe for Session {
    fn receive(&self, message: &[u8]) {
        Self::receive(self, message);
    }

    fn close(&self) {
        Self::close(self);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Wire {
    fn calls(&self) -> MutexGuard<'_, HashMap<Id, Arc<Cancel>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a call, unless it was cancelled: who takes it out of the table decides its end.
    fn finish(&self, id: &Id, call: &Arc<Cancel>, reply: &Reply) {
        let ours = match self.calls().entry(id.clone()) {
            Entry::Occupied(entry) if Arc::ptr_eq(entry.get(), call) => entry.remove_entry().0 == *id,
            Entry::Occupied(_) | Entry::Vacant(_) => false,
        };
        if ours {
            self.send(&jsonrpc::response(id, reply));
        }
    }

    /// Answers what has no id that could be used.
    fn refuse(&self, error: &RpcError) {
        if let Ok(message) = serde_json::to_vec(&json!({"jsonrpc": "2.0", "id": null, "error": error})) {
            self.send(&message);
        }
    }
}

impl Line for Wire {
    fn send(&self, message: &[u8]) {
        (self.sink)(message);
    }

    fn level(&self) -> Level {
        const ALL: [Level; 8] = [
            Level::Debug,
            Level::Info,
            Level::Notice,
            Level::Warning,
            Level::Error,
            Level::Critical,
            Level::Alert,
            Level::Emergency,
        ];
        ALL.get(usize::from(self.level.load(Ordering::Relaxed))).copied().unwrap_or(Level::Info)
    }
}

/// Runs a tool. A panic is this call's failure.
fn perform(call: &Call, run: &Handler) -> Reply {
    let outcome = catch_unwind(AssertUnwindSafe(|| run(call)));
    let outcome =
        outcome.unwrap_or_else(|panic| Err(ToolError::new(format!("the tool panicked: {}", words(&*panic)))));
    let answer = match outcome {
        Ok(answer) => answer,
        Err(ToolError::Tool(text)) => Answer::text(text).failed(),
        Err(ToolError::Protocol(error)) => return Reply::Error(error),
    };
    result(&answer).unwrap_or_else(Reply::Error)
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("for no known reason")
}

fn result(value: &impl Serialize) -> Result<Reply, RpcError> {
    to_raw_value(value)
        .map(Reply::Result)
        .map_err(|error| RpcError::new(RpcError::INTERNAL, error.to_string()))
}

fn read<'a, T: Deserialize<'a>>(params: Option<&'a RawValue>) -> Result<T, RpcError> {
    let params = params.map_or("{}", RawValue::get);
    serde_json::from_str(params).map_err(|error| RpcError::new(RpcError::INVALID_PARAMS, error.to_string()))
}
