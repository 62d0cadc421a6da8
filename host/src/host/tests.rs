//! A plugin of the embedding program beside those of the folder.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::json;
use serde_json::value::RawValue;
use wharf_core::catalog::Face;
use wharf_core::lifecycle::State;
use wharf_core::manifest::{Isolation, Manifest};
use wharf_core::{Code, PluginId};
use wharf_plugin_api::{Caller, Delivery, Plugin, Reply};

use super::{Host, Options, RegisterError};
use crate::dialect::testkit::fake;
use crate::mcp::Mcp;
use crate::plugin::testkit::{Answer, Fake, Script};
use crate::route::CallSpec;

async fn host(home: &Path) -> Host {
    let options = Options::new(home.join("plugins"), home.join("state"));
    std::fs::create_dir_all(options.plugins.as_ref().unwrap()).unwrap();
    Host::begin(options).await.unwrap()
}

fn manifest() -> Manifest {
    let plugin: Arc<dyn Plugin> = Arc::new(Fake(Arc::new(Script::default())));
    Manifest::embedded(PluginId::new("mine").unwrap(), plugin)
}

fn call() -> CallSpec {
    let arguments = RawValue::from_string("{}".into()).unwrap().into();
    CallSpec::tool(PluginId::new("mine").unwrap(), "t", Some(arguments), Caller::new("test"))
}

/// Waits until the plugin's tools stand in the catalog.
async fn listed(host: &Host) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let listing = async {
        while host.catalog().tool("mine", "t").is_none() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), listing).await.expect("the tools are listed");
}

