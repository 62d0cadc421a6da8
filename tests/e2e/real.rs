//! Real MCP servers of npm and PyPI, in every dialect, side by side in one host.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::answer::text_of;
use crate::support::host::Setup;
use crate::support::procs::kill9;
use crate::support::servers::Servers;
use crate::support::sse::Events;
use crate::support::{Manifest, TestHost};

const EVERYTHING: [&str; 3] = ["everything", "everything-sse", "everything-http"];
const WORKING: [&str; 7] =
    ["everything", "everything-sse", "everything-http", "memory", "filesystem", "time", "git"];
const NOTE: &str = "a note, kept on disk";

#[tokio::test]
async fn real_servers_work_side_by_side_whatever_happens_to_one_of_them() {
    let host = all_in_one_host().await;
    let mut pids = Vec::new();
    for id in WORKING {
        pids.push(host.pid_of(id).await);
    }
    the_broken_one_is_quarantined_and_says_why(&host).await;
    everything_answers(&host).await;
    memory_answers(&host).await;
    filesystem_answers(&host).await;
    time_answers(&host).await;
    git_answers(&host).await;
    for id in EVERYTHING {
        progress_streams(&host, id).await;
    }
    for (id, pid) in WORKING.into_iter().zip(pids) {
        assert_eq!(host.pid_of(id).await, pid, "{id} was not to be touched by what happens to another");
        kill9(pid);
        host.until_back(id, pid).await;
    }
    everything_answers(&host).await;
    memory_still_knows(&host).await;
    filesystem_answers(&host).await;
    time_answers(&host).await;
    git_answers(&host).await;
}

// === the host and its plugins ===

async fn all_in_one_host() -> TestHost {
    let (node, python, broken) = (Servers::node(), Servers::python(), Servers::broken());
    let setup = Setup::new();
    let (files, repo) = (setup.scratch("files"), setup.scratch("repo"));
    std::fs::create_dir(&files).unwrap();
    a_repository(&repo);
    let everything = node.bin("mcp-server-everything");
    let memory_file = setup.scratch("memory.json");
    setup
        .plugin("everything", &patient(Manifest::command(&everything).arg("stdio")))
        .plugin("everything-sse", &on_port(&everything, "sse", "sse"))
        .plugin("everything-http", &on_port(&everything, "streamableHttp", "http"))
        .plugin("memory", &{
            let memory = patient(Manifest::command(node.bin("mcp-server-memory")));
            memory.set("env.MEMORY_FILE_PATH", memory_file.to_str().unwrap())
        })
        .plugin("filesystem", &patient(Manifest::command(node.bin("mcp-server-filesystem")).path(&files)))
        .plugin("time", &{
            let time = Manifest::command(python.bin("mcp-server-time"));
            patient(time.args(["--local-timezone", "UTC"]))
        })
        .plugin(
            "git",
            &patient(Manifest::command(python.bin("mcp-server-git")).arg("--repository").path(&repo)),
        )
        .plugin("sqlite", &{
            let sqlite = Manifest::command(broken.bin("mcp-server-sqlite"));
            patient(sqlite.args(["--db-path", "x.db"])).set("restart.quarantine_after", 3)
        })
        .start()
        .await
}

/// Small restart delays, and time to start on a machine that is busy with all of them.
fn patient(manifest: Manifest) -> Manifest {
    manifest.quick().set("health.start_timeout", "60s")
}

fn on_port(program: &Path, argument: &str, dialect: &str) -> Manifest {
    let path = if dialect == "sse" { "/sse" } else { "/mcp" };
    patient(Manifest::command(program).arg(argument))
        .set("dialect", dialect)
        .set("url", format!("http://127.0.0.1:${{port}}{path}"))
        .set("env.PORT", "${port}")
}

