//! Sessions: who finds them, what they hear, and how they end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use wharf_core::catalog::Face;
use wharf_plugin_api::{Id, Reply, RpcError};

use super::{Feed, IDLE, Session};
use crate::mcp::testkit::{Actor, id, mcp, of_request, raw, visitor};
use crate::mcp::{Mcp, ModernRequest, Visitor};

const LEGACY: &str = "2025-11-25";
const HELLO: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"c","version":"1"}}"#;

async fn open(mcp: &Mcp, visitor: Visitor) -> Arc<Session> {
    let (session, _) = mcp.initialize(visitor, of_request(HELLO)).await.unwrap();
    session.notification("notifications/initialized", None);
    session
}

async fn heard(feed: &mut Feed) -> Value {
    let message =
        tokio::time::timeout(Duration::from_secs(60), feed.next()).await.expect("it is told something");
    serde_json::from_slice(&message.unwrap()).unwrap()
}

async fn hears_nothing(feed: &mut Feed) {
    let next = tokio::time::timeout(Duration::from_secs(60), feed.next()).await;
    assert!(next.is_err(), "{next:?}");
}

/// Sends a request and gives its answer.
async fn ask(session: &Arc<Session>, method: &str, json: &str) -> Value {
    let exchange = session.request(Id::number(1), method.to_owned(), of_request(json));
    serde_json::from_slice(&exchange.answer.await.message.unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_we_know_is_kept_and_any_other_becomes_our_newest() {
    let home = tempfile::tempdir().unwrap();
    let mcp = mcp(home.path(), &[]).await;
    for (asked, spoken) in
        [("2024-11-05", "2024-11-05"), (LEGACY, LEGACY), ("2026-07-28", LEGACY), ("x", LEGACY)]
    {
        let hello = json!({ "protocolVersion": asked, "capabilities": {} }).to_string();
        let (session, reply) = mcp.initialize(visitor("ann"), of_request(&hello)).await.unwrap();
        assert_eq!(session.revision(), spoken);
        assert!(session.id().len() == 32 && session.id().bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Reply::Result(result) = reply else { panic!("an error") };
        let result: Value = serde_json::from_str(result.get()).unwrap();
        assert_eq!(
            (&result["protocolVersion"], &result["serverInfo"]["name"]),
            (&spoken.into(), &"wharf".into())
        );
        assert_eq!(result["capabilities"]["tools"], json!({ "listChanged": true }));
    }
    for bad in [r#"{}"#, r#"{"protocolVersion":1}"#, r#"{"protocolVersion":"2025-11-25","capabilities":[]}"#]
    {
        assert_eq!(mcp.initialize(visitor("ann"), of_request(bad)).await.unwrap_err().code, -32602, "{bad}");
    }
    assert_eq!(mcp.initialize(visitor("ann"), None).await.unwrap_err().code, -32602);
}

#[tokio::test(start_paused = true)]
async fn the_face_of_one_plugin_speaks_in_its_name_and_one_of_none_is_said_to() {
    let home = tempfile::tempdir().unwrap();
    let mcp = mcp(home.path(), &[("p", &Actor::new(LEGACY, &["t"]))]).await;
    let face = |name| Visitor { principal: "ann".into(), face: Face::Plugin(id(name)) };
    let (_, reply) = mcp.initialize(face("p"), of_request(HELLO)).await.unwrap();
    let Reply::Result(result) = reply else { panic!("an error") };
    assert!(result.get().contains(r#""serverInfo":{"name":"actor","version":"1.0"}"#), "{}", result.get());
    assert_eq!(mcp.initialize(face("q"), of_request(HELLO)).await.unwrap_err().code, -32602);
    assert!(mcp.has(&Face::Plugin(id("p"))) && !mcp.has(&Face::Plugin(id("q"))));
}

#[tokio::test(start_paused = true)]
async fn a_session_is_its_visitors_alone() {
    let home = tempfile::tempdir().unwrap();
    let mcp = mcp(home.path(), &[]).await;
    let session = open(&mcp, visitor("ann")).await;
    assert!(mcp.session(session.id(), &visitor("ann")).is_some());
    assert!(mcp.session(session.id(), &visitor("bob")).is_none());
    let elsewhere = Visitor { face: Face::Group("g".into()), ..visitor("ann") };
    assert!(mcp.session(session.id(), &elsewhere).is_none());
    assert!(mcp.session("unknown", &visitor("ann")).is_none());
    session.end();
    assert!(mcp.session(session.id(), &visitor("ann")).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_it_is_idle_but_not_while_it_listens() {
    let home = tempfile::tempdir().unwrap();
    let mcp = mcp(home.path(), &[]).await;
    let (idle, listening) = (open(&mcp, visitor("ann")).await, open(&mcp, visitor("ann")).await);
    let feed = listening.feed();
    tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
    idle.notification("notifications/initialized", None);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!idle.ended().is_cancelled(), "it was heard of in time");
    tokio::time::sleep(IDLE).await;
    assert!(idle.ended().is_cancelled() && !listening.ended().is_cancelled());
    assert_eq!(mcp.sessions.count(), 1);
    drop(feed);
    tokio::time::sleep(2 * IDLE).await;
    assert!(listening.ended().is_cancelled());
    assert_eq!(mcp.sessions.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn sessions_end_with_the_host() {
    let home = tempfile::tempdir().unwrap();
    let mcp = mcp(home.path(), &[]).await;
    let session = open(&mcp, visitor("ann")).await;
    assert_eq!(mcp.host.shutdown(Duration::from_secs(10)).await, 0);
    assert!(session.ended().is_cancelled());
    assert_eq!(session.feed().next().await, None);
}

#[tokio::test(start_paused = true)]
async fn who_takes_the_feed_ends_that_of_another_and_finds_what_was_kept() {
    let home = tempfile::tempdir().unwrap();
    let actor = Actor::new(LEGACY, &["a"]);
    let mcp = mcp(home.path(), &[("p", &actor)]).await;
    let session = open(&mcp, visitor("ann")).await;
    let mut first = session.feed();
    hears_nothing(&mut first).await;
    let mut second = session.feed();
    assert_eq!(first.next().await, None);
    drop(second);
    actor.tools.lock().unwrap().push("b");
    actor.say("notifications/tools/list_changed", "{}");
    second = session.feed();
    assert_eq!(heard(&mut second).await["method"], "notifications/tools/list_changed");
    session.end();
    assert_eq!(second.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_lists_is_told_once_and_only_of_its_kind() {
    let home = tempfile::tempdir().unwrap();
    let (p, q) = (Actor::new(LEGACY, &["a"]), Actor::new(LEGACY, &["a"]));
    let mcp = mcp(home.path(), &[("p", &p), ("q", &q)]).await;
    let all = open(&mcp, visitor("ann")).await;
    let only_q = open(&mcp, Visitor { face: Face::Plugin(id("q")), ..visitor("ann") }).await;
    let (mut feed, mut feed_of_q) = (all.feed(), only_q.feed());
    p.tools.lock().unwrap().push("b");
    for _ in 0..4 {
        p.say("notifications/tools/list_changed", "{}");
    }
    assert_eq!(
        heard(&mut feed).await,
        json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" })
    );
    hears_nothing(&mut feed).await;
    hears_nothing(&mut feed_of_q).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_before_the_handshake_is_over() {
    let home = tempfile::tempdir().unwrap();
    let actor = Actor::new(LEGACY, &["a"]);
    let mcp = mcp(home.path(), &[("p", &actor)]).await;
    let (session, _) = mcp.initialize(visitor("ann"), of_request(HELLO)).await.unwrap();
    let mut feed = session.feed();
    actor.tools.lock().unwrap().push("b");
    actor.say("notifications/tools/list_changed", "{}");
    hears_nothing(&mut feed).await;
    session.notification("notifications/initialized", None);
    assert_eq!(heard(&mut feed).await["method"], "notifications/tools/list_changed");
}

#[tokio::test(start_paused = true)]
async fn who_subscribed_is_told_of_updates_and_nobody_else() {
    let home = tempfile::tempdir().unwrap();
    let actor = Actor::with_resources(LEGACY, &[], &["x://a", "x://b"]);
    let mcp = mcp(home.path(), &[("p", &actor)]).await;
    let (ann, bob) = (open(&mcp, visitor("ann")).await, open(&mcp, visitor("bob")).await);
    let (mut anns, mut bobs) = (ann.feed(), bob.feed());
    assert_eq!(ask(&ann, "resources/subscribe", r#"{"uri":"x://a"}"#).await["result"], json!({}));
    let notice = |uri: &str| {
        mcp.host.tell_for_tests(
            &id("p"),
            None,
            "notifications/resources/updated",
            &format!(r#"{{"uri":"{uri}","n":1.0}}"#),
        )
    };
    notice("x://b");
    notice("x://a");
    notice("x://a");
    let told = heard(&mut anns).await;
    assert_eq!(told["params"]["uri"], "x://a");
    hears_nothing(&mut bobs).await;
    assert_eq!(ask(&ann, "resources/unsubscribe", r#"{"uri":"x://a"}"#).await["result"], json!({}));
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_secs(1), anns.next()).await {}
    notice("x://a");
    hears_nothing(&mut anns).await;
}

#[tokio::test(start_paused = true)]
async fn log_messages_pass_at_the_level_of_each_session() {
    let home = tempfile::tempdir().unwrap();
    let mcp = mcp(home.path(), &[("p", &Actor::new(LEGACY, &[]))]).await;
    let (ann, bob) = (open(&mcp, visitor("ann")).await, open(&mcp, visitor("bob")).await);
    assert_eq!(ask(&ann, "logging/setLevel", r#"{"level":"error"}"#).await["result"], json!({}));
    for bad in [r#"{"level":"loud"}"#, r#"{"level":3}"#, "{}"] {
        assert_eq!(ask(&ann, "logging/setLevel", bad).await["error"]["code"], -32602);
    }
    let (mut anns, mut bobs) = (ann.feed(), bob.feed());
    for level in ["debug", "info", "critical"] {
        mcp.host.tell_for_tests(
            &id("p"),
            None,
            "notifications/message",
            &format!(r#"{{"level":"{level}","data":1.0}}"#),
        );
    }
    assert_eq!(heard(&mut anns).await["params"]["level"], "critical");
    assert_eq!(heard(&mut bobs).await["params"]["level"], "info");
    assert_eq!(heard(&mut bobs).await["params"]["level"], "critical");
}

#[tokio::test(start_paused = true)]
async fn what_answers_nothing_is_dropped_and_counted() {
    let home = tempfile::tempdir().unwrap();
    let mcp = mcp(home.path(), &[]).await;
    let session = open(&mcp, visitor("ann")).await;
    session.response(Some(&Id::number(7)), Reply::Result(raw("{}")));
    session.response(Some(&Id::text("1")), Reply::Result(raw("{}")));
    session.response(None, Reply::Error(RpcError::new(-1, "x")));
    assert_eq!(session.asks.strays(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_an_instance_of_one_session_says_no_other_hears() {
    let home = tempfile::tempdir().unwrap();
    let mcp = mcp(home.path(), &[("p", &Actor::new(LEGACY, &[]))]).await;
    let (ann, other) = (open(&mcp, visitor("ann")).await, open(&mcp, visitor("ann")).await);
    let (mut anns, mut others) = (ann.feed(), other.feed());
    let error = r#"{"level":"error","data":1.0}"#;
    mcp.host.tell_for_tests(&id("p"), Some(ann.id()), "notifications/message", error);
    mcp.host.tell_for_tests(&id("p"), Some(ann.id()), "notifications/vendor", "{}");
    mcp.host.tell_for_tests(&id("p"), None, "notifications/vendor", "{}");
    mcp.host.tell_for_tests(&id("p"), None, "notifications/tasks/status", r#"{"taskId":"t"}"#);
    assert_eq!(heard(&mut anns).await["method"], "notifications/message");
    assert_eq!(heard(&mut anns).await["method"], "notifications/vendor");
    hears_nothing(&mut anns).await;
    hears_nothing(&mut others).await;
}

#[tokio::test(start_paused = true)]
async fn a_uri_that_two_plugins_list_is_the_clients_own_in_both_directions() {
    let home = tempfile::tempdir().unwrap();
    let actor = || Actor::with_resources(LEGACY, &["link"], &["x://a"]);
    let (p, q) = (actor(), actor());
    let mcp = mcp(home.path(), &[("p", &p), ("q", &q)]).await;
    let session = open(&mcp, visitor("ann")).await;
    let mut feed = session.feed();
    ask(&session, "resources/read", r#"{"uri":"q+x://a","n":1.0}"#).await;
    assert_eq!(q.got("resources/read"), [r#"{"uri":"x://a","n":1.0}"#]);
    let linked = ask(&session, "tools/call", r#"{"name":"q__link"}"#).await;
    assert_eq!(linked["result"]["content"][0]["uri"], "q+x://a");
    assert_eq!(ask(&session, "resources/subscribe", r#"{"uri":"q+x://a"}"#).await["result"], json!({}));
    let updated = "notifications/resources/updated";
    mcp.host.tell_for_tests(&id("p"), None, updated, r#"{"uri":"x://a"}"#);
    mcp.host.tell_for_tests(&id("q"), None, updated, r#"{"uri":"x://a"}"#);
    assert_eq!(heard(&mut feed).await["params"]["uri"], "q+x://a");
    hears_nothing(&mut feed).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_rests_makes_room_and_one_in_use_does_not() {
    let home = tempfile::tempdir().unwrap();
    let mcp = mcp(home.path(), &[("p", &Actor::new(LEGACY, &["echo"]))]).await;
    let mut all = Vec::new();
    for _ in 0..super::table::MOST {
        all.push(open(&mcp, visitor("ann")).await);
    }
    let ended = |all: &[Arc<Session>]| all.iter().filter(|session| session.ended().is_cancelled()).count();
    let one_more = || mcp.initialize(visitor("ann"), of_request(HELLO));
    assert_eq!(one_more().await.unwrap_err().code, -32010, "all were heard of just now");
    tokio::time::advance(Duration::from_secs(61)).await;
    let _listens = all[0].feed();
    let (bare, _) = one_more().await.unwrap();
    assert_eq!((ended(&all[..1]), ended(&all)), (0, 1));
    for session in &all {
        drop(session.request(Id::number(9), "ping", None));
    }
    one_more().await.unwrap();
    assert!(bare.ended().is_cancelled() && ended(&all) == 1, "its client never went past the handshake");
}

#[tokio::test(start_paused = true)]
async fn what_a_plugin_linked_and_does_not_list_is_read_of_it_by_whom_it_was_linked_to() {
    let home = tempfile::tempdir().unwrap();
    let actor = |uri| Actor::with_resources(LEGACY, &["link"], &[uri]);
    let (p, q) = (actor("x://p"), actor("x://q"));
    let mcp = mcp(home.path(), &[("p", &p), ("q", &q)]).await;
    let (ann, bob) = (open(&mcp, visitor("ann")).await, open(&mcp, visitor("bob")).await);
    let read = async |session: &Arc<Session>| ask(session, "resources/read", r#"{"uri":"x://a"}"#).await;
    assert_eq!(read(&ann).await["error"]["code"], -32002, "nobody is known to have it");
    let linked = ask(&ann, "tools/call", r#"{"name":"q__link"}"#).await;
    assert_eq!(linked["result"]["content"][0]["uri"], "x://a", "it stays as the plugin wrote it");
    assert!(read(&ann).await["result"].is_object());
    assert_eq!(read(&bob).await["error"]["code"], -32002);
    // A modern client's answers are looked into as well.
    let modern = async |method: &str, key: &str, value: &str| {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let request = ModernRequest {
            id: Id::number(1),
            method: method.to_owned().into(),
            params: of_request(&json!({ key: value, "_meta": meta }).to_string()),
            param_headers: None,
            envelope: None,
        };
        let answered = mcp.modern(visitor("cid"), request).answer.await;
        serde_json::from_slice::<Value>(&answered.message.unwrap()).unwrap()
    };
    assert_eq!(modern("resources/read", "uri", "x://a").await["error"]["code"], -32602);
    modern("tools/call", "name", "p__link").await;
    assert!(modern("resources/read", "uri", "x://a").await["result"].is_object());
    assert_eq!((p.got("resources/read").len(), q.got("resources/read").len()), (1, 1));
}
