//! The command line: every command, its output for people and for programs, and its exit codes.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::{on, wharf};
use crate::support::procs::signal;
use crate::support::{PATIENCE, TestHost, WHARF, mock};

const USAGE: i32 = 2;
const NOT_RUNNING: i32 = 3;
const NOT_FOUND: i32 = 4;
const TOOL_ERROR: i32 = 5;
const TIMEOUT: i32 = 6;
const INVALID: i32 = 7;
const NOT_AUTHORISED: i32 = 8;
const INTERRUPTED: i32 = 130;

async fn host() -> TestHost {
    let host = TestHost::with([("mock", mock())]).await;
    host.until_state("mock", "ready").await;
    host
}

#[tokio::test]
async fn ps_and_status_show_plugins() {
    let host = host().await;
    let table = on(&host, &["ps"]).await.expect(0);
    assert!(table.stdout.contains("mock") && table.stdout.contains("ready"), "{table:?}");
    assert!(!table.stdout.contains('\u{1b}'), "NO_COLOR is honoured");
    let list = on(&host, &["ps", "--json"]).await.expect(0).json();
    let first = &list["plugins"][0];
    assert_eq!((&first["id"], &first["state"]), (&json!("mock"), &json!("ready")));
    let status = on(&host, &["status", "mock"]).await.expect(0);
    assert!(status.stdout.contains("ready"), "{status:?}");
    assert_eq!(on(&host, &["status", "mock", "--json"]).await.expect(0).json()["id"], "mock");
}

#[tokio::test]
async fn tools_are_listed_and_described() {
    let host = host().await;
    let all = on(&host, &["tools"]).await.expect(0);
    assert!(all.stdout.contains("echo") && all.stdout.contains("sleep"), "{all:?}");
    let some = on(&host, &["tools", "mock", "-q", "echo"]).await.expect(0);
    assert!(some.stdout.contains("echo") && !some.stdout.contains("sleep"), "{some:?}");
    assert!(on(&host, &["tools", "--json"]).await.expect(0).json().to_string().contains("echo"));
    let one = on(&host, &["describe", "mock/add"]).await.expect(0);
    assert!(one.stdout.contains('a') && one.stdout.contains("number"), "{one:?}");
}

#[tokio::test]
async fn a_call_prints_the_answer() {
    let host = host().await;
    let said = on(&host, &["call", "mock/echo", "message=hello there"]).await.expect(0);
    assert_eq!(said.stdout.trim_end(), "hello there");
    let sum = on(&host, &["call", "mock/add", "--json", "{\"a\": 2, \"b\": 40}"]).await.expect(0);
    assert!(sum.stdout.contains("42"), "{sum:?}");
    let typed = on(&host, &["call", "mock/add", "a=2", "b=40"]).await.expect(0);
    assert!(typed.stdout.contains("42"), "numbers are told by the tool's schema: {typed:?}");
}

