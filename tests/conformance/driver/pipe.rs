//! `wharf stdio` as a process, and a client at its other end: one request after the other, in either era.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::fixture::Era;
use crate::peer::{envelope, greeting};
use crate::support::{Manifest, WHARF, eventually};

/// The bound of one answer; the driver as a whole has its own.
const BOUND: Duration = Duration::from_secs(20);

/// A session with a host of one plugin.
pub(super) struct Pipe {
    home: TempDir,
    host: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    era: Era,
    last: u64,
}

impl Pipe {
    /// Starts the host, waits until its plugin is ready, and shakes hands if the era wants it.
    pub(super) async fn open(url: &str, era: Era) -> Self {
        let home = TempDir::with_prefix("wharf-driver-").expect("a temporary folder");
        let plugins = home.path().join("plugins");
        fs::create_dir(&plugins).expect("a fresh folder");
        let plugin = Manifest::default().set("url", url).set("namespace", "").set("era", "auto");
        fs::write(plugins.join("server.toml"), plugin.text("")).expect("the folder is writable");
        let mut host = Command::new(WHARF)
            .arg("stdio")
            .arg("--plugins")
            .arg(&plugins)
            .arg("--state")
            .arg(home.path().join("state"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary under test starts");
        let input = host.stdin.take().expect("piped");
        let output = BufReader::new(host.stdout.take().expect("piped")).lines();
        let mut pipe = Self { home, host, input, output, era, last: 0 };
        if era == Era::Legacy {
            pipe.request("initialize", greeting(capabilities())).await;
            pipe.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        }
        pipe.ready().await;
        pipe
    }

    /// Sends a request and gives its result; on the way it answers what the host asks.
    pub(super) async fn request(&mut self, method: &str, mut params: Value) -> Value {
        self.last += 1;
        if self.era == Era::Modern {
            params["_meta"] = envelope(capabilities());
        }
        let id = self.last;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await;
        loop {
            let message = self.receive(method).await;
            if message["method"].is_string() {
                if !message["id"].is_null() {
                    let answer = answer(&message);
                    self.send(&answer).await;
                }
            } else if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }

    /// Calls a tool.
    pub(super) async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    /// Ends the session as a client does: by closing its side. The host must end by itself.
    pub(super) async fn close(self) {
        let Self { input, mut host, output, home, .. } = self;
        drop(input);
        let status =
            timeout(BOUND, host.wait()).await.expect("the host ends with its input").expect("it ran");
        assert!(status.success(), "the host ended with {status}");
        drop((output, home));
    }

    /// Waits until the host says that its plugin is ready: some of the suite's servers list nothing to wait for.
    async fn ready(&mut self) {
        let state = self.home.path().join("state");
        let host = &mut self.host;
        eventually("the plugin to be ready", async || {
            if let Some(status) = host.try_wait().expect("a child can be looked at") {
                panic!("the host ended with {status}");
            }
            let mut command = Command::new(WHARF);
            command.args(["status", "server", "--json", "--state"]).arg(&state).stdin(Stdio::null());
            let output = command.kill_on_drop(true).output().await.expect("the command starts");
            let view: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let said = || format!("{view} {}", String::from_utf8_lossy(&output.stderr));
            if view["state"] == "ready" { Ok(()) } else { Err(said()) }
        })
        .await;
    }

    async fn send(&mut self, message: &Value) {
        let line = format!("{message}\n");
        timeout(BOUND, self.input.write_all(line.as_bytes()))
            .await
            .expect("the host reads")
            .expect("it is there");
    }

    async fn receive(&mut self, waiting_for: &str) -> Value {
        let line = timeout(BOUND, self.output.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("no answer to {waiting_for} within {BOUND:?}"));
        let line = line.expect("the output can be read");
        let line = line.unwrap_or_else(|| panic!("the host ended while {waiting_for} was asked"));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"))
    }
}

/// What this client can be asked.
fn capabilities() -> Value {
    json!({ "elicitation": {}, "sampling": {}, "roots": {} })
}

/// The answer to a request of the host.
fn answer(request: &Value) -> Value {
    let result = result_of(request["method"].as_str().expect("a method"), &request["params"]);
    json!({ "jsonrpc": "2.0", "id": request["id"], "result": result })
}

/// What the user of this client would say: every default, and yes to what has none.
pub(super) fn result_of(method: &str, params: &Value) -> Value {
    match method {
        "ping" => json!({}),
        "roots/list" => json!({ "roots": [] }),
        "elicitation/create" => {
            let fields = params["requestedSchema"]["properties"].as_object().into_iter().flatten();
            let filled = fields.map(|(name, field)| {
                (name.clone(), field.get("default").cloned().unwrap_or(Value::Bool(true)))
            });
            json!({ "action": "accept", "content": filled.collect::<Map<_, _>>() })
        }
        other => panic!("the host asks {other}, which no scenario makes it ask"),
    }
}
