//! A native library as a plugin: served by a worker process, so that whatever it does, the host lives on.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{Manifest, TestHost, built, mock};

/// The example library, which `cargo test --workspace` builds beside the tests.
fn library() -> PathBuf {
    let library = built().join("examples/libnative.so");
    assert!(
        library.exists(),
        "{library:?} is missing: run `cargo test --workspace`, which builds the examples too"
    );
    library
}

#[tokio::test]
async fn a_native_library_serves_its_tools() {
    let host = TestHost::with([("native", Manifest::library(&library()))]).await;
    let view = host.until_state("native", "ready").await;
    assert_eq!(view["kind"], "native", "{view}");
    assert_ne!(host.pid_of("native").await, host.pid(), "it runs in a process of its own");
    let sum = host.call("native", "sum", json!({ "numbers": [1.5, 2.5, 38] })).await;
    assert_eq!(sum["structuredContent"]["sum"], 42.0, "{sum}");
}

#[tokio::test]
async fn a_library_that_aborts_ends_its_worker_only() {
    let host = TestHost::with([("native", Manifest::library(&library())), ("other", mock())]).await;
    let (pid, other) = (host.pid_of("native").await, host.pid_of("other").await);
    host.try_call("native", "abort", json!({})).await.problem(502, "outcome_unknown");
    host.until_back("native", pid).await;
    let exit = &host.plugin("native").await["instances"][0]["last_exit"];
    assert_eq!(exit["signal"], 6, "SIGABRT: {exit}");
    host.call("native", "sum", json!({ "numbers": [1] })).await;
    assert_eq!(host.pid_of("other").await, other);
}

#[tokio::test]
async fn a_library_that_is_not_there_is_told() {
    let host =
        TestHost::with([("native", Manifest::library(Path::new("/no/such/lib.so"))), ("other", mock())])
            .await;
    let other = host.pid_of("other").await;
    let view = host.until("native", "told", |view| view["cause"]["code"].is_string()).await;
    assert!(view.to_string().contains("/no/such/lib.so"), "{view}");
    assert_ne!(view["state"], "ready");
    assert_eq!(host.pid_of("other").await, other);
}
