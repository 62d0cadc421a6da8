//! The tools that the mock has by itself, and how a scripted one is played. Knows a call, not how it came.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use wharf_plugin_api::jsonrpc::{self, Reply, RpcError};

use super::frame::{Frame, Outlet};
use super::script::Answer;
use super::server::Server;
use super::session::{self, Session};

/// The largest text that `big` makes.
const BIG_CAP: u64 = 256 << 20;

/// What a request is answered with.
pub(crate) type Outcome = Result<Value, RpcError>;

/// A tool: what the list shows, and what a call does.
pub(crate) struct Tool {
    pub(crate) definition: Map<String, Value>,
    pub(crate) act: Act,
}

/// What a call does.
pub(crate) enum Act {
    Builtin(Builtin),
    Scripted(Answer),
}

/// One call that runs.
pub(crate) struct Call {
    pub(crate) server: Arc<Server>,
    pub(crate) session: Arc<Session>,
    pub(crate) out: Outlet,
    /// The caller's token, type and all; without it there is no progress.
    pub(crate) token: Option<Value>,
}

/// The tools that need no script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builtin {
    Echo,
    Add,
    Sleep,
    Count,
    Progress,
    Env,
    Whoami,
    Fail,
    RpcError,
    Big,
    Ask,
}

impl Builtin {
    pub(crate) const ALL: [Self; 11] = [
        Self::Echo,
        Self::Add,
        Self::Sleep,
        Self::Count,
        Self::Progress,
        Self::Env,
        Self::Whoami,
        Self::Fail,
        Self::RpcError,
        Self::Big,
        Self::Ask,
    ];

    /// Name, description, arguments, and which of them are needed.
    fn parts(self) -> (&'static str, &'static str, Value, &'static [&'static str]) {
        match self {
            Self::Echo => {
                ("echo", "Says the message back", json!({"message": {"type": "string"}}), &["message"])
            }
            Self::Add => (
                "add",
                "Adds two numbers",
                json!({"a": {"type": "number"}, "b": {"type": "number"}}),
                &["a", "b"],
            ),
            Self::Sleep => {
                ("sleep", "Answers after a while", json!({"ms": {"type": "integer", "minimum": 0}}), &["ms"])
            }
            Self::Count => {
                ("count", "Counts one up: running it twice is not running it once", json!({}), &[])
            }
            Self::Progress => (
                "progress",
                "Reports progress, if asked to, then answers",
                json!({"steps": {"type": "integer", "minimum": 0}, "interval_ms": {"type": "integer", "minimum": 0}}),
                &["steps"],
            ),
            Self::Env => {
                ("env", "Tells a variable of its environment", json!({"name": {"type": "string"}}), &["name"])
            }
            Self::Whoami => ("whoami", "Tells its process", json!({}), &[]),
            Self::Fail => ("fail", "Answers with isError", json!({"message": {"type": "string"}}), &[]),
            Self::RpcError => (
                "rpc_error",
                "Answers with a JSON-RPC error",
                json!({"code": {"type": "integer"}}),
                &["code"],
            ),
            Self::Big => (
                "big",
                "Answers with a text of so many bytes",
                json!({"bytes": {"type": "integer", "minimum": 0}}),
                &["bytes"],
            ),
            Self::Ask => (
                "ask",
                "Sends the client a request (ping, roots, sampling, elicitation or any method) and tells its answer",
                json!({"method": {"type": "string"}, "params": {"type": "object"}, "timeout_ms": {"type": "integer"}}),
                &["method"],
            ),
        }
    }

    /// What the list shows. All but `count` change nothing and say so.
    pub(crate) fn definition(self) -> Map<String, Value> {
        let (name, description, properties, required) = self.parts();
        let harmless = self != Self::Count;
        let mut tool = json!({
            "name": name,
            "description": description,
            "inputSchema": {"type": "object", "properties": properties, "required": required},
            "annotations": {"readOnlyHint": harmless, "destructiveHint": false, "idempotentHint": harmless, "openWorldHint": false},
        });
        if self == Self::Add
            && let Some(tool) = tool.as_object_mut()
        {
            let schema =
                json!({"type": "object", "properties": {"sum": {"type": "number"}}, "required": ["sum"]});
            tool.insert("outputSchema".to_owned(), schema);
        }
        match tool {
            Value::Object(tool) => tool,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Map::new()
            }
        }
    }

    async fn run(self, call: &Call, arguments: &Map<String, Value>) -> Outcome {
        match self {
            Self::Echo => Ok(text(&need::<String>(arguments, "message")?)),
            Self::Add => {
                // Whole numbers stay whole.
                let sum = match (
                    need::<Value>(arguments, "a")?.as_i64(),
                    need::<Value>(arguments, "b")?.as_i64(),
                ) {
                    (Some(a), Some(b)) if a.checked_add(b).is_some() => json!(a + b),
                    (_, _) => json!(need::<f64>(arguments, "a")? + need::<f64>(arguments, "b")?),
                };
                Ok(structured(&json!({"sum": sum})))
            }
            Self::Sleep => {
                let ms = need::<u64>(arguments, "ms")?;
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(text(&format!("slept {ms} ms")))
            }
            Self::Count => Ok(structured(&json!({"count": call.server.count()}))),
            Self::Progress => {
                let (steps, pause) =
                    (need::<u64>(arguments, "steps")?, maybe::<u64>(arguments, "interval_ms")?.unwrap_or(0));
                call.progress(steps, Duration::from_millis(pause)).await;
                Ok(text(&format!("did {steps} steps")))
            }
            Self::Env => {
                let name = need::<String>(arguments, "name")?;
                let value = std::env::var_os(&name).map(|v| v.to_string_lossy().into_owned());
                Ok(structured(&json!({"name": name, "value": value})))
            }
            Self::Whoami => Ok(structured(&whoami(&call.session))),
            Self::Fail => {
                let message =
                    maybe::<String>(arguments, "message")?.unwrap_or_else(|| "failed as asked".to_owned());
                Ok(json!({"content": [{"type": "text", "text": message}], "isError": true}))
            }
            Self::RpcError => Err(RpcError::new(need(arguments, "code")?, "an error as asked")),
            Self::Big => match need::<u64>(arguments, "bytes")? {
                bytes if bytes <= BIG_CAP => Ok(text(&"x".repeat(usize::try_from(bytes).unwrap_or(0)))),
                _ => Err(invalid(&format!(
                    "argument \"bytes\" is over {BIG_CAP}; for more there is --huge-line"
                ))),
            },
            Self::Ask => call.ask(arguments).await,
        }
    }
}

