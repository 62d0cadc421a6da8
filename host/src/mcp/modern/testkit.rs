//! A host with scripted plugins of both eras, for the tests of the modern side.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Notify;
use wharf_core::PluginId;
use wharf_core::catalog::Face;
use wharf_core::manifest::Manifest;
use wharf_plugin_api::{
    CallError, Cause, CauseKind, Full, Hello, Id, Inbox, Launch, Link, Notification, Plugin, RawValue, Reply,
    Request, RpcError, Scope, async_trait,
};

use crate::Host;
use crate::host::Options;
use crate::mcp::{AnswerKind, Exchange, Mcp, ModernRequest, Visitor};

/// A plugin that does what its tools' names say.
pub(crate) struct Scripted {
    revision: &'static str,
    capabilities: &'static str,
    /// Calls whose future was dropped before the answer.
    pub(crate) cancelled: AtomicUsize,
    /// Called by a tool of that name.
    pub(crate) reached: Notify,
    /// Lets that tool go on.
    pub(crate) goes_on: Notify,
    inbox: std::sync::Mutex<Option<Arc<dyn Inbox>>>,
    /// What it was asked to tell.
    pub(crate) filters: std::sync::Mutex<Vec<Value>>,
    /// The levels that it was set to.
    pub(crate) levels: std::sync::Mutex<Vec<String>>,
    /// Another tool is listed.
    pub(crate) more: AtomicBool,
    /// Another prompt is.
    pub(crate) more_prompts: AtomicBool,
}

struct Served(Arc<Scripted>);
struct Conversation(Arc<Scripted>, Hello, Arc<dyn Inbox>);
struct Cancelled<'a>(&'a Scripted, bool);

impl Drop for Cancelled<'_> {
    fn drop(&mut self) {
        self.0.cancelled.fetch_add(usize::from(self.1), Ordering::SeqCst);
    }
}

pub(crate) fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn tool(name: &str) -> Value {
    let schema =
        json!({"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
    json!({"name": name, "inputSchema": schema})
}

impl Scripted {
    fn new(revision: &'static str, capabilities: &'static str) -> Arc<Self> {
        let (cancelled, reached, goes_on) = Default::default();
        Arc::new(Self {
            revision,
            capabilities,
            cancelled,
            reached,
            goes_on,
            inbox: Default::default(),
            filters: Default::default(),
            levels: Default::default(),
            more: false.into(),
            more_prompts: false.into(),
        })
    }

    /// Says something outside of calls.
    pub(crate) fn says(&self, method: &'static str, params: &Value) {
        let params = Some(raw(&params.to_string()).into());
        let inbox = self.inbox.lock().unwrap().clone().unwrap();
        inbox.event(Notification { method: method.into(), params });
    }
}

#[async_trait]
impl Plugin for Served {
    async fn open(&self, _: Launch, inbox: Arc<dyn Inbox>) -> Result<Arc<dyn Link>, Cause> {
        *self.0.inbox.lock().unwrap() = Some(Arc::clone(&inbox));
        let hello = Hello {
            dialect: "fake",
            revision: self.0.revision.into(),
            server_info: None,
            capabilities: Some(raw(self.0.capabilities)),
            instructions: Some("Be kind.".into()),
        };
        Ok(Arc::new(Conversation(Arc::clone(&self.0), hello, inbox)))
    }
}

#[async_trait]
impl Link for Conversation {
    fn hello(&self) -> &Hello {
        &self.1
    }

    async fn request(&self, request: Request, scope: Arc<dyn Scope>) -> Result<Reply, CallError> {
        let listed = |json: &Value| Ok(Reply::Result(raw(&json.to_string())));
        match &*request.method {
            "ping" => Ok(Reply::Result(raw("{}"))),
            "subscriptions/listen" => {
                let params: Value = serde_json::from_str(request.params.as_deref().unwrap().get()).unwrap();
                self.0.filters.lock().unwrap().push(params["notifications"].clone());
                let method = "notifications/subscriptions/acknowledged";
                scope.event(Notification { method: method.into(), params: request.params });
                std::future::pending().await
            }
            "logging/setLevel" => {
                let params: Value = serde_json::from_str(request.params.unwrap().get()).unwrap();
                self.0.levels.lock().unwrap().push(params["level"].as_str().unwrap().to_owned());
                Ok(Reply::Result(raw("{}")))
            }
            "tools/list" => {
                let names = ["echo", "ask", "lack", "talk", "hang", "task"];
                let more = self.0.more.load(Ordering::SeqCst).then_some("more");
                listed(&json!({"tools": names.into_iter().chain(more).map(tool).collect::<Vec<_>>()}))
            }
            "prompts/list" => {
                let more = self.0.more_prompts.load(Ordering::SeqCst).then_some("q");
                let names: Vec<_> =
                    ["p"].into_iter().chain(more).map(|name| json!({ "name": name })).collect();
                listed(&json!({ "prompts": names }))
            }
            "resources/list" => listed(&json!({"resources": [{"uri": "a://b", "name": "b"}]})),
            "resources/templates/list" => listed(&json!({"resourceTemplates": []})),
            "resources/read" => Ok(Reply::Error(RpcError::new(-32002, "gone"))),
            "unknown/method" => Ok(Reply::Error(RpcError::new(-32601, "what?"))),
            _ => self.call(request, &*scope).await,
        }
    }

    fn notify(&self, _: Notification) -> Result<(), Full> {
        Ok(())
    }

    async fn close(&self) {
        self.2.closed(Cause::new(CauseKind::Requested, "closed"));
    }
}

impl Conversation {
    async fn call(&self, request: Request, scope: &dyn Scope) -> Result<Reply, CallError> {
        let mut cancelled = Cancelled(&self.0, true);
        scope.sent();
        let params: Value =
            request.params.as_deref().map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap());
        let capabilities: Value = serde_json::from_str(scope.caller().client.capabilities.get()).unwrap();
        let ask = |method: &'static str, params: Value| Request {
            method: method.into(),
            params: Some(raw(&params.to_string()).into()),
        };
        let say = |method: &'static str, params: Value| {
            scope
                .event(Notification { method: method.into(), params: Some(raw(&params.to_string()).into()) });
        };
        let result = match params["name"].as_str() {
            Some("ask") => {
                let question = ask("elicitation/create", json!({"message": "who?", "requestedSchema": {}}));
                match scope.ask(question).await? {
                    Reply::Result(answer) => json!({"content": [], "structuredContent": {"answer": answer}}),
                    Reply::Error(error) => json!({"isError": true, "content": [], "why": error.message}),
                }
            }
            Some("lack") => match scope.ask(ask("sampling/createMessage", json!({}))).await? {
                Reply::Result(_) => json!({"content": []}),
                Reply::Error(_) => json!({"isError": true, "content": []}),
            },
            Some("talk") => {
                say("notifications/progress", json!({"progressToken": 99, "progress": 1}));
                say("notifications/message", json!({"level": "info", "data": "hello"}));
                json!({"content": []})
            }
            Some("hang") => {
                self.0.reached.notify_one();
                self.0.goes_on.notified().await;
                assert_eq!(params["arguments"]["panics"], Value::Null, "as it was told");
                json!({"content": []})
            }
            Some("task") => json!({"resultType": "task", "taskId": "task-1", "status": "working"}),
            _ => json!({
                "content": [],
                "structuredContent": {"method": request.method, "params": params, "capabilities": capabilities},
            }),
        };
        cancelled.1 = false;
        Ok(Reply::Result(raw(&result.to_string())))
    }
}

