//! The upstreams: servers of other hands, each with calls whose answers are known.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::clients::{self, ours, peer};
use crate::support::Manifest;
use crate::support::servers::Servers;

/// A server of other hands, as a plugin.
pub(crate) struct Upstream {
    pub(crate) id: &'static str,
    pub(crate) manifest: Manifest,
    pub(crate) calls: Vec<Call>,
}

/// A call and what must come of it.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) tool: &'static str,
    pub(crate) arguments: Value,
    /// The answer holds this.
    pub(crate) text: &'static str,
    /// The answer is a tool's failure.
    pub(crate) failed: bool,
    /// Progress is told from 1 up to this.
    pub(crate) steps: u32,
    /// What the server asks the client meanwhile.
    pub(crate) asks: Option<&'static str>,
}

fn call(tool: &'static str, arguments: Value, text: &'static str) -> Call {
    Call { tool, arguments, text, failed: false, steps: 0, asks: None }
}

/// All of them. `repo` becomes a git repository.
pub(crate) fn all(repo: &Path) -> Vec<Upstream> {
    let (servers, peers, python) = (Servers::node(), clients::peers(), Servers::python());
    let everything = servers.bin("mcp-server-everything");
    let gate = || {
        let over = format!("{} stdio", everything.display());
        Manifest::command(peers.bin("supergateway")).args(["--stdio", &over, "--port", "${port}"])
    };
    let context7 = || Manifest::command(peers.bin("context7-mcp"));
    a_repository(repo);
    vec![
        Upstream {
            id: "everything",
            manifest: Manifest::command(&everything).arg("stdio"),
            calls: of_everything(),
        },
        Upstream {
            id: "gate-http",
            manifest: on_port(
                gate().args(["--outputTransport", "streamableHttp", "--stateful"]),
                "http",
                "mcp",
            ),
            calls: of_everything(),
        },
        Upstream {
            id: "gate-sse",
            manifest: on_port(gate().args(["--outputTransport", "sse"]), "sse", "sse"),
            calls: of_everything(),
        },
        Upstream {
            id: "time",
            manifest: Manifest::command(python.bin("mcp-server-time")).args(["--local-timezone", "UTC"]),
            calls: of_time(),
        },
        Upstream {
            id: "git",
            manifest: Manifest::command(python.bin("mcp-server-git")).arg("--repository").path(repo),
            calls: vec![call("git_log", json!({ "repo_path": repo }), "Message: a commit to be read")],
        },
        Upstream {
            id: "old-rust",
            manifest: Manifest::command(peer("interop-rust-old-server")),
            calls: of_old_rust(),
        },
        Upstream {
            id: "asking",
            manifest: Manifest::command(python.bin("python3")).path(&ours("servers/asking.py")),
            calls: of_asking(),
        },
        Upstream { id: "context7", manifest: context7(), calls: of_context7() },
        Upstream {
            id: "context7-http",
            manifest: on_port(context7().args(["--transport", "http", "--port", "${port}"]), "http", "mcp"),
            calls: of_context7(),
        },
    ]
}

pub(crate) fn of_everything() -> Vec<Call> {
    let long = "trigger-long-running-operation";
    let done = "Long running operation completed. Duration: 0.2 seconds, Steps: 4.";
    let asks = |tool, given, text, asks| Call { asks: Some(asks), ..call(tool, given, text) };
    vec![
        call("echo", json!({ "message": "grüße ☂" }), "Echo: grüße ☂"),
        call("get-sum", json!({ "a": 40, "b": 2 }), "42"),
        Call { steps: 4, ..call(long, json!({ "duration": 0.2, "steps": 4 }), done) },
        asks(
            "trigger-sampling-request",
            json!({ "prompt": "?" }),
            "sampled by interop",
            "sampling/createMessage",
        ),
        asks("trigger-elicitation-request", json!({}), "Name: interop", "elicitation/create"),
    ]
}

pub(crate) fn of_time() -> Vec<Call> {
    let given = json!({ "source_timezone": "Asia/Tokyo", "time": "12:00", "target_timezone": "UTC" });
    vec![call("convert_time", given, "-9.0h")]
}

fn of_old_rust() -> Vec<Call> {
    vec![
        call("add", json!({ "a": 40, "b": 2 }), "42"),
        Call { steps: 3, ..call("count", json!({ "to": 3 }), "counted to 3") },
        Call {
            asks: Some("sampling/createMessage"),
            ..call("ask", json!({ "question": "?" }), "it says: sampled by interop")
        },
    ]
}

fn of_asking() -> Vec<Call> {
    let asks = |tool, text, asks| Call { asks: Some(asks), ..call(tool, json!({}), text) };
    vec![
        Call { steps: 3, ..call("count", json!({ "to": 3 }), "counted to 3") },
        asks("greet", "Hello, interop", "elicitation/create"),
        asks("speak", "it says: sampled by interop", "sampling/createMessage"),
    ]
}

/// Its tools look things up on the net; what they say to a call without arguments they say without it.
fn of_context7() -> Vec<Call> {
    let refused = "Input validation error: Invalid arguments for tool resolve-library-id";
    vec![Call { failed: true, ..call("resolve-library-id", json!({}), refused) }]
}

fn on_port(manifest: Manifest, dialect: &str, path: &str) -> Manifest {
    manifest.set("dialect", dialect).set("url", format!("http://127.0.0.1:${{port}}/{path}"))
}

fn a_repository(at: &Path) {
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=interop", "-c", "user.email=interop@localhost"];
        let output =
            Command::new("git").arg("-C").arg(at).args(identity).args(args).output().expect("git is there");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    std::fs::create_dir_all(at).expect("the scratch folder is writable");
    git(&["init", "-q"]);
    git(&["commit", "-q", "--allow-empty", "-m", "a commit to be read"]);
}
