//! A program that is replaced on the disk, and what the command line shows of an upgrade. What a new version can do wrong is
//! in the fault suite.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;

use crate::support::host::Setup;
use crate::support::{Manifest, TestHost, WHARF, command};

/// Puts a program that is a version of the mock in the place of another, in one step.
fn install(program: &Path, version: &str, more: &str) {
    let new = program.with_extension("new");
    fs::write(&new, format!("#!/bin/sh\nVERSION={version} exec {WHARF} mock {more}\n")).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, program).unwrap();
}

async fn version(host: &TestHost) -> String {
    let env = host.call("tool", "env", json!({ "name": "VERSION" })).await;
    env["structuredContent"]["value"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_replaced_program_is_launched_beside_the_old_one_and_a_broken_one_rolled_back() {
    let setup = Setup::new();
    let program = setup.scratch("tool");
    install(&program, "1", "");
    let manifest = Manifest::command(&program).quick().set("health.start_timeout", "5s");
    let host = setup.plugin("tool", &manifest).start().await;
    let first = host.pid_of("tool").await;
    assert_eq!(version(&host).await, "1");
    install(&program, "2", "");
    let view = host.until("tool", "on trial", |view| view["upgrade"]["state"] == "trial").await;
    assert_eq!((&view["upgrade"]["from"], &view["upgrade"]["to"]), (&json!(1), &json!(2)), "{view}");
    assert_eq!(view["instances"].as_array().map(Vec::len), Some(2), "the old one is warm: {view}");
    assert_eq!(version(&host).await, "2");
    let second = host.pid_of("tool").await;
    assert_ne!(second, first);
    let status = command::on(&host, &["status", "tool"]).await.expect(0).stdout;
    assert!(status.contains("revision 2 serves since"), "{status}");
    // It is looked at again once it has been left alone for a while.
    install(&program, "3", "--crash-at-start 3");
    let view = host.until("tool", "rolled back", |view| view["upgrade"]["state"] == "rolled_back").await;
    assert_eq!(view["upgrade"]["to"], 3, "{view}");
    assert_eq!((host.pid_of("tool").await, version(&host).await), (second, "2".to_owned()));
    let status = command::on(&host, &["status", "tool"]).await.expect(0).stdout;
    assert!(status.contains("revision 3 was rolled back") && status.contains("exited"), "{status}");
}
