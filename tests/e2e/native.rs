//! A native library as a plugin: served by a worker process, so that whatever it does, the host lives on.

use std::path::PathBuf;

use serde_json::json;

use crate::support::answer::text_of;
use crate::support::{Manifest, TestHost, mock};

/// The example library, which `cargo test --workspace` builds beside the tests.
fn library() -> PathBuf {
    let tests = std::env::current_exe().expect("a test has an executable");
    let profile = tests.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps/TEST");
    let library = profile.join("examples/libnative.so");
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
    let pid = host.pid_of("native").await;
    assert_ne!(pid, host.pid(), "it runs in a process of its own");
    let upper = host.call("native", "upper", json!({ "text": "quiet words" })).await;
    assert_eq!(text_of(&upper), "QUIET WORDS");
}

#[tokio::test]
async fn a_panicking_tool_does_not_end_the_plugin() {
    let host = TestHost::with([("native", Manifest::library(&library())), ("other", mock())]).await;
    let (pid, other) = (host.pid_of("native").await, host.pid_of("other").await);
    let answer = host.try_call("native", "panic", json!({})).await;
    assert!(matches!(answer.status, 200 | 502), "{}", answer.text());
    if answer.status == 200 {
        assert_eq!(answer.json()["result"]["isError"], true, "{}", answer.text());
    }
    let upper = host.call("native", "upper", json!({ "text": "still here" })).await;
    assert_eq!(text_of(&upper), "STILL HERE");
    assert_eq!(host.pid_of("native").await, pid, "the worker lives on");
    assert_eq!(host.pid_of("other").await, other);
}

#[tokio::test]
async fn a_library_that_is_not_there_is_told() {
    let host =
        TestHost::with([("native", Manifest::library(&PathBuf::from("/no/such/lib.so"))), ("other", mock())])
            .await;
    let other = host.pid_of("other").await;
    let view = host.until("native", "told", |view| view["cause"]["code"].is_string()).await;
    assert!(view.to_string().contains("/no/such/lib.so"), "{view}");
    assert_ne!(view["state"], "ready");
    assert_eq!(host.pid_of("other").await, other);
}
