//! A plugin without a process, scripted by tests: the supervisor and the router see the real traits.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, oneshot};
use wharf_core::PluginId;
use wharf_core::manifest::{Command, Dialect, EraChoice, Kind, Manifest, Template};
use wharf_plugin_api::{
    CallError, CallErrorKind, Caller, Cause, CauseKind, Delivery, Full, Hello, Inbox, Launch, Link,
    Notification, Plugin, RawValue, Reply, Request, RpcError, Scope, async_trait,
};

mod acts;

use self::acts::Late;
pub(crate) use self::acts::{Answer, Opening};
use super::instance::Setup;
use super::picking::{Choice, Picked};
use super::{PluginHandle, Services};
use crate::process::{Machine, logs::LogBook};
use crate::tasks::Tasks;

#[derive(Default)]
pub(crate) struct Script {
    /// Per opening, in order; when they are used up, all work.
    pub(crate) openings: Mutex<Vec<Opening>>,
    /// Per call, in order; when they are used up, all are answered.
    pub(crate) answers: Mutex<Vec<Answer>>,
    /// Calls that reached the plugin.
    pub(crate) executions: AtomicUsize,
    /// Calls whose future was dropped before the answer.
    pub(crate) cancelled: AtomicUsize,
    /// Openings so far.
    pub(crate) opened: AtomicU32,
    pub(crate) alive: AtomicUsize,
    pub(crate) most_alive: AtomicUsize,
    /// Held back: a closing link waits for this.
    pub(crate) slow_close: Option<Duration>,
    /// Every opening but the first takes so long.
    pub(crate) slow_open: Duration,
    /// The next connection says that its lists changed before it answers them.
    pub(crate) lists_change_at_once: std::sync::atomic::AtomicBool,
    /// How long the list of tools holds.
    pub(crate) ttl_ms: u64,
    /// The list of tools; else one, `t`.
    pub(crate) tools: Mutex<Option<Value>>,
    /// How often the lists were read.
    pub(crate) listings: AtomicUsize,
    pub(crate) kill: Mutex<Vec<oneshot::Sender<Cause>>>,
    pub(crate) pings_fail: std::sync::atomic::AtomicBool,
    /// Else a legacy one.
    pub(crate) revision: Option<&'static str>,
    pub(crate) capabilities: Option<&'static str>,
    /// What the lists other than that of tools, and other requests that are no calls, are answered with; else `{}`.
    pub(crate) replies: Mutex<HashMap<&'static str, Result<&'static str, i64>>>,
    /// Subscriptions to such resources are refused.
    pub(crate) refused: Mutex<Vec<&'static str>>,
    /// Subscriptions to such resources are never answered.
    pub(crate) unanswered: Mutex<Vec<&'static str>>,
    /// What clients wanted, as it came: method and params, in order.
    pub(crate) wants: Mutex<Vec<(String, Value)>>,
    /// The listens so far, in order.
    pub(crate) listens: Mutex<Vec<Listened>>,
    /// How many of them are open.
    pub(crate) listening: Arc<AtomicUsize>,
    /// No listen is acknowledged.
    pub(crate) silent: std::sync::atomic::AtomicBool,
    /// What was launched, in order.
    pub(crate) launches: Mutex<Vec<Launch>>,
    /// The host's ear for each connection, in order.
    pub(crate) inboxes: Mutex<Vec<Arc<dyn Inbox>>>,
}

/// A listen as the plugin sees it.
pub(crate) struct Listened {
    pub(crate) scope: Arc<dyn Scope>,
    /// Ends it.
    pub(crate) end: Option<oneshot::Sender<()>>,
}

/// Counts a listen that is open.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) struct Fake(pub(crate) Arc<Script>);

struct FakeLink {
    hello: Hello,
    script: Arc<Script>,
    close: Notify,
    gone: tokio::sync::watch::Receiver<bool>,
    dead: std::sync::atomic::AtomicBool,
    inbox: Arc<dyn Inbox>,
}

