//! Several instances of a plugin: targets by priority, and another number of replicas while it runs.

use serde_json::{Value, json};

use crate::support::fake::{Fake, OnCall};
use crate::support::mockproc::{MockProcess, free_port};
use crate::support::procs::is_gone;
use crate::support::{Manifest, TestHost, command::on, eventually, mock};

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/mcp")
}

#[tokio::test]
async fn the_next_target_takes_over_and_gives_back() {
    let ports = [free_port(), free_port(), free_port()];
    let first = MockProcess::listening("http", ports[0], &[]).await;
    let _second = MockProcess::listening("http", ports[1], &[]).await;
    let _never = MockProcess::listening("http", ports[2], &[]).await;
    let manifest = Manifest::targets([(url(ports[2]), 9), (url(ports[0]), 1), (url(ports[1]), 2)])
        .set("health.interval", "200ms")
        .set("breaker.open", "100ms");
    let host = TestHost::with([("far", manifest)]).await;
    let all = |view: &Value| view["instances"].as_array().unwrap().iter().all(|one| one["state"] == "ready");
    host.until("far", "ready everywhere", all).await;
    let home = async || host.call("far", "whoami", json!({})).await["structuredContent"]["pid"].take();
    let preferred = home().await;
    for _ in 0..3 {
        assert_eq!(home().await, preferred);
    }
    drop(first);
    let other = home().await;
    assert_ne!(other, preferred, "the next call is served by the next target");
    for _ in 0..10 {
        assert_eq!(home().await, other, "and by no other");
    }
    let _first = MockProcess::listening("http", ports[0], &[]).await;
    eventually("the better target to be back", async || {
        let now = home().await;
        if now == other { Err(now.to_string()) } else { Ok(()) }
    })
    .await;
    let view = host.plugin("far").await;
    assert!(view["replicas"].is_null(), "each target is an instance: {view}");
    let refused = host.post("/api/v1/plugins/far/scale", &json!({ "replicas": 2 })).await;
    assert!(refused.problem(400, "bad_request")["detail"].as_str().unwrap().contains("[[targets]]"));
}

#[tokio::test]
async fn an_instance_that_is_left_alone_is_seen_to_be() {
    let fake = Fake::start(OnCall::Result("{\"content\":[]}"));
    let manifest = Manifest::url(&fake.url())
        .set("dialect", "http")
        .set("limits.call_timeout", "100ms")
        .set("breaker.consecutive", 2)
        .set("breaker.open", "60s");
    let host = TestHost::with([("far", manifest)]).await;
    let closed = host.until_state("far", "ready").await["instances"][0]["breaker"].take();
    assert_eq!(
        (&closed["state"], &closed["cause"], &closed["opened"]),
        (&json!("closed"), &Value::Null, &json!(0))
    );
    let mut events = host.events("/api/v1/events").await;
    fake.falls_silent(true);
    for _ in 0..2 {
        host.try_call("far", "odd", json!({})).await.problem(504, "deadline");
    }
    let problem = host.try_call("far", "odd", json!({})).await;
    let problem = problem.problem(503, "plugin_unavailable");
    assert!((30_000..=90_000).contains(&problem["retry_after_ms"].as_u64().unwrap()), "{problem}");
    let open = host.plugin("far").await["instances"][0]["breaker"].take();
    assert_eq!((&open["state"], &open["opened"]), (&json!("open"), &json!(1)), "{open}");
    assert!(
        open["cause"].is_string() && open["since"].is_string() && open["next_try_at"].is_string(),
        "{open}"
    );
    let told = events.until("the breaker is told", |event| event.name == "plugin.breaker").await.json();
    assert_eq!((&told["data"]["plugin"], &told["data"]["state"]), (&json!("far"), &json!("open")), "{told}");
    let status = on(&host, &["status", "far"]).await.expect(0);
    assert!(status.stdout.contains("breaker open, opened 1 times, tried again at"), "{status:?}");
    // An operator need not wait for it.
    fake.falls_silent(false);
    on(&host, &["restart", "far"]).await.expect(0);
    host.call("far", "odd", json!({})).await;
}

