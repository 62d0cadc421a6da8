//! The two peers in conversation, with nobody in between: what fails here is no host's fault. (Cargo builds the programs
//! of this package for the tests of others because this test is there.)

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const CLIENT: &str = env!("CARGO_BIN_EXE_interop-rust-client");
const OLD_SERVER: &str = env!("CARGO_BIN_EXE_interop-rust-old-server");

#[test]
fn the_old_server_dies_of_a_modern_probe() {
    let task = json!({ "to": { "command": [OLD_SERVER] }, "calls": [] });
    let output = Command::new(CLIENT).arg(task.to_string()).output().expect("the client starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success(),
        "rmcp's own client probes in place and finds a dead server: {output:?}"
    );
    assert!(said.contains("ExpectedInitializeRequest"), "{said}");
}

#[test]
fn the_old_server_answers_who_begins_with_initialize() {
    let lines = [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
            "name": "count", "arguments": { "to": 3 }, "_meta": { "progressToken": "mine" } } }),
    ];
    let answers = talk(&lines);
    let progress: Vec<_> = answers.iter().filter(|line| line["params"]["progressToken"] == "mine").collect();
    assert_eq!(progress.len(), 3, "{answers:?}");
    let last = answers.iter().find(|line| line["id"] == 2).expect("an answer");
    assert_eq!(last["result"]["content"][0]["text"], "counted to 3");
}

/// Writes lines to the old server, reads until the answer with id 2 is there, and ends it.
fn talk(lines: &[Value]) -> Vec<Value> {
    use std::io::{BufRead as _, BufReader, Write as _};
    let mut server = Command::new(OLD_SERVER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let mut stdin = server.stdin.take().expect("piped");
    for line in lines {
        writeln!(stdin, "{line}").expect("the server reads");
    }
    let mut answers = Vec::new();
    for line in BufReader::new(server.stdout.take().expect("piped")).lines() {
        answers.push(serde_json::from_str::<Value>(&line.expect("UTF-8")).expect("JSON"));
        if answers.iter().any(|line| line["id"] == 2) {
            break;
        }
    }
    drop(stdin);
    let Output { status, .. } = server.wait_with_output().expect("the server ends");
    assert!(status.success(), "{status}");
    answers
}
