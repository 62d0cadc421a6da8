//! What the host tells of itself: events, logs, lists, reload, info.

use serde_json::{Value, json};

use crate::support::procs::kill9;
use crate::support::sse::{Event, Events};
use crate::support::{Manifest, TestHost, mock};

#[tokio::test]
async fn events_are_told_in_order_and_can_be_joined_late() {
    let host = TestHost::with([("mock", mock())]).await;
    host.until_state("mock", "ready").await;
    let from = |id: &str| host.request(reqwest::Method::GET, "/api/v1/events").header("last-event-id", id);
    // A state and the catalog that follows from it are told by different owners, in either order.
    let told = |name: &'static str, part: &'static str| {
        let opening = from("0");
        async move {
            let mut all = Events::open(opening).await;
            all.until(name, |event| event.name == name && event.data.contains(part)).await
        }
    };
    let ready = told("plugin.state", "\"to\":\"ready\"").await;
    assert!(ready.data.contains("\"mock\""), "{ready:?}");
    let catalog = told("catalog.changed", "mock/echo").await;
    let number = |event: &Event| -> u64 { event.id.parse().expect("ids are numbers") };
    let earlier = number(&ready).min(number(&catalog));
    let mut late = Events::open(from(&earlier.to_string())).await;
    let next = late.next().await.expect("the stream goes on");
    assert_eq!(number(&next), earlier + 1, "a late reader misses nothing and gets nothing twice");
    // A call is told to those who listen, and not kept.
    host.call("mock", "echo", json!({ "message": "x" })).await;
    let finished = late.until("the call is told", |event| event.name == "call.finished").await;
    assert!(finished.data.contains("\"echo\""), "{finished:?}");
}

#[tokio::test]
async fn a_manifest_error_and_a_changed_catalog_are_events() {
    let host = TestHost::with([]).await;
    let mut events = host.events("/api/v1/events").await;
    host.put_file("wrong.toml", "commando = 1\n");
    let error = events.until("the error is told", |event| event.name == "manifest.error").await;
    assert!(error.data.contains("wrong"), "{error:?}");
    host.put("right", &mock());
    events.until("the catalog changed", |event| event.name == "catalog.changed").await;
}

#[tokio::test]
async fn a_log_can_be_read_and_followed() {
    let says =
        Manifest::command("sh").arg("-c").arg("echo one line for the log >&2; exec ${wharf} mock").quick();
    let host = TestHost::with([("says", says)]).await;
    let pid = host.pid_of("says").await;
    let log = host.get("/api/v1/plugins/says/logs?tail=50").await;
    assert_eq!(log.status, 200);
    let text = log.text();
    let told = text.lines().filter(|line| line.contains(" stderr one line for the log")).count();
    assert_eq!(told, 1, "{text}");
    let mut feed = host.events("/api/v1/plugins/says/logs?follow=true&tail=0").await;
    kill9(pid);
    feed.until("the next launch's line", |event| event.data.contains("one line for the log")).await;
    host.until_back("says", pid).await;
    host.get("/api/v1/plugins/nobody/logs").await.problem(404, "plugin_not_found");
}

