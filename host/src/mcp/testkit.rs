//! A host with plugins that tests script, of either era: the MCP side sees the real traits and the real router.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use wharf_core::PluginId;
use wharf_core::catalog::Face;
use wharf_core::manifest::Manifest;
use wharf_plugin_api::{
    CallError, Cause, CauseKind, Full, Hello, Inbox, Launch, Link, Notification, Plugin, RawValue, Reply,
    Request, RpcError, Scope, async_trait,
};

use super::{Mcp, Params, Visitor};
use crate::Host;
use crate::host::Options;

pub(crate) fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

pub(crate) fn params(json: &str) -> Option<Arc<RawValue>> {
    Some(raw(json).into())
}

/// The params of a request.
pub(crate) fn of_request(json: &str) -> Option<Params> {
    Some(raw(json).into())
}

pub(crate) fn id(plugin: &str) -> PluginId {
    PluginId::new(plugin).unwrap()
}

/// A plugin of tests. Its tools do what their names say.
pub(crate) struct Actor {
    pub(crate) revision: &'static str,
    /// The names of its tools; a test may change them.
    pub(crate) tools: Mutex<Vec<&'static str>>,
    pub(crate) uris: Vec<&'static str>,
    /// Requests that came, but for lists and pings: method and params.
    pub(crate) got: Mutex<Vec<(String, String)>>,
    /// Calls whose future was dropped before the answer.
    pub(crate) dropped: AtomicUsize,
    /// Rung with each request that came and each that was dropped.
    pub(crate) rung: Notify,
    inbox: Mutex<Option<Arc<dyn Inbox>>>,
}

struct ActorLink {
    hello: Hello,
    actor: Arc<Actor>,
    inbox: Arc<dyn Inbox>,
}

struct Stage(Arc<Actor>);

struct Dropped<'a>(&'a Actor, bool);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.dropped.fetch_add(1, Ordering::SeqCst);
            self.0.rung.notify_one();
        }
    }
}

