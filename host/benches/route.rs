//! The path of a call inside the host (resolve, admit, pick, attempt, settle), with nothing outside of it: the plugin is a
//! Rust value that answers at once, so what is measured is the host's own share. `floor` asks the same link directly.
//!
//! `cargo bench -p wharf --bench route`; without `--bench` each case runs once.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use divan::{Bencher, counter::BytesCount};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use wharf::Host;
use wharf::host::Options;
use wharf::route::CallSpec;
use wharf_core::manifest::Manifest;
use wharf_core::meter::Meter;
use wharf_core::tool_error::says_error;
use wharf_core::{Code, Outcome, PluginId};
use wharf_plugin_api::{
    CallError, CallErrorKind, Caller, Cause, CauseKind, Delivery, Full, Hello, Inbox, Launch, Link,
    Notification, Plugin, RawValue, Reply, Request, RpcError, Scope, async_trait,
};

const ANSWER: &str = r#"{"content":[{"type":"text","text":"hello"}]}"#;
const SMALL: usize = 40;

fn main() {
    wharf::init();
    divan::main();
}

#[divan::bench(threads = [1, 2, 4])]
fn call(bencher: Bencher<'_, '_>) {
    let world = World::new(1, 1);
    bencher.with_inputs(|| spec("tool_0", SMALL)).bench_values(|spec| world.call(spec));
}

/// The price of size: the arguments are put into the request and checked once.
#[divan::bench(args = [1 << 10, 64 << 10, 1 << 20])]
fn call_with_arguments(bencher: Bencher<'_, '_>, bytes: usize) {
    let world = World::new(1, 1);
    let bencher = bencher.counter(BytesCount::new(bytes));
    bencher.with_inputs(|| spec("tool_0", bytes)).bench_local_values(|spec| world.call(spec));
}

#[divan::bench(args = [1, 1000])]
fn call_among_tools(bencher: Bencher<'_, '_>, tools: usize) {
    let world = World::new(tools, 1);
    let last = format!("tool_{}", tools - 1);
    bencher.with_inputs(|| spec(&last, SMALL)).bench_local_values(|spec| world.call(spec));
}

#[divan::bench(args = [1, 8, 32])]
fn call_among_replicas(bencher: Bencher<'_, '_>, replicas: u32) {
    let world = World::new(1, replicas);
    bencher.with_inputs(|| spec("tool_0", SMALL)).bench_local_values(|spec| world.call(spec));
}

/// A wrong name must cost next to nothing.
#[divan::bench]
fn unknown_tool(bencher: Bencher<'_, '_>) {
    let world = World::new(1000, 1);
    bencher.with_inputs(|| spec("nobody", SMALL)).bench_local_values(|spec| {
        let refused = world.runtime.block_on(world.host.call(spec)).expect_err("there is no such tool");
        assert_eq!(refused.code, Code::ToolNotFound);
    });
}