/// Processes of the instances that are ready.
fn ready(view: &Value) -> Vec<u32> {
    let instances = view["instances"].as_array().unwrap().iter().filter(|one| one["state"] == "ready");
    instances.filter_map(|one| u32::try_from(one["pid"].as_u64()?).ok()).collect()
}

#[tokio::test]
async fn a_plugin_has_as_many_replicas_as_an_operator_wants() {
    let mut host = TestHost::with([("some", mock())]).await;
    let first = host.pid_of("some").await;
    on(&host, &["scale", "some", "3"]).await.expect(0);
    let view = host.plugin("some").await;
    assert_eq!(view["replicas"], json!({ "manifest": 1, "wanted": 3 }));
    let three = ready(&view);
    assert!(three.len() == 3 && three.contains(&first), "{view}");
    assert!(
        on(&host, &["status", "some"]).await.expect(0).stdout.contains("replicas  3, as an operator asked")
    );

    // Those that are too many end their calls first.
    let busy = (0..3).map(|_| host.try_call("some", "sleep", json!({ "ms": 1500 })));
    let fewer = async {
        host.until("some", "busy", |view| {
            view["instances"].as_array().unwrap().iter().all(|one| one["inflight"] == 1)
        })
        .await;
        on(&host, &["scale", "some", "1"]).await.expect(0);
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(busy), fewer);
    answers.iter().for_each(|answer| drop(answer.expect(200)));
    assert_eq!(ready(&host.plugin("some").await), [first]);
    assert!(three.iter().all(|pid| *pid == first || is_gone(*pid)), "done means that they are gone");

    on(&host, &["scale", "some", "2"]).await.expect(0);
    host.reboot().await;
    host.until("some", "ready twice", |view| ready(view).len() == 2).await;
    host.put("some", &mock().set("description", "changed"));
    host.until("some", "changed", |view| view["description"] == "changed").await;
    assert_eq!(host.plugin("some").await["replicas"], json!({ "manifest": 1, "wanted": 2 }), "it is kept");
    host.put("some", &mock().set("replicas", 3));
    host.until("some", "ready three times", |view| ready(view).len() == 3).await;
    assert_eq!(
        host.plugin("some").await["replicas"],
        json!({ "manifest": 3, "wanted": 3 }),
        "the manifest's word"
    );
    let manifest = std::fs::read_to_string(host.plugins().join("some.toml")).unwrap();
    assert!(manifest.contains("replicas = 3"), "the user's file is not written to: {manifest}");
}

#[tokio::test]
async fn what_cannot_be_scaled_is_refused_with_the_reason() {
    let fixed = mock()
        .args(["--dialect", "http", "--port", "${port}"])
        .set("dialect", "http")
        .set("url", "http://127.0.0.1:${port}/mcp")
        .set("port", 65530);
    let host =
        TestHost::with([("fixed", fixed), ("some", mock()), ("off", mock().set("enabled", false))]).await;
    let scale = async |id: &str, body: Value| host.post(&format!("/api/v1/plugins/{id}/scale"), &body).await;
    for (id, body, says) in [
        ("some", json!({ "replicas": 0 }), "wharf stop some"),
        ("some", json!({ "replicas": 65 }), "1 to 64"),
        ("some", json!({ "replicas": -1 }), "replicas"),
        ("some", json!({ "replica": 1 }), "replica"),
        ("some", json!({}), "replicas"),
        ("fixed", json!({ "replicas": 7 }), "65535"),
    ] {
        let problem = scale(id, body.clone()).await.problem(400, "bad_request");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{body}: {problem}");
    }
    scale("nobody", json!({ "replicas": 2 })).await.problem(404, "plugin_not_found");
    // What is switched off has them when it is switched on.
    on(&host, &["scale", "off", "2"]).await.expect(0);
    assert_eq!(host.plugin("off").await["state"], "disabled");
    on(&host, &["enable", "off"]).await.expect(0);
    host.until("off", "ready twice", |view| ready(view).len() == 2).await;
}