impl Tool {
    pub(crate) fn builtin(builtin: Builtin) -> Self {
        Self { definition: builtin.definition(), act: Act::Builtin(builtin) }
    }

    pub(crate) fn name(&self) -> &str {
        self.definition.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) async fn run(&self, call: &Call, arguments: &Map<String, Value>) -> Outcome {
        match &self.act {
            Act::Builtin(builtin) => builtin.run(call, arguments).await,
            Act::Scripted(answer) => {
                let steps = answer.progress;
                let pause = answer
                    .delay
                    .checked_div(u32::try_from(steps.max(1)).unwrap_or(u32::MAX))
                    .unwrap_or_default();
                call.progress(steps, pause).await;
                if steps == 0 {
                    tokio::time::sleep(answer.delay).await;
                }
                answer.outcome.clone()
            }
        }
    }
}

impl Call {
    async fn progress(&self, steps: u64, pause: Duration) {
        for step in 1..=steps {
            // A sleep of nothing is one of a millisecond.
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let Some(token) = &self.token else { continue };
            let params = json!({"progressToken": token, "progress": step, "total": steps, "message": format!("step {step}")});
            let params = serde_json::value::to_raw_value(&params).ok();
            let frame = Frame::Message(jsonrpc::notification("notifications/progress", params.as_deref()));
            if !session::push(&self.out, frame).await {
                return;
            }
        }
    }

    async fn ask(&self, arguments: &Map<String, Value>) -> Outcome {
        let short = need::<String>(arguments, "method")?;
        let prompt = json!([{"role": "user", "content": {"type": "text", "text": "What is two and two?"}}]);
        let (method, default) = match short.as_str() {
            "roots" => ("roots/list", None),
            "sampling" => ("sampling/createMessage", Some(json!({"messages": prompt, "maxTokens": 16}))),
            "elicitation" => {
                let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
                ("elicitation/create", Some(json!({"message": "Who are you?", "requestedSchema": schema})))
            }
            other => (other, None),
        };
        let params = maybe::<Value>(arguments, "params")?.or(default);
        let wait = Duration::from_millis(maybe(arguments, "timeout_ms")?.unwrap_or(30_000));
        let reply = match self.session.ask(&self.out, method, params.as_ref(), wait).await {
            Some(Reply::Result(raw)) => {
                json!({"result": serde_json::from_str::<Value>(raw.get()).unwrap_or_default()})
            }
            Some(Reply::Error(error)) => json!({"error": error}),
            None => json!({"silence": true}),
        };
        Ok(structured(&json!({"method": method, "reply": reply})))
    }
}

/// A result of one text.
pub(crate) fn text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

/// A result with structured content, and the same as text for clients that know no better.
fn structured(value: &Value) -> Value {
    json!({"content": [{"type": "text", "text": value.to_string()}], "structuredContent": value})
}

/// Who answers: the process, and what the host told it about itself.
fn whoami(session: &Session) -> Value {
    let told: BTreeMap<String, String> = std::env::vars_os()
        .map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()))
        .filter(|(k, _)| k.starts_with("WHARF_") || k == "REPLICA" || k == "PORT")
        .collect();
    let cwd = std::env::current_dir().ok().map(|p| p.display().to_string());
    json!({"pid": std::process::id(), "ppid": std::os::unix::process::parent_id(), "cwd": cwd, "session": session.id, "env": told})
}

fn need<T: DeserializeOwned>(arguments: &Map<String, Value>, key: &str) -> Result<T, RpcError> {
    maybe(arguments, key)?.ok_or_else(|| invalid(&format!("argument {key:?} is missing")))
}

fn maybe<T: DeserializeOwned>(arguments: &Map<String, Value>, key: &str) -> Result<Option<T>, RpcError> {
    let Some(value) = arguments.get(key) else { return Ok(None) };
    T::deserialize(value).map(Some).map_err(|error| invalid(&format!("argument {key:?}: {error}")))
}

pub(crate) fn invalid(message: &str) -> RpcError {
    RpcError::new(RpcError::INVALID_PARAMS, message)
}