/// Counts a dropped call, unless it was answered.
struct Dropped<'a>(&'a Script, bool);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Plugin for Fake {
    async fn open(&self, launch: Launch, inbox: Arc<dyn Inbox>) -> Result<Arc<dyn Link>, Cause> {
        let script = Arc::clone(&self.0);
        script.launches.lock().unwrap().push(launch);
        if script.opened.fetch_add(1, Ordering::SeqCst) > 0 {
            tokio::time::sleep(script.slow_open).await;
        }
        let next = {
            let mut all = script.openings.lock().unwrap();
            if all.is_empty() { Opening::Works } else { all.remove(0) }
        };
        match next {
            Opening::Works => {}
            Opening::Fails(kind) => return Err(Cause::new(kind, "scripted")),
            Opening::Hangs | Opening::SpeaksAndHangs => {
                if matches!(next, Opening::SpeaksAndHangs) {
                    inbox.heard();
                }
                inbox.cancelled().await;
                return Err(Cause::new(CauseKind::Requested, "cancelled"));
            }
            Opening::Ignores => std::future::pending().await,
        }
        let alive = script.alive.fetch_add(1, Ordering::SeqCst) + 1;
        script.most_alive.fetch_max(alive, Ordering::SeqCst);
        let (kill, killed) = oneshot::channel();
        script.kill.lock().unwrap().push(kill);
        let (left, gone) = tokio::sync::watch::channel(false);
        let hello = Hello {
            dialect: "fake",
            revision: script.revision.unwrap_or("2025-11-25").into(),
            server_info: None,
            capabilities: script.capabilities.map(raw),
            instructions: None,
        };
        script.inboxes.lock().unwrap().push(Arc::clone(&inbox));
        let link = Arc::new(FakeLink {
            hello,
            script: Arc::clone(&script),
            close: Notify::new(),
            gone,
            dead: false.into(),
            inbox: Arc::clone(&inbox),
        });
        let kept = Arc::clone(&link);
        Tasks::default().spawn(tracing::Span::none(), async move {
            let cause = tokio::select! {
                Ok(cause) = futures_util::TryFutureExt::inspect_ok(killed, |why| inbox.lost(why.clone())) => cause,
                () = kept.close.notified() => Cause::new(CauseKind::Requested, "closed"),
            };
            kept.dead.store(true, Ordering::SeqCst);
            if let Some(time) = script.slow_close {
                tokio::time::sleep(time).await;
            }
            script.alive.fetch_sub(1, Ordering::SeqCst);
            inbox.closed(cause);
            left.send_replace(true);
        });
        Ok(link)
    }
}

#[async_trait]
impl Link for FakeLink {
    fn hello(&self) -> &Hello {
        &self.hello
    }

    async fn request(&self, request: Request, scope: Arc<dyn Scope>) -> Result<Reply, CallError> {
        match &*request.method {
            _ if self.dead.load(Ordering::SeqCst) => Err(CallError::new(
                CallErrorKind::Connection,
                Delivery::NotDelivered,
                "the connection is gone",
            )),
            "tools/list" => {
                self.script.listings.fetch_add(1, Ordering::SeqCst);
                if self.script.lists_change_at_once.swap(false, Ordering::SeqCst) {
                    self.inbox.event(Notification::bare("notifications/tools/list_changed"));
                    // Others run, and see it, before the list is answered.
                    tokio::task::yield_now().await;
                }
                let one = || serde_json::json!([{"name": "t", "inputSchema": {"type": "object"}}]);
                let tools = self.script.tools.lock().unwrap().clone().unwrap_or_else(one);
                let list = serde_json::json!({"tools": tools, "ttlMs": self.script.ttl_ms});
                Ok(Reply::Result(raw(&list.to_string())))
            }
            "ping" if self.script.pings_fail.load(Ordering::SeqCst) => std::future::pending().await,
            "ping" => Ok(Reply::Result(raw("{}"))),
            "subscriptions/listen" => self.listen(&request, scope).await,
            "tools/call" => self.call(&*scope).await,
            method
                if method.ends_with("/list")
                    || method == "logging/setLevel"
                    || method.ends_with("subscribe") =>
            {
                let reply = self.host_asks(method, &request);
                let given = request.params.as_ref().map_or("", |params| params.get());
                let silent = self.script.unanswered.lock().unwrap().iter().any(|uri| given.contains(uri));
                if silent { std::future::pending().await } else { Ok(reply) }
            }
            _ => self.call(&*scope).await,
        }
    }

    fn notify(&self, _: Notification) -> Result<(), Full> {
        Ok(())
    }

    async fn close(&self) {
        self.close.notify_one();
        self.gone.clone().wait_for(|gone| *gone).await.ok();
    }
}