impl Actor {
    pub(crate) fn new(revision: &'static str, tools: &[&'static str]) -> Arc<Self> {
        Self::with_resources(revision, tools, &[])
    }

    pub(crate) fn with_resources(
        revision: &'static str,
        tools: &[&'static str],
        uris: &[&'static str],
    ) -> Arc<Self> {
        Arc::new(Self {
            revision,
            tools: Mutex::new(tools.to_vec()),
            uris: uris.to_vec(),
            got: Mutex::default(),
            dropped: AtomicUsize::new(0),
            rung: Notify::new(),
            inbox: Mutex::default(),
        })
    }

    /// Says something outside of a call.
    pub(crate) fn say(&self, method: &'static str, json: &str) {
        let inbox = self.inbox.lock().unwrap().clone().unwrap();
        inbox.event(Notification { method: method.into(), params: params(json) });
    }

    /// The params of the requests of a method, in order.
    pub(crate) fn got(&self, method: &str) -> Vec<String> {
        let got = self.got.lock().unwrap();
        got.iter().filter(|(name, _)| name == method).map(|(_, params)| params.clone()).collect()
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let waiting = async {
            while !so(self) {
                self.rung.notified().await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(3600), waiting).await.is_ok(), "never: {what}");
    }
}

#[async_trait]
impl Plugin for Stage {
    async fn open(&self, _: Launch, inbox: Arc<dyn Inbox>) -> Result<Arc<dyn Link>, Cause> {
        let actor = Arc::clone(&self.0);
        *actor.inbox.lock().unwrap() = Some(Arc::clone(&inbox));
        let resources = r#"{"subscribe":true,"listChanged":true}"#;
        let hello = Hello {
            dialect: "actor",
            revision: actor.revision.into(),
            server_info: Some(raw(r#"{"name":"actor","version":"1.0"}"#)),
            capabilities: Some(raw(&format!(
                r#"{{"tools":{{}},"prompts":{{}},"logging":{{}},"completions":{{}},"resources":{resources}}}"#
            ))),
            instructions: None,
        };
        Ok(Arc::new(ActorLink { hello, actor, inbox }))
    }
}

#[async_trait]
impl Link for ActorLink {
    fn hello(&self) -> &Hello {
        &self.hello
    }

    async fn request(&self, request: Request, scope: Arc<dyn Scope>) -> Result<Reply, CallError> {
        let list = |key: &str, entries: Vec<String>| {
            Ok(Reply::Result(raw(&format!(r#"{{"{key}":[{}]}}"#, entries.join(",")))))
        };
        let tools = self.actor.tools.lock().unwrap().clone();
        match &*request.method {
            "tools/list" => list(
                "tools",
                tools
                    .iter()
                    .map(|t| format!(r#"{{"name":"{t}","inputSchema":{{"type":"object"}}}}"#))
                    .collect(),
            ),
            "prompts/list" => list("prompts", vec![r#"{"name":"hi"}"#.into()]),
            "resources/list" => list(
                "resources",
                self.actor.uris.iter().map(|u| format!(r#"{{"uri":"{u}","name":"r"}}"#)).collect(),
            ),
            "resources/templates/list" => list("resourceTemplates", Vec::new()),
            "resources/subscribe"
                if request.params.as_deref().is_some_and(|params| params.get().contains("refused")) =>
            {
                Ok(Reply::Error(RpcError::new(-9, "not this one")))
            }
            "ping" | "resources/subscribe" | "resources/unsubscribe" => Ok(Reply::Result(raw("{}"))),
            "logging/setLevel" => {
                let given =
                    request.params.as_deref().map_or_else(String::new, |params| params.get().to_owned());
                self.actor.got.lock().unwrap().push((request.method.to_string(), given));
                Ok(Reply::Result(raw("{}")))
            }
            _ => {
                let given =
                    request.params.as_deref().map_or_else(String::new, |params| params.get().to_owned());
                self.actor.got.lock().unwrap().push((request.method.to_string(), given));
                self.actor.rung.notify_one();
                scope.sent();
                self.play(&request, &*scope).await
            }
        }
    }

    fn notify(&self, notification: Notification) -> Result<(), Full> {
        self.actor.got.lock().unwrap().push((notification.method.to_string(), String::new()));
        self.actor.rung.notify_one();
        Ok(())
    }

    async fn close(&self) {
        self.inbox.closed(Cause::new(CauseKind::Requested, "closed"));
    }
}

impl ActorLink {
    async fn play(&self, request: &Request, scope: &dyn Scope) -> Result<Reply, CallError> {
        let given = request.params.clone().unwrap_or_else(|| raw("{}").into());
        let name = wharf_core::splice::field(&given, "name")
            .map_or("", |name| name.get())
            .trim_matches('"')
            .to_owned();
        let event = |method: &'static str, json: &str| {
            scope.event(Notification { method: method.into(), params: params(json) });
        };
        let result = match &*name {
            "progress" => {
                for n in ["0", "50.0", "1e2"] {
                    event("notifications/progress", &format!(r#"{{"progressToken":99,"progress":{n}}}"#));
                }
                format!(r#"{{"asked_for":{}}}"#, scope.wants_progress())
            }
            "flood" => {
                flood(scope).await;
                "{}".to_owned()
            }
            "log" => {
                for level in ["debug", "info", "error"] {
                    event("notifications/message", &format!(r#"{{"level":"{level}","data":1.0}}"#));
                }
                "{}".to_owned()
            }
            "ask" => {
                let ask = Request { method: "elicitation/create".into(), params: params(r#"{"message":"?","n":1.0}"#) };
                match scope.ask(ask).await? {
                    Reply::Result(answer) => format!(r#"{{"answer":{}}}"#, answer.get()),
                    Reply::Error(error) => format!(r#"{{"refused":{}}}"#, error.code),
                }
            }
            "ask_and_leave" => {
                let ask = Request::bare("elicitation/create");
                // Waits only until the question is out.
                let asked = tokio::time::timeout(Duration::from_secs(1), scope.ask(ask)).await;
                format!(r#"{{"in_time":{}}}"#, asked.is_ok())
            }
            "hang" => {
                let _dropped = Dropped(&self.actor, true);
                std::future::pending().await
            }
            "fail" => {
                return Ok(Reply::Error(RpcError { data: Some(raw("1.0")), ..RpcError::new(-7, "no") }));
            }
            "input" => match wharf_core::splice::field(&given, "inputResponses") {
                Some(_) => format!(r#"{{"resultType":"complete","got":{}}}"#, given.get()),
                None => r#"{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"message":"?","n":1.0}}},"requestState":"s\u0061"}"#.to_owned(),
            },
            "endless" => r#"{"resultType":"input_required","requestState":"again"}"#.to_owned(),
            "link" => r#"{"content":[{"type":"resource_link","uri":"x://a","n":1.0}]}"#.to_owned(),
            "level" => serde_json::json!({ "level": scope.caller().client.log_level }).to_string(),
            "task" => r#"{"task":{"taskId":"t1","status":"working"}}"#.to_owned(),
            _ => format!(r#"{{"got":{}}}"#, given.get()),
        };
        Ok(Reply::Result(raw(&result)))
    }
}

/// Much progress, one after the other; others run in between.
async fn flood(scope: &dyn Scope) {
    let data = "x".repeat(1000);
    for n in 0..50_000 {
        let json = format!(r#"{{"progressToken":99,"progress":{n},"message":"{data}"}}"#);
        scope.event(Notification { method: "notifications/progress".into(), params: params(&json) });
        if n % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// A host with actors under these ids, all of them listed.
pub(crate) async fn mcp(home: &Path, actors: &[(&str, &Arc<Actor>)]) -> Mcp {
    let options = Options::new(home.join("plugins"), home.join("state"));
    std::fs::create_dir_all(options.plugins.as_ref().unwrap()).unwrap();
    let host = Host::begin(options).await.unwrap();
    for (name, actor) in actors {
        let plugin: Arc<dyn Plugin> = Arc::new(Stage(Arc::clone(actor)));
        host.register(Manifest::embedded(id(name), plugin)).await.unwrap();
    }
    let mut changes = host.catalog_changes();
    let waiting = async {
        while !actors.iter().all(|(name, _)| host.catalog().plugins().contains(*name)) {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(3600), waiting).await.expect("the actors are listed");
    Mcp::new(host)
}

/// A client of all plugins.
pub(crate) fn visitor(principal: &str) -> Visitor {
    Visitor { principal: principal.into(), face: Face::All }
}
