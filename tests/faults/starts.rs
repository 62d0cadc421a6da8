//! Starts that fail, and starts that take their time.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Case, Kind};
use crate::support::{Manifest, TestHost, mock};

/// A file that can be executed as far as its mode tells.
fn program(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What is asserted of each kind of F01: fatal with the path and a remedy, not tried again.
async fn is_fatal(case: &mut Case, host: &TestHost, path: &Path, says: &[&str]) {
    let begun = Instant::now();
    let view = host.until_state("bad", "fatal").await;
    case.time("told after", begun.elapsed());
    let detail = view["cause"]["detail"].as_str().unwrap();
    for said in says.iter().copied().chain(path.to_str()) {
        assert!(detail.contains(said), "{said} is not told: {view}");
    }
    assert!(view["next_attempt_at"].is_null(), "nothing heals it, so nothing is tried: {view}");
    let answer = host.try_call("bad", "echo", json!({ "message": "x" })).await;
    answer.problem(503, "plugin_unavailable");
    assert_eq!(answer.header("retry-after"), "", "time does not heal it");
}

/// Fault: the program is missing. Expected: fatal, with the path; no retry; once the file is there and the plugin is
/// asked to start (or its manifest is touched), it starts.
#[tokio::test]
async fn f01_a_program_that_is_missing() {
    let mut case = Case::begin("F01", Kind::Process, "the program is missing, then there");
    let host = TestHost::with([("well", mock())]).await;
    case.under(&host).await;
    let path = host.scratch("server");
    host.put("bad", &Manifest::command(&path).quick());
    is_fatal(&mut case, &host, &path, &["no file"]).await;
    program(&path, format!("#!/bin/sh\nexec {} mock\n", crate::support::WHARF).as_bytes());
    let begun = Instant::now();
    host.command("bad", "start").await;
    host.until_state("bad", "ready").await;
    case.time("ready after the start", begun.elapsed());
    is_well(&host).await;
}

/// Fault: the file may not be executed. Expected: fatal, with the path and the reason; no retry.
#[tokio::test]
async fn f01_a_program_that_may_not_be_executed() {
    let mut case = Case::begin("F01", Kind::Process, "the program may not be executed");
    let host = TestHost::with([("well", mock())]).await;
    case.under(&host).await;
    let path = host.scratch("server");
    fs::write(&path, "#!/bin/sh\n").unwrap();
    host.put("bad", &Manifest::command(&path).quick());
    is_fatal(&mut case, &host, &path, &["may not be executed"]).await;
    is_well(&host).await;
}

/// Fault: the program is of another architecture. Expected: fatal, with the path and the kernel's error.
#[tokio::test]
async fn f01_a_program_of_another_architecture() {
    let mut case = Case::begin("F01", Kind::Process, "the program is of another architecture");
    let host = TestHost::with([("well", mock())]).await;
    case.under(&host).await;
    let path = host.scratch("server");
    // The head of a 64 bit big-endian ELF for SPARC V9.
    let head = [0x7f, b'E', b'L', b'F', 2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 43, 0, 0, 0, 1];
    program(&path, &[&head[..], &[0; 232]].concat());
    host.put("bad", &Manifest::command(&path).quick());
    is_fatal(&mut case, &host, &path, &["ENOEXEC"]).await;
    is_well(&host).await;
}

/// The other plugin answers.
async fn is_well(host: &TestHost) {
    let echo: Value = host.call("well", "echo", json!({ "message": "well" })).await;
    assert_eq!(crate::support::answer::text_of(&echo), "well");
}