#[tokio::test]
async fn plugins_and_tools_can_be_listed_and_filtered() {
    let host =
        TestHost::with([("one", mock()), ("two", mock().set("tools.include", vec!["echo", "add"]))]).await;
    host.until_state("one", "ready").await;
    host.until_state("two", "ready").await;
    let ids = |list: &Value| -> Vec<String> {
        list["plugins"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|p| p["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&host.get("/api/v1/plugins").await.expect(200)), ["one", "two"]);
    assert_eq!(ids(&host.get("/api/v1/plugins?state=ready").await.expect(200)), ["one", "two"]);
    assert_eq!(ids(&host.get("/api/v1/plugins?state=backoff").await.expect(200)), Vec::<String>::new());
    let tools = host.get("/api/v1/tools?plugin=two").await.expect(200);
    assert_eq!(tools["tools"].as_array().map(Vec::len), Some(2), "{tools}");
    let found = host.get("/api/v1/tools?plugin=one&q=echo").await.expect(200);
    assert!(found.to_string().contains("echo") && !found.to_string().contains("sleep"), "{found}");
    assert_eq!(host.plugin("two").await["tools"], 2);
    host.try_call("two", "count", json!({})).await.problem(404, "tool_not_found");
    let prompts = host.get("/api/v1/prompts?plugin=two").await.expect(200);
    let greet = &prompts["prompts"][0];
    assert_eq!((&greet["name"], &greet["exposed"]), (&json!("greet"), &json!("two__greet")), "{prompts}");
    assert_eq!(prompts["prompts"].as_array().map(Vec::len), Some(1), "{prompts}");
    let listed = host.get("/api/v1/resources").await.expect(200);
    let exposed: Vec<_> = listed["resources"].as_array().unwrap().iter().map(|r| &r["exposed"]).collect();
    assert_eq!(exposed, ["one+mock://readme", "two+mock://readme"], "both list one URI: {listed}");
    host.get("/api/v1/prompts?plugin=nobody").await.problem(404, "plugin_not_found");
    host.get("/api/v1/resources?what=ever").await.problem(400, "bad_request");
}

#[tokio::test]
async fn a_renamed_tool_is_called_by_its_new_name() {
    let host = TestHost::with([("mock", mock().set("tools.rename.echo", "repeat"))]).await;
    host.until_state("mock", "ready").await;
    host.call("mock", "repeat", json!({ "message": "x" })).await;
    host.try_call("mock", "echo", json!({ "message": "x" })).await.problem(404, "tool_not_found");
}

#[tokio::test]
async fn reload_tells_what_it_did() {
    let host = TestHost::with([("stays", mock()), ("goes", mock())]).await;
    host.until_state("stays", "ready").await;
    let quiet = host.post("/api/v1/reload", &json!({})).await.expect(200);
    for kind in ["added", "changed", "removed", "invalid"] {
        assert_eq!(quiet[kind], json!([]), "{quiet}");
    }
    host.remove("goes");
    host.put("comes", &mock());
    host.put_file("wrong.toml", "command = 7\n");
    host.post("/api/v1/reload", &json!({})).await.expect(200);
    let list = host.get("/api/v1/plugins").await.expect(200);
    let ids: Vec<&str> =
        list["plugins"].as_array().unwrap().iter().filter_map(|p| p["id"].as_str()).collect();
    for (id, there) in [("stays", true), ("comes", true), ("wrong", true)] {
        assert_eq!(ids.contains(&id), there, "{id} after a reload: {list}");
    }
}

#[tokio::test]
async fn info_tells_what_runs() {
    let host = TestHost::with([("mock", mock())]).await;
    host.until_state("mock", "ready").await;
    let info = host.get("/api/v1/info").await.expect(200);
    assert_eq!(info["pid"], host.pid(), "{info}");
    assert_eq!(info["plugins"]["ready"], 1, "{info}");
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert!(info["tools"].as_u64().unwrap() > 0 && info["containment"].is_string(), "{info}");
    assert_eq!(info["machine"]["limits"]["open_files"], "rlimit", "{info}");
    assert!(info["machine"]["limits"]["memory"].is_string() && info["machine"]["lacks"].is_array(), "{info}");
    let plugin = host.plugin("mock").await;
    assert_eq!(plugin["in_force"]["containment"], info["containment"], "{plugin}");
    let pids = plugin["in_force"]["limits"]["pids"].is_string();
    let gap = plugin["in_force"]["gaps"].to_string().contains("limits.pids");
    assert!(pids != gap, "held, or told: {plugin}");
    assert_eq!(plugin["in_force"]["planned"], false, "what is in force since its launch: {plugin}");
    assert_eq!(host.command("mock", "stop").await["status"], "done");
    assert_eq!(host.plugin("mock").await["in_force"]["planned"], true, "none of it runs");
}

#[tokio::test]
async fn a_secret_is_in_no_answer_and_no_log() {
    let secret = "s3cret-that-nobody-may-see";
    let tells = Manifest::command("sh").arg("-c").arg("echo \"my key is $KEY\" >&2; exec ${wharf} mock");
    let setup = crate::support::host::Setup::new().env("WHARF_TEST_KEY", secret);
    let host = setup.plugin("tells", &tells.quick().set("env.KEY", "${env:WHARF_TEST_KEY}")).start().await;
    host.until_state("tells", "ready").await;
    let log = host.get("/api/v1/plugins/tells/logs?tail=50").await.text();
    assert!(log.contains("my key is") && !log.contains(secret), "{log}");
    assert!(!host.plugin("tells").await.to_string().contains(secret));
    assert!(!host.said().contains(secret), "{}", host.said());
}