fn a_repository(folder: &Path) {
    let git = |args: &[&str]| {
        let output = Command::new("git").arg("-C").arg(folder).args(args).output().expect("git is installed");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    std::fs::create_dir(folder).unwrap();
    git(&["init", "-q", "-b", "main"]);
    std::fs::write(folder.join("tracked"), "one\n").unwrap();
    git(&["add", "tracked"]);
    git(&[
        "-c",
        "user.name=Ada",
        "-c",
        "user.email=ada@example.org",
        "commit",
        "-q",
        "-m",
        "Lay the first stone",
    ]);
    std::fs::write(folder.join("untracked"), "two\n").unwrap();
}

// === one step each ===

async fn the_broken_one_is_quarantined_and_says_why(host: &TestHost) {
    let view = host.until_state("sqlite", "quarantined").await;
    assert_eq!(view["cause"]["code"], "exited", "{view}");
    let exit = &view["instances"][0]["last_exit"];
    assert_eq!(exit["code"], 1, "{view}");
    let tail: Vec<&str> = exit["stderr_tail"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let last = tail.last().copied().unwrap_or_default();
    assert!(last.contains("'Server' object has no attribute 'list_resources'"), "{view}");
    host.try_call("sqlite", "list_tables", json!({})).await.problem(503, "plugin_unavailable");
}

async fn everything_answers(host: &TestHost) {
    for id in EVERYTHING {
        let echo = host.call(id, "echo", json!({ "message": "grüße, \"world\"\n" })).await;
        assert_eq!(text_of(&echo), "Echo: grüße, \"world\"\n", "{id}");
        let sum = host.call(id, "get-sum", json!({ "a": 2, "b": 40 })).await;
        assert_eq!(text_of(&sum), "The sum of 2 and 40 is 42.", "{id}");
    }
}

async fn memory_answers(host: &TestHost) {
    let entity = json!({ "name": "wharf", "entityType": "place", "observations": [NOTE] });
    let made = host.call("memory", "create_entities", json!({ "entities": [entity] })).await;
    assert_eq!(made["structuredContent"]["entities"][0], entity);
    memory_still_knows(host).await;
}

async fn memory_still_knows(host: &TestHost) {
    let graph = host.call("memory", "read_graph", json!({})).await;
    assert_eq!(graph["structuredContent"]["entities"][0]["observations"][0], NOTE, "{graph}");
}

async fn filesystem_answers(host: &TestHost) {
    let file = host.scratch("files/note.txt");
    let path = file.to_str().unwrap();
    host.call("filesystem", "write_file", json!({ "path": path, "content": NOTE })).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), NOTE, "the file is really written");
    let read = host.call("filesystem", "read_file", json!({ "path": path })).await;
    assert_eq!(text_of(&read), NOTE);
    let outside = host.call("filesystem", "read_file", json!({ "path": "/etc/hostname" })).await;
    assert_eq!(outside["isError"], true, "a tool's own error is an answer: {outside}");
}

async fn time_answers(host: &TestHost) {
    let arguments = json!({ "source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo" });
    let noon = host.call("time", "convert_time", arguments).await;
    let converted: Value = serde_json::from_str(text_of(&noon)).unwrap();
    assert!(converted["target"]["datetime"].as_str().unwrap().ends_with("T21:00:00+09:00"), "{converted}");
    assert_eq!(converted["time_difference"], "+9.0h");
}

async fn git_answers(host: &TestHost) {
    let repo = host.scratch("repo");
    let status = host.call("git", "git_status", json!({ "repo_path": repo })).await;
    assert!(text_of(&status).contains("untracked"), "{status}");
    let log = host.call("git", "git_log", json!({ "repo_path": repo })).await;
    assert!(text_of(&log).contains("Lay the first stone"), "{log}");
}

async fn progress_streams(host: &TestHost, id: &str) {
    let path = format!("/api/v1/plugins/{id}/tools/trigger-long-running-operation/call");
    let body = json!({ "arguments": { "duration": 2, "steps": 4 } });
    let events = Events::open(host.request(reqwest::Method::POST, &path).json(&body)).await.all().await;
    let steps: Vec<Value> = events
        .iter()
        .filter(|event| event.name == "progress")
        .map(|event| event.json()["progress"].clone())
        .collect();
    assert_eq!(steps, [1, 2, 3, 4].map(Value::from), "{id}: {events:#?}");
    let last = events.last().expect("a stream ends with its result");
    assert_eq!(last.name, "result", "{id}: {events:#?}");
    let said = last.json();
    assert!(text_of(&said["result"]).starts_with("Long running operation completed"), "{id}: {said}");
}
