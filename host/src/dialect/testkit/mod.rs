//! What the tests of all dialects share: an ear for the host's side, a caller, and options.

pub(crate) mod fake;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wharf_core::manifest::EraChoice;
use wharf_plugin_api::{
    CallError, CallErrorKind, Caller, Cause, Client, Delivery, Inbox, Link, Notification, Reply, Request,
    RpcError, Scope, Stage, async_trait,
};

use super::Options;
use crate::process::logs::LogBook;
use crate::tasks::Tasks;

/// No test waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn options() -> Options {
    Options {
        label: "test".into(),
        max_message: 4 << 20,
        handshake_deadline: Instant::now() + Duration::from_secs(10),
        journal: crate::journal::Journal::default(),
        tasks: Tasks::default(),
        log: Arc::new(LogBook::new(std::env::temp_dir(), "test", Vec::new())),
        instance: 0,
        generation: 1,
        client: None,
        era: EraChoice::Legacy,
        patient: false,
        cut: CancellationToken::new(),
    }
}

/// Waits, bounded, until `future` is done.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Notifications in the order they came, to wait on.
#[derive(Clone, Debug)]
pub(crate) struct Heard(watch::Sender<Vec<(String, Value)>>);

impl Default for Heard {
    fn default() -> Self {
        Self(watch::channel(Vec::new()).0)
    }
}

impl Heard {
    fn add(&self, notification: &Notification) {
        let params = notification.params.as_deref().map_or(Value::Null, value);
        self.0.send_modify(|all| all.push((notification.method.to_string(), params)));
    }

    pub(crate) fn all(&self) -> Vec<(String, Value)> {
        self.0.borrow().clone()
    }

    pub(crate) async fn at_least(&self, n: usize) -> Vec<(String, Value)> {
        within(self.0.subscribe().wait_for(|all| all.len() >= n)).await.expect("open").clone()
    }
}

/// The host's ear: hears all, and answers what it is asked once it is let.
#[derive(Clone, Debug)]
pub(crate) struct Ear {
    pub(crate) heard: Heard,
    pub(crate) asked: watch::Sender<Vec<String>>,
    pub(crate) may_answer: Arc<Semaphore>,
}

impl Default for Ear {
    fn default() -> Self {
        Self {
            heard: Heard::default(),
            asked: watch::channel(Vec::new()).0,
            may_answer: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        }
    }
}

#[async_trait]
impl Inbox for Ear {
    fn stage(&self, _stage: Stage) {}

    fn event(&self, notification: Notification) {
        self.heard.add(&notification);
    }

    async fn ask(&self, request: Request) -> Result<Reply, CallError> {
        self.asked.send_modify(|all| all.push(request.method.to_string()));
        drop(self.may_answer.acquire().await);
        let data = RawValue::from_string("{\n\"x\":\r\n1}".to_owned()).expect("JSON");
        let error = RpcError::new(RpcError::METHOD_NOT_FOUND, "not here");
        Ok(Reply::Error(RpcError { data: Some(data), ..error }))
    }

    async fn cancelled(&self) {
        std::future::pending().await
    }

    fn closed(&self, _cause: Cause) {}
}

/// A caller of one request.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) heard: Heard,
    pub(crate) sent: Notify,
    pub(crate) times_sent: Mutex<u32>,
    listens: bool,
    caller: Caller,
}

impl Call {
    pub(crate) fn new(listens: bool) -> Arc<Self> {
        Self::of(listens, Client::default())
    }

    /// A call of this principal.
    pub(crate) fn by(principal: &str, listens: bool) -> Arc<Self> {
        Arc::new(Self::with(listens, Caller::new(principal)))
    }

    /// A call of a client.
    pub(crate) fn of(listens: bool, client: Client) -> Arc<Self> {
        Arc::new(Self::with(listens, Caller { client: Arc::new(client), ..Caller::new("tester") }))
    }

    fn with(listens: bool, caller: Caller) -> Self {
        Self { heard: Heard::default(), sent: Notify::new(), times_sent: Mutex::new(0), listens, caller }
    }

    pub(crate) fn times_sent(&self) -> u32 {
        *self.times_sent.lock().expect("lock")
    }
}

#[async_trait]
impl Scope for Call {
    fn sent(&self) {
        *self.times_sent.lock().expect("lock") += 1;
        self.sent.notify_one();
    }

    fn listens(&self) -> bool {
        self.listens
    }

    fn event(&self, notification: Notification) {
        self.heard.add(&notification);
    }

    async fn ask(&self, request: Request) -> Result<Reply, CallError> {
        match request.method.as_ref() {
            "elicitation/create" => {
                Ok(Reply::Result(RawValue::from_string(r#"{"action":"accept"}"#.to_owned()).expect("JSON")))
            }
            "roots/list" => {
                let roots = r#"{"roots":[{"uri":"file:///mine"}]}"#;
                Ok(Reply::Result(RawValue::from_string(roots.to_owned()).expect("JSON")))
            }
            _ => Err(CallError::new(CallErrorKind::Protocol, Delivery::NotDelivered, "not asked")),
        }
    }

    fn caller(&self) -> &Caller {
        &self.caller
    }

    fn deadline(&self) -> std::time::Instant {
        std::time::Instant::now() + Duration::from_secs(600)
    }
}

pub(crate) fn value(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).expect("JSON")
}

pub(crate) fn request(method: &str, params: &str) -> Request {
    let params = RawValue::from_string(params.to_owned()).expect("JSON");
    Request { method: method.to_owned().into(), params: Some(params.into()) }
}

/// Calls in a task of its own.
pub(crate) fn spawn_call(
    link: &Arc<dyn Link>,
    call: &Arc<Call>,
    request: Request,
) -> tokio::task::JoinHandle<Result<Reply, CallError>> {
    let (link, scope) = (Arc::clone(link), Arc::clone(call) as Arc<dyn Scope>);
    Tasks::default().spawn(tracing::Span::none(), async move { link.request(request, scope).await })
}

/// The result of an answered call.
pub(crate) fn result(reply: Result<Reply, CallError>) -> Value {
    match reply {
        Ok(Reply::Result(result)) => value(&result),
        other => panic!("no result: {other:?}"),
    }
}