#[tokio::test]
async fn who_waits_for_its_turn_goes_on_where_an_answer_is_read() {
    let home = tempfile::tempdir().unwrap();
    let host = host(home.path()).await;
    let script =
        Arc::new(Script { answers: Mutex::new(vec![Answer::IsRead, Answer::Ok]), ..Script::default() });
    let plugin: Arc<dyn Plugin> = Arc::new(Fake(Arc::clone(&script)));
    let mut narrow = Manifest::embedded(PluginId::new("mine").unwrap(), plugin);
    narrow.limits.concurrency = 1;
    host.register(narrow).await.unwrap();
    listed(&host).await;
    let mut read = host.call(call());
    assert!(futures_util::poll!(&mut read).is_pending());
    let mut waits = host.call(call());
    assert!(futures_util::poll!(&mut waits).is_pending());
    assert_eq!(script.executions.load(Ordering::SeqCst), 1);
    assert!(futures_util::poll!(&mut read).is_pending());
    assert_eq!(script.executions.load(Ordering::SeqCst), 2, "its task did nothing for it");
    assert!(matches!(waits.now_or_never(), Some(Ok(_))));
    host.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_registered_plugin_is_called_and_survives_readings_of_the_folder() {
    let home = tempfile::tempdir().unwrap();
    let host = host(home.path()).await;
    host.register(manifest()).await.unwrap();
    listed(&host).await;
    let settled = host.call(call()).await.unwrap();
    assert!(matches!(settled.reply, Reply::Result(result) if result.get() == r#"{"content":[]}"#));

    std::fs::write(home.path().join("plugins/mine.toml"), "command = \"true\"\n").unwrap();
    host.reload().await.unwrap();
    let view = host.plugin("mine").await.unwrap();
    assert_eq!((view.kind, view.state, view.restarts), (Some("embedded"), State::Ready, 0));
    assert_eq!(
        view.instances.first().map(|instance| instance.generation.0),
        Some(1),
        "it was not started anew"
    );

    std::fs::write(home.path().join("plugins/mine.toml"), "command = 5\n").unwrap();
    host.reload().await.unwrap();
    assert!(
        host.plugin("mine").await.unwrap().manifest.problems.is_empty(),
        "a wrong file is not its manifest"
    );
    assert!(host.call(call()).await.is_ok());
    assert_eq!(host.shutdown(Duration::from_secs(10)).await, 0);
}

/// F65, with a disk that does not even say that it is full.
#[tokio::test]
async fn a_journal_whose_disk_breaks_is_shown_and_refuses_durable_calls_until_it_is_written_again() {
    let home = tempfile::tempdir().unwrap();
    let host = host(home.path()).await;
    host.register(manifest()).await.unwrap();
    listed(&host).await;
    let durable = || CallSpec { durable: true, ..call() };
    host.call(durable()).await.unwrap();
    host.0.services.journal.breaks();
    let refused = host.call(durable()).await.unwrap_err();
    assert_eq!((refused.code, refused.delivery), (Code::NotDurable, Some(Delivery::Queued)), "{refused}");
    assert!(refused.retry_after.is_some() && refused.detail.contains("os error 5"), "{refused}");
    host.call(call()).await.unwrap();
    assert_eq!(host.info().journal.state, "failing");
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let well = async {
        while host.info().journal.state != "ok" {
            tick.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), well).await.expect("it is written again");
    host.call(durable()).await.unwrap();
    assert_eq!(host.shutdown(Duration::from_secs(10)).await, 0);
}

#[tokio::test]
async fn what_calls_were_led_to_is_let_go_when_it_is_replaced() {
    let home = tempfile::tempdir().unwrap();
    let host = host(home.path()).await;
    host.register(manifest()).await.unwrap();
    listed(&host).await;
    let lately = || Arc::downgrade(&host.resolve(call()).unwrap().to);
    let kept = lately();
    assert!(kept.upgrade().is_some() && kept.ptr_eq(&lately()));
    std::fs::write(home.path().join("plugins/more.toml"), "command = \"true\"\nenabled = false\n").unwrap();
    host.reload().await.unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let let_go = async {
        while kept.upgrade().is_some() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), let_go).await.expect("the plugins are others");
    let kept = lately();
    assert_eq!(host.shutdown(Duration::from_secs(10)).await, 0);
    assert!(kept.upgrade().is_none(), "none at all");
}

#[tokio::test]
async fn a_plugin_that_is_taken_away_says_why_before_its_instances_know() {
    let home = tempfile::tempdir().unwrap();
    let host = host(home.path()).await;
    host.register(manifest()).await.unwrap();
    listed(&host).await;
    let plugin = Arc::clone(host.0.table.load().get("mine").unwrap());
    plugin.retire("it is not needed");
    let view = super::views::plugin(&host.0, &plugin);
    assert_eq!(view.state, State::Stopping);
    assert_eq!(view.cause.unwrap().detail, "it is not needed");
    assert_eq!(host.shutdown(Duration::from_secs(10)).await, 0);
}

#[tokio::test]
async fn what_two_plugins_name_alike_is_told_at_both() {
    let home = tempfile::tempdir().unwrap();
    let host = host(home.path()).await;
    let mut events = host.events().subscribe(None).live;
    for id in ["mine", "yours"] {
        let id = PluginId::new(id).unwrap();
        let of = Manifest { id, namespace: "ours".to_owned(), ..manifest() };
        host.register(of).await.unwrap();
    }
    let told = async {
        loop {
            let event = events.recv().await.unwrap();
            if event.kind == "catalog.changed" && event.data["collisions"] != serde_json::json!([]) {
                return event.data["collisions"].clone();
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(30), told).await.expect("it is told");
    let collision = serde_json::json!([{"kind": "tool", "key": "ours__t", "plugins": ["mine", "yours"]}]);
    assert_eq!(told, collision);
    for id in ["mine", "yours"] {
        let view = serde_json::to_value(host.plugin(id).await.unwrap()).unwrap();
        assert_eq!(view["collisions"], collision);
    }
    assert!(host.call(call()).await.is_ok(), "by its plugin and name it is called all the same");
    assert_eq!(host.shutdown(Duration::from_secs(10)).await, 0);
}

#[tokio::test]
async fn a_session_that_leaves_takes_its_instance_along() {
    let home = tempfile::tempdir().unwrap();
    let host = host(home.path()).await;
    host.register(Manifest { isolation: Isolation::Session, ..manifest() }).await.unwrap();
    listed(&host).await;
    let (asks, _asked) = tokio::sync::mpsc::channel(1);
    let joined = host.join("a-long-session-id".into(), Arc::default(), asks);
    let caller = Caller { session: Some("a-long-session-id".into()), ..Caller::new("test") };
    let settled = host.call(CallSpec { caller, ..call() }).await.unwrap();
    assert_eq!(settled.instance.0, 1000);
    let sessions = async || -> Vec<Option<String>> {
        let view = host.plugin("mine").await.unwrap();
        view.instances.into_iter().map(|instance| instance.session).collect()
    };
    assert_eq!(sessions().await, [None, Some("a-long-s".to_owned())]);
    drop(joined);
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let leaving = async {
        while sessions().await.len() > 1 {
            tick.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), leaving).await.expect("it is gone");
    assert_eq!(host.shutdown(Duration::from_secs(10)).await, 0);
}

#[tokio::test]
async fn a_group_is_there_as_soon_as_a_manifest_names_it_and_as_long_as_one_does() {
    let home = tempfile::tempdir().unwrap();
    let host = host(home.path()).await;
    let mcp = Mcp::new(host.clone());
    let group = |name: &str| Face::Group(name.into());
    let path = home.path().join("plugins/slow.toml");
    std::fs::write(&path, "command = \"/nowhere/at/all\"\ngroups = [\"g\"]\n").unwrap();
    host.reload().await.unwrap();
    assert!(host.catalog().shelf(&group("g")).is_none(), "nothing of it is listed");
    assert!(mcp.has(&group("g")) && !mcp.has(&group("other")));
    std::fs::remove_file(&path).unwrap();
    host.reload().await.unwrap();
    assert!(!mcp.has(&group("g")));
    assert_eq!(host.shutdown(Duration::from_secs(10)).await, 0);
}

#[tokio::test]
async fn a_second_host_knows_how_the_servers_of_the_first_speak() {
    let server = fake::Fake::start(fake::handler(|seen: fake::Seen| async move {
        let id = &seen.body["id"];
        match seen.rpc() {
            "initialize" => {
                fake::json_result(id, json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}))
            }
            "tools/list" => fake::json_result(id, json!({"tools": []})),
            "ping" => fake::json_result(id, json!({})),
            _ if !id.is_null() => fake::status(404, ""),
            "" => fake::status(405, ""),
            _ => fake::status(202, ""),
        }
    }))
    .await;
    let home = tempfile::tempdir().unwrap();
    for asked in [1, 1] {
        let first = host(home.path()).await;
        let manifest = format!("url = \"{}/mcp?key=secret\"\n", server.base);
        std::fs::write(home.path().join("plugins/far.toml"), manifest).unwrap();
        first.reload().await.unwrap();
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        let starting = async {
            while first.plugin("far").await.unwrap().state != State::Ready {
                tick.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), starting).await.expect("it is ready");
        assert_eq!(first.shutdown(Duration::from_secs(10)).await, 0);
        assert_eq!(server.count(&http::Method::POST, "server/discover"), asked);
    }
    assert_eq!(server.count(&http::Method::POST, "initialize"), 2);
    let kept = std::fs::read_to_string(home.path().join("state/eras.json")).unwrap();
    assert!(kept.contains("legacy") && !kept.contains("secret"), "{kept}");
}

#[tokio::test]
async fn an_id_is_given_once_and_never_after_the_end() {
    let home = tempfile::tempdir().unwrap();
    let host = host(home.path()).await;
    host.register(manifest()).await.unwrap();
    let taken = RegisterError::Taken(PluginId::new("mine").unwrap());
    assert_eq!(host.register(manifest()).await, Err(taken));
    host.shutdown(Duration::from_secs(10)).await;
    assert_eq!(host.register(manifest()).await, Err(RegisterError::Ended));
}