impl FakeLink {
    fn note(&self, request: &Request) -> Value {
        let params =
            request.params.as_ref().map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap());
        self.script.wants.lock().unwrap().push((request.method.to_string(), params.clone()));
        params
    }

    fn refuses(&self, params: &Value) -> bool {
        self.script.refused.lock().unwrap().iter().any(|uri| params.to_string().contains(uri))
    }

    fn host_asks(&self, method: &str, request: &Request) -> Reply {
        if !method.ends_with("/list") && self.refuses(&self.note(request)) {
            return Reply::Error(RpcError::new(-32002, "scripted"));
        }
        match self.script.replies.lock().unwrap().get(method) {
            Some(Err(code)) => Reply::Error(RpcError::new(*code, "scripted")),
            Some(Ok(result)) => Reply::Result(raw(result)),
            None => Reply::Result(raw("{}")),
        }
    }

    async fn listen(&self, request: &Request, scope: Arc<dyn Scope>) -> Result<Reply, CallError> {
        let params = self.note(request);
        if self.refuses(&params) {
            return Ok(Reply::Error(RpcError::new(RpcError::INVALID_PARAMS, "scripted")));
        }
        if let Some(Err(code)) = self.script.replies.lock().unwrap().get("subscriptions/listen") {
            return Ok(Reply::Error(RpcError::new(*code, "scripted")));
        }
        let (end, ended) = oneshot::channel();
        let mark = serde_json::json!({"io.modelcontextprotocol/subscriptionId": 7});
        self.script.listening.fetch_add(1, Ordering::SeqCst);
        let _open = Open(Arc::clone(&self.script.listening));
        if !self.script.silent.load(Ordering::SeqCst) {
            let told = serde_json::json!({"notifications": params["notifications"], "_meta": mark});
            scope.event(notification("notifications/subscriptions/acknowledged", &told));
        }
        self.script.listens.lock().unwrap().push(Listened { scope, end: Some(end) });
        ended.await.ok();
        Ok(Reply::Result(raw("{}")))
    }

    async fn call(&self, scope: &dyn Scope) -> Result<Reply, CallError> {
        let next = {
            let mut all = self.script.answers.lock().unwrap();
            if all.is_empty() { Answer::Ok } else { all.remove(0) }
        };
        let mut dropped = Dropped(&self.script, true);
        let reached = !matches!(
            next,
            Answer::Fails(_, Delivery::Queued | Delivery::NotDelivered) | Answer::HandedOverLate
        );
        if reached {
            scope.sent();
            self.script.executions.fetch_add(1, Ordering::SeqCst);
        }
        let outcome = match next {
            Answer::Fails(kind, delivery) => Err(CallError::new(kind, delivery, "scripted")),
            Answer::Ok => Ok(Reply::Result(raw(r#"{"content":[]}"#))),
            Answer::Is(result) => Ok(Reply::Result(raw(result))),
            Answer::Hangs => std::future::pending().await,
            Answer::HandedOverLate => {
                let _late = Late(scope, &self.script);
                std::future::pending().await
            }
            Answer::Asks => scope.ask(Request::bare("elicitation/create")).await,
            Answer::IsRead => acts::is_read(scope).await,
            Answer::Dies => {
                self.script.crash();
                Err(CallError::new(CallErrorKind::Connection, Delivery::Unknown, "scripted"))
            }
            Answer::AsksAndFails => acts::asks_and_fails(scope).await,
        };
        dropped.1 = false;
        outcome
    }
}

impl Script {
    /// Ends the newest connection, as a crash does.
    pub(crate) fn crash(&self) {
        let kill = self.kill.lock().unwrap().pop().expect("a connection");
        kill.send(Cause::new(CauseKind::Exited, "scripted crash")).ok();
    }
}

pub(crate) fn notification(method: &'static str, params: &Value) -> Notification {
    Notification { method: method.into(), params: Some(raw(&params.to_string()).into()) }
}

pub(crate) fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

/// A manifest with all defaults.
pub(crate) fn manifest(id: &str) -> Manifest {
    let command = Command {
        argv: vec![Template::text("true")],
        cwd: PathBuf::from("/"),
        env: Vec::new(),
        dialect: Dialect::Stdio,
        url: None,
        port: None,
        library: None,
    };
    let plugin = Arc::new(Fake(Arc::default()));
    let embedded = Manifest::embedded(PluginId::new(id).unwrap(), plugin);
    let path = PathBuf::from(format!("{id}.toml"));
    Manifest { path, kind: Kind::Command(command), era: EraChoice::Legacy, ..embedded }
}

/// A plugin under a real supervisor, over the scripted one.
pub(crate) struct Kit {
    pub(crate) script: Arc<Script>,
    pub(crate) services: Arc<Services>,
    pub(crate) plugin: Arc<PluginHandle>,
    _dir: tempfile::TempDir,
}

impl Kit {
    pub(crate) fn new(script: Script, manifest: Manifest) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = Arc::new(script);
        let services = Arc::new(Services::new(Tasks::default(), dir.path().join("data"), Machine::bare()));
        let log = Arc::new(LogBook::new(dir.path().to_owned(), manifest.id.as_str(), Vec::new()));
        let plugin = Arc::new(PluginHandle::new(&services, manifest.id.clone(), manifest.path.clone(), log));
        plugin.configure(&setup(&script, manifest), true, &[]);
        Self { script, services, plugin, _dir: dir }
    }

    /// Waits until the plugin is as `wanted` says, in any virtual time, at most an hour of it.
    pub(crate) async fn until(&self, what: &str, mut wanted: impl FnMut(&PluginHandle) -> bool) {
        let mut changes = self.plugin.changes();
        let waiting = async {
            loop {
                changes.mark_unchanged();
                if wanted(&self.plugin) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(3600), waiting).await;
        assert!(waited.is_ok(), "not {what}: {:?}", self.plugin);
    }

    pub(crate) async fn ready(&self) {
        self.until("ready", |plugin| plugin.state() == wharf_core::lifecycle::State::Ready).await;
    }

    /// An instance for a call of nobody in particular.
    pub(crate) fn pick(&self) -> Option<Picked> {
        self.plugin.pick(&Choice { caller: &Caller::new("test"), tried: &[] })
    }

    pub(crate) fn openings(&self) -> u32 {
        self.script.opened.load(Ordering::SeqCst)
    }
}

pub(crate) fn setup(script: &Arc<Script>, manifest: Manifest) -> Setup {
    Setup::new(Arc::new(manifest), Arc::new(Fake(Arc::clone(script))))
}