/// What it costs to count a call: whether the tool says that it failed, and one more in a bucket.
#[divan::bench(args = [44, 10 << 10, 1 << 20])]
fn counting(bencher: Bencher<'_, '_>, bytes: usize) {
    let (meter, tail) = (Meter::default(), r#""}],"isError":false}"#);
    let answer = format!(r#"{{"content":[{{"type":"text","text":"{}{tail}"#, "x".repeat(bytes - 44));
    let answer = RawValue::from_string(answer).expect("JSON");
    bencher.bench_local(|| {
        let failed = says_error(divan::black_box(&answer));
        let outcome = if failed { Outcome::Failed(Code::ToolError) } else { Outcome::Ok };
        meter.record(outcome, divan::black_box(Duration::from_micros(50)));
    });
}

/// What the measuring itself costs: the link without the host.
#[divan::bench]
fn floor(bencher: Bencher<'_, '_>) {
    let world = World::new(1, 1);
    let link = Answers::new(1);
    let ask = Request { method: "tools/call".into(), params: arguments(SMALL) };
    let scope: Arc<dyn Scope> = Arc::new(Nobody(Caller::new("bench")));
    bencher.with_inputs(|| (ask.clone(), Arc::clone(&scope))).bench_local_values(|(ask, scope)| {
        let reply = world.runtime.block_on(link.request(ask, scope)).expect("the link answers");
        assert!(is_right(&reply));
    });
}

/// A host with one plugin that is ready.
struct World {
    runtime: Runtime,
    host: Host,
    _home: TempDir,
}

impl World {
    fn new(tools: usize, replicas: u32) -> Self {
        let home = TempDir::with_prefix("wharf-bench-").expect("a temporary folder");
        let folder = |name: &str| -> PathBuf {
            let path = home.path().join(name);
            std::fs::create_dir(&path).expect("a fresh folder");
            path
        };
        let options = Options::new(folder("plugins"), folder("state"));
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        let host = runtime.block_on(async {
            let host = Host::start(options).await.expect("the host starts");
            let manifest = Manifest::embedded(id(), Arc::new(InProcess { tools }));
            host.register(Manifest { replicas, ..manifest }).await.expect("the id is free");
            let ready = all_ready(&host, replicas as usize);
            tokio::time::timeout(Duration::from_secs(30), ready).await.expect("the plugin gets ready");
            host
        });
        Self { runtime, host, _home: home }
    }

    fn call(&self, spec: CallSpec) {
        let settled = self.runtime.block_on(self.host.call(spec)).expect("the plugin answers");
        assert!(is_right(&settled.reply));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.runtime.block_on(self.host.shutdown(Duration::from_secs(10)));
    }
}

async fn all_ready(host: &Host, replicas: usize) {
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    let ready = |view: wharf::plugin::PluginView| {
        let instances = view.instances.iter().filter(|instance| instance.state.as_str() == "ready");
        instances.count() == replicas && view.tools > 0
    };
    while !host.plugin("bench").await.is_some_and(ready) {
        tick.tick().await;
    }
}

fn id() -> PluginId {
    PluginId::new("bench").expect("an id")
}

fn spec(tool: &str, bytes: usize) -> CallSpec {
    CallSpec::tool(id(), tool, arguments(bytes), Caller::new("bench"))
}

/// Arguments of about this size.
fn arguments(bytes: usize) -> Option<Arc<RawValue>> {
    let json = format!(r#"{{"message":"{}"}}"#, "x".repeat(bytes.saturating_sub(14)));
    Some(raw(json).into())
}

fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).expect("valid JSON")
}

fn is_right(reply: &Reply) -> bool {
    matches!(reply, Reply::Result(result) if result.get() == ANSWER)
}

struct InProcess {
    tools: usize,
}

#[async_trait]
impl Plugin for InProcess {
    async fn open(&self, _: Launch, inbox: Arc<dyn Inbox>) -> Result<Arc<dyn Link>, Cause> {
        Ok(Arc::new(Answers { inbox: Some(inbox), ..Answers::new(self.tools) }))
    }
}

/// A link that answers at once.
struct Answers {
    hello: Hello,
    list: String,
    inbox: Option<Arc<dyn Inbox>>,
    closed: AtomicBool,
}

impl Answers {
    fn new(tools: usize) -> Self {
        let entry = |n| format!(r#"{{"name":"tool_{n}","inputSchema":{{"type":"object"}}}}"#);
        let entries: Vec<String> = (0..tools).map(entry).collect();
        let hello = Hello {
            dialect: "in-process",
            revision: "2025-11-25".to_owned(),
            server_info: None,
            capabilities: Some(raw(r#"{"tools":{}}"#.to_owned())),
            instructions: None,
        };
        let list = format!(r#"{{"tools":[{}]}}"#, entries.join(","));
        Self { hello, list, inbox: None, closed: AtomicBool::new(false) }
    }
}

#[async_trait]
impl Link for Answers {
    fn hello(&self) -> &Hello {
        &self.hello
    }

    async fn request(&self, request: Request, scope: Arc<dyn Scope>) -> Result<Reply, CallError> {
        scope.sent();
        let answer = match &*request.method {
            "tools/call" => ANSWER.to_owned(),
            "tools/list" => self.list.clone(),
            "ping" => "{}".to_owned(),
            other => return Ok(Reply::Error(RpcError::new(RpcError::METHOD_NOT_FOUND, other))),
        };
        Ok(Reply::Result(raw(answer)))
    }

    fn notify(&self, _: Notification) -> Result<(), Full> {
        Ok(())
    }

    async fn close(&self) {
        if let Some(inbox) = self.inbox.as_ref().filter(|_| !self.closed.swap(true, Ordering::SeqCst)) {
            inbox.closed(Cause::new(CauseKind::Requested, "closed"));
        }
    }
}

/// The scope of a call that nobody waits for.
struct Nobody(Caller);

#[async_trait]
impl Scope for Nobody {
    fn sent(&self) {}

    fn listens(&self) -> bool {
        false
    }

    fn event(&self, _: Notification) {}

    async fn ask(&self, _: Request) -> Result<Reply, CallError> {
        Err(CallError::new(CallErrorKind::Connection, Delivery::NotDelivered, "nobody can be asked"))
    }

    fn caller(&self) -> &Caller {
        &self.0
    }

    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_secs(60)
    }
}
