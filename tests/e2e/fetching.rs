//! Commands that fetch what they run, as `npx` does: here a script of that name that takes its time.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::json;

use crate::support::answer::text_of;
use crate::support::host::Setup;
use crate::support::{Manifest, WHARF};

/// A launcher that does `first`, and then becomes the mock.
fn npx(setup: &Setup, first: &str) -> PathBuf {
    let path = setup.scratch("npx");
    fs::write(&path, format!("#!/bin/sh\n{first}\nexec {WHARF} mock\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn a_fetch_has_a_budget_of_its_own() {
    let setup = Setup::new();
    // Far longer than a start may take.
    let launcher = npx(&setup, "echo fetching >&2; sleep 3");
    let manifest =
        Manifest::command(&launcher).arg("-y").arg("pkg").quick().set("health.start_timeout", "1s");
    let host = setup.plugin("fetched", &manifest).start().await;
    let view = host.until("fetched", "on its way", |view| view["instances"][0]["pid"].is_u64()).await;
    assert_eq!(view["state"], "preparing", "{view}");
    let view = host.until_state("fetched", "ready").await;
    assert_eq!((&view["restarts"], &view["instances"][0]["generation"]), (&json!(0), &json!(1)), "{view}");
    assert_eq!(text_of(&host.call("fetched", "echo", json!({ "message": "here" })).await), "here");
}

#[tokio::test]
async fn a_fetch_that_fails_is_told_as_such_and_tried_again() {
    let setup = Setup::new();
    let counter = setup.scratch("tries");
    let script = format!(
        "echo x >> {0}; [ $(wc -l < {0}) -gt 8 ] || {{ echo no network >&2; exit 1; }}",
        counter.display()
    );
    let launcher = npx(&setup, &script);
    let manifest = Manifest::command(&launcher).arg("pkg").quick();
    let host = setup.plugin("fetched", &manifest).start().await;
    let view = host.until_cause("fetched", "prepare_failed").await;
    assert_ne!(view["state"], "quarantined", "{view}");
    let view = host
        .until("fetched", "ready or given up", |view| {
            assert_ne!(view["state"], "quarantined", "{view}");
            view["state"] == "ready"
        })
        .await;
    assert_eq!(view["instances"][0]["last_exit"]["stderr_tail"][0], "no network", "{view}");
    assert_eq!(fs::read_to_string(counter).unwrap().lines().count(), 9);
}