/// A host with one legacy and one modern plugin.
pub(crate) struct Kit {
    pub(crate) mcp: Mcp,
    pub(crate) host: Host,
    pub(crate) legacy: Arc<Scripted>,
    pub(crate) modern: Arc<Scripted>,
    _home: tempfile::TempDir,
}

impl Kit {
    pub(crate) async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let options = Options::new(home.path().join("plugins"), home.path().join("state"));
        std::fs::create_dir_all(options.plugins.as_ref().unwrap()).unwrap();
        let host = Host::begin(options).await.unwrap();
        let all = r#"{"tools":{},"prompts":{},"resources":{"subscribe":true},"logging":{}}"#;
        let legacy = Scripted::new("2025-11-25", all);
        let modern =
            Scripted::new("2026-07-28", r#"{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#);
        for (id, plugin) in [("old", &legacy), ("new", &modern)] {
            let served = Arc::new(Served(Arc::clone(plugin)));
            host.register(Manifest::embedded(PluginId::new(id).unwrap(), served)).await.unwrap();
        }
        let kit = Self { mcp: Mcp::new(host.clone()), host, legacy, modern, _home: home };
        kit.until(|kit| {
            let listed = kit.host.catalog();
            listed.tool("old", "echo").is_some() && listed.tool("new", "echo").is_some()
        })
        .await;
        kit
    }

    /// Waits until the host's catalog is as it should be.
    pub(crate) async fn until(&self, mut wanted: impl FnMut(&Self) -> bool) {
        let mut changes = self.host.catalog_changes();
        let waiting = async {
            loop {
                changes.mark_unchanged();
                if wanted(self) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("the catalog");
    }

    pub(crate) fn exchange(&self, face: Face, method: &str, params: &Value) -> Exchange {
        self.with_headers(face, method, params, None)
    }

    pub(crate) fn with_headers(
        &self,
        face: Face,
        method: &str,
        params: &Value,
        param_headers: Option<Vec<(String, String)>>,
    ) -> Exchange {
        let request = ModernRequest {
            id: Id::number(7),
            method: method.to_owned().into(),
            params: Some(raw(&params.to_string()).into()),
            param_headers,
            envelope: None,
        };
        self.mcp.modern(Visitor { principal: "me".into(), face }, request)
    }

    pub(crate) async fn ask(&self, face: Face, method: &str, params: &Value) -> (Value, AnswerKind) {
        answered(self.exchange(face, method, params)).await
    }
}

pub(crate) async fn answered(exchange: Exchange) -> (Value, AnswerKind) {
    let answered = tokio::time::timeout(Duration::from_secs(30), exchange.answer).await.expect("an answer");
    let message = answered.message.unwrap();
    assert!(!message.contains(&b'\n'));
    let message: Value = serde_json::from_slice(&message).unwrap();
    assert_eq!(message["id"], 7);
    (message, answered.kind)
}

pub(crate) fn read(message: &Bytes) -> Value {
    serde_json::from_slice(message).unwrap()
}

/// The face of one plugin.
pub(crate) fn only(plugin: &str) -> Face {
    Face::Plugin(PluginId::new(plugin).unwrap())
}

/// The envelope of a client with these capabilities.
pub(crate) fn envelope(capabilities: &Value) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    })
}

/// The params of a call.
pub(crate) fn call(name: &str, capabilities: &Value) -> Value {
    json!({"name": name, "_meta": envelope(capabilities)})
}