#[tokio::test]
async fn each_failure_has_its_exit_code_and_says_why_on_stderr() {
    let host = host().await;
    let cases: [(&[&str], i32); 8] = [
        (&["status", "nobody"], NOT_FOUND),
        (&["logs", "nobody"], NOT_FOUND),
        (&["stop", "nobody"], NOT_FOUND),
        (&["describe", "mock/nothing"], NOT_FOUND),
        (&["call", "mock/nothing"], NOT_FOUND),
        (&["call", "mock/fail", "message=no luck"], TOOL_ERROR),
        (&["call", "mock/sleep", "ms=60000", "--timeout", "300ms"], TIMEOUT),
        (&["call", "mock/echo", "not-a-pair"], USAGE),
    ];
    for (args, code) in cases {
        let outcome = on(&host, args).await.expect(code);
        assert!(!outcome.stderr.is_empty(), "{args:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn usage_errors_are_told_apart() {
    wharf(&["no-such-command"], &[]).await.expect(USAGE);
    wharf(&["ps", "--no-such-flag"], &[]).await.expect(USAGE);
    let help = wharf(&["--help"], &[]).await.expect(0);
    for command in ["up", "ps", "status", "logs", "call", "tools", "describe", "validate", "schema", "mock"] {
        assert!(help.stdout.contains(command), "{command} is not in the help: {}", help.stdout);
    }
    assert!(wharf(&["--version"], &[]).await.expect(0).stdout.contains(env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn without_a_host_the_commands_say_so() {
    let empty = TempDir::new().unwrap();
    let state = empty.path().to_str().unwrap();
    for command in ["ps", "tools"] {
        let outcome = wharf(&[command, "--state", state], &[]).await.expect(NOT_RUNNING);
        assert!(outcome.stderr.contains("wharf up"), "it says how to start one: {outcome:?}");
    }
}

#[tokio::test]
async fn a_host_is_found_by_url_and_token() {
    let host = host().await;
    let by_env =
        wharf(&["ps", "--json"], &[("WHARF_URL", &host.base), ("WHARF_TOKEN", &host.token)]).await.expect(0);
    assert_eq!(by_env.json()["plugins"][0]["id"], "mock");
    wharf(&["ps", "--url", &host.base, "--token", &host.token], &[]).await.expect(0);
    wharf(&["ps", "--url", &host.base, "--token", "wrong"], &[]).await.expect(NOT_AUTHORISED);
    wharf(&["ps", "--url", "http://127.0.0.1:1", "--token", "x"], &[]).await.expect(NOT_RUNNING);
}

#[tokio::test]
async fn operators_commands_change_the_state() {
    let host = host().await;
    for (command, state) in [
        ("stop", "stopped"),
        ("start", "ready"),
        ("restart", "ready"),
        ("drain", "stopped"),
        ("start", "ready"),
        ("disable", "disabled"),
        ("enable", "ready"),
    ] {
        on(&host, &[command, "mock"]).await.expect(0);
        host.until_state("mock", state).await;
    }
}

#[tokio::test]
async fn logs_show_what_a_plugin_wrote() {
    let says =
        crate::support::Manifest::command("sh").arg("-c").arg("echo a line of mine >&2; exec ${wharf} mock");
    let host = TestHost::with([("says", says), ("silent", mock())]).await;
    host.until_state("says", "ready").await;
    let log = on(&host, &["logs", "says", "--tail", "50"]).await.expect(0);
    assert!(log.stdout.contains("a line of mine"), "{log:?}");
    assert!(
        on(&host, &["logs", "--tail", "50"]).await.expect(0).stdout.contains("says"),
        "all plugins, each by name"
    );
}

#[tokio::test]
async fn validate_tells_all_problems_with_their_places() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = write("good.toml", "command = \"sh\"\n");
    let bad = write("bad.toml", "comand = \"sh\"\nreplicas = \"two\"\n");
    wharf(&["validate", &good], &[]).await.expect(0);
    let told = wharf(&["validate", &good, &bad], &[]).await.expect(INVALID);
    let said = told.stdout + &told.stderr;
    for part in ["bad.toml:1:1", "comand", "did you mean", "command", "replicas"] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    let absent = wharf(&["validate", folder.path().join("absent.toml").to_str().unwrap()], &[]).await;
    let absent = absent.expect(INVALID);
    assert!(absent.stderr.contains("absent.toml"), "{absent:?}");
}

#[tokio::test]
async fn every_json_output_is_json() {
    let host = host().await;
    for args in [
        &["ps"][..],
        &["status", "mock"],
        &["tools"],
        &["tools", "mock", "-q", "echo"],
        &["tools", "-q", "nothing is named so"],
        &["describe", "mock/add"],
    ] {
        let args = [args, &["--json"]].concat();
        assert!(on(&host, &args).await.expect(0).json().is_object(), "{args:?}");
    }
    let raw = on(&host, &["call", "mock/echo", "message=x", "--raw"]).await.expect(0).json();
    assert_eq!(raw["result"]["content"][0]["text"], "x");
}

#[tokio::test]
async fn the_schema_of_manifests_is_printed() {
    let schema: Value = wharf(&["schema", "plugin"], &[]).await.expect(0).json();
    for key in ["command", "url", "library", "dialect", "restart", "limits"] {
        assert!(schema["properties"][key].is_object(), "{key} is not in the schema");
    }
}

#[tokio::test]
async fn a_second_host_on_the_same_state_is_refused() {
    let host = host().await;
    let pid = host.pid_of("mock").await;
    let (plugins, state) = (host.plugins(), host.state());
    let args = ["up", "--listen", "127.0.0.1:0", "--plugins", plugins.to_str().unwrap(), "--state"];
    let mut args = args.to_vec();
    args.push(state.to_str().unwrap());
    let second = wharf(&args, &[]).await.expect(1);
    assert!(second.stderr.contains(state.to_str().unwrap()), "{second:?}");
    assert_eq!(host.pid_of("mock").await, pid, "{WHARF} at work is not disturbed");
}

#[tokio::test]
async fn a_followed_log_ends_with_an_interrupt() {
    use std::process::Stdio;

    use tokio::io::{AsyncBufReadExt as _, BufReader};

    let says =
        crate::support::Manifest::command("sh").arg("-c").arg("echo a line of mine >&2; exec ${wharf} mock");
    let host = TestHost::with([("says", says)]).await;
    host.until_state("says", "ready").await;
    let mut follow = tokio::process::Command::new(WHARF)
        .args(["logs", "says", "-f", "--state"])
        .arg(host.state())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("a line comes").unwrap();
        if line.expect("the log goes on").contains("a line of mine") {
            break;
        }
    }
    signal(follow.id().expect("it still runs"), Signal::SIGINT);
    let status = tokio::time::timeout(PATIENCE, follow.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(INTERRUPTED));
}
