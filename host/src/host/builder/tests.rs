//! What a program brings along is taken, or the start fails and says why.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use wharf_core::PluginId;
use wharf_core::lifecycle::State;
use wharf_plugin_api::{Caller, Cause, Inbox, Launch, Link, Plugin, Reply, async_trait};

use crate::Host;
use crate::dialect::testkit::fake;
use crate::host::{Options, RegisterError};
use crate::plugin::testkit::{Fake, Script};
use crate::route::CallSpec;

/// It opens what it was put around, and makes nothing ready.
struct Around(Arc<dyn Plugin>);

#[async_trait]
impl Plugin for Around {
    async fn open(&self, launch: Launch, host: Arc<dyn Inbox>) -> Result<Arc<dyn Link>, Cause> {
        self.0.open(launch, host).await
    }
}

async fn host(home: &Path) -> Host {
    Host::begin(Options::without_folder(home.join("state"))).await.unwrap()
}

/// A file beside the host's folders.
fn file(home: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = home.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

async fn until(host: &Host, id: &str, state: State) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let reached = async {
        while host.state_of(id) != Some(state) {
            tick.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reached).await.expect("the state is reached");
}

#[tokio::test]
async fn a_wrapped_plugin_runs_by_its_manifest_and_survives_a_reload_without_any_folder() {
    let server = fake::Fake::start(fake::handler(|seen: fake::Seen| async move {
        let id = &seen.body["id"];
        match seen.rpc() {
            "initialize" => {
                fake::json_result(id, json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}))
            }
            "tools/list" => {
                fake::json_result(id, json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}))
            }
            "tools/call" => fake::json_result(id, json!({"content": []})),
            _ if !id.is_null() => fake::status(404, ""),
            _ => fake::status(202, ""),
        }
    }))
    .await;
    let home = tempfile::tempdir().unwrap();
    let host = host(home.path()).await;
    let text = format!("url = \"{}/mcp\"\ndialect = \"http\"\nnamespace = \"ours\"\n", server.base);
    host.wrap(file(home.path(), "far.toml", &text), Around).await.unwrap();
    until(&host, "far", State::Ready).await;
    let view = host.plugin("far").await.unwrap();
    assert_eq!((view.kind, view.namespace.as_deref()), (Some("remote"), Some("ours")));
    host.reload().await.unwrap();
    let again = host.plugin("far").await.unwrap();
    assert_eq!(again.instances[0].generation, view.instances[0].generation, "it is not started anew");
    let spec = CallSpec::tool(PluginId::new("far").unwrap(), "t", None, Caller::new("test"));
    assert!(matches!(host.call(spec).await.unwrap().reply, Reply::Result(_)));
    assert!(host.info().plugins_dir.is_none());
    assert_eq!(host.shutdown(Duration::from_secs(10)).await, 0);
}

#[tokio::test]
async fn what_a_wrapped_plugin_needs_is_made_ready_though_its_wrapper_does_not() {
    let home = tempfile::tempdir().unwrap();
    let host = host(home.path()).await;
    host.wrap(file(home.path(), "gone.toml", "command = \"/nowhere/at/all\"\n"), Around).await.unwrap();
    until(&host, "gone", State::Fatal).await;
    assert!(home.path().join("state/data/gone").is_dir(), "the folder for its data is there");
    assert_eq!(host.shutdown(Duration::from_secs(10)).await, 0);
}

#[tokio::test]
async fn a_manifest_that_cannot_be_wrapped_is_refused_with_its_problems() {
    let home = tempfile::tempdir().unwrap();
    let host = host(home.path()).await;
    let two = r#"{"mcpServers": {"a": {"command": "true"}, "b": {"command": "true"}}}"#;
    for (name, text, says) in [
        ("wrong.toml", "command = 5\ncwdd = \".\"\n", "cwdd"),
        ("two.json", two, "does not declare one plugin"),
        ("NoId.toml", "command = \"true\"\n", "id"),
    ] {
        match host.wrap(file(home.path(), name, text), Around).await {
            Err(RegisterError::Manifest(why)) => assert!(why.contains(says), "{name}: {why}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    let missing = host.wrap(home.path().join("missing.toml"), Around).await.unwrap_err();
    assert!(missing.to_string().contains("does not exist"), "{missing}");
    host.wrap(file(home.path(), "p.toml", "command = \"true\"\n"), Around).await.unwrap();
    let taken = host.wrap(home.path().join("p.toml"), Around).await;
    assert_eq!(taken, Err(RegisterError::Taken(PluginId::new("p").unwrap())));
    assert_eq!(host.shutdown(Duration::from_secs(10)).await, 0);
}

#[tokio::test]
async fn what_was_built_is_registered_in_order() {
    let home = tempfile::tempdir().unwrap();
    let plugin = || Fake(Arc::new(Script::default()));
    let builder = Host::builder(home.path().join("state")).plugin("one", plugin()).plugin("one", plugin());
    let host = host(home.path()).await;
    assert!(matches!(host.take(builder.own).await, Err(RegisterError::Taken(_))));
    let named = Host::builder(home.path()).plugin("Not an id", plugin());
    assert!(matches!(host.take(named.own).await, Err(RegisterError::Id(_))));
    until(&host, "one", State::Ready).await;
    assert_eq!(host.shutdown(Duration::from_secs(10)).await, 0);
}
