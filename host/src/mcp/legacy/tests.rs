//! The methods of a session over plugins of both eras, under a paused clock.

mod levels;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;
use wharf_core::catalog::Face;
use wharf_plugin_api::{Id, Reply, RpcError};

use crate::late;
use crate::mcp::exchange::{Answered, Exchange, SMALL};
use crate::mcp::testkit::{Actor, id, mcp, of_request, params, raw, visitor};
use crate::mcp::{Mcp, Session, Visitor};
use crate::route::Wanted;

const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";
const TOOLS: [&str; 12] = [
    "echo",
    "flood",
    "progress",
    "log",
    "level",
    "ask",
    "ask_and_leave",
    "hang",
    "fail",
    "input",
    "endless",
    "task",
];

/// A host with one plugin, which is seen on the face of all.
struct Stage {
    mcp: Mcp,
    actor: Arc<Actor>,
    _home: TempDir,
}

async fn stage(revision: &'static str) -> Stage {
    let home = tempfile::tempdir().unwrap();
    let actor = Actor::with_resources(revision, &TOOLS, &["x://a", "x://refused"]);
    let mcp = mcp(home.path(), &[("p", &actor)]).await;
    Stage { mcp, actor, _home: home }
}

async fn session(mcp: &Mcp, visitor: Visitor, capabilities: &str) -> Arc<Session> {
    let hello = format!(r#"{{"protocolVersion":"{LEGACY}","capabilities":{capabilities}}}"#);
    mcp.initialize(visitor, of_request(&hello)).await.unwrap().0
}

impl Stage {
    async fn client(&self, capabilities: &str) -> Arc<Session> {
        session(&self.mcp, visitor("ann"), capabilities).await
    }
}

fn value(message: &Bytes) -> Value {
    serde_json::from_slice(message).unwrap()
}

fn text(answered: &Answered) -> String {
    String::from_utf8(answered.message.clone().unwrap().to_vec()).unwrap()
}

/// All that an exchange says before its answer, and the answer.
async fn whole(exchange: Exchange) -> (Vec<Value>, String) {
    let Exchange { mut events, answer } = exchange;
    let answered = tokio::time::timeout(Duration::from_secs(3600), answer).await.expect("an answer");
    let mut said = Vec::new();
    while let Ok(event) = events.try_recv() {
        said.push(value(&event));
    }
    (said, text(&answered))
}

async fn ask(session: &Arc<Session>, method: &str, json: &str) -> Value {
    let answer = whole(session.request(Id::number(1), method.to_owned(), of_request(json))).await.1;
    serde_json::from_str(&answer).unwrap()
}

async fn call(session: &Arc<Session>, tool: &str) -> Value {
    ask(session, "tools/call", &format!(r#"{{"name":"p__{tool}"}}"#)).await
}

/// Begins a call, and gives what it says as it says it.
fn begin(
    session: &Arc<Session>,
    id: Id,
    tool: &str,
) -> (late::Receiver<Bytes>, tokio::task::JoinHandle<Answered>) {
    let call = format!(r#"{{"name":"p__{tool}"}}"#);
    let Exchange { events, answer } = session.request(id, "tools/call", of_request(&call));
    (events, crate::tasks::Tasks::default().spawn(tracing::Span::none(), answer))
}

async fn said(events: &mut late::Receiver<Bytes>) -> Value {
    let next = tokio::time::timeout(Duration::from_secs(3600), events.recv()).await;
    value(&next.expect("something is said").unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_call_passes_to_the_byte_but_for_the_name_and_the_id_keeps_its_type() {
    let stage = stage(LEGACY).await;
    let client = stage.client("{}").await;
    let sent = r#"{ "x":1.0,"name" : "p__echo","arguments":{"n":1e2,"big":18446744073709551616},"task":{"ttl":5},"_meta":{"v/k":[1.0]}}"#;
    for id in [Id::number(7), Id::text("7"), Id::from_raw(&raw("-1")).unwrap()] {
        let answer = whole(client.request(id.clone(), "tools/call", of_request(sent))).await.1;
        let expected = sent.replace("p__echo", "echo");
        assert_eq!(answer, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"got":{expected}}}}}"#));
    }
    let error =
        whole(client.request(Id::number(1), "tools/call", of_request(r#"{"name":"p__fail"}"#))).await.1;
    assert!(error.ends_with(r#""error":{"code":-7,"message":"no","data":1.0}}"#), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_of_a_request_is_small() {
    let stage = stage(LEGACY).await;
    let client = stage.client("{}").await;
    let exchange = client.request(Id::number(1), "tools/call", of_request(r#"{"name":"p__echo"}"#));
    let size = size_of_val(&*exchange.answer);
    assert!(size <= SMALL, "{size}");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_offers_is_said_in_the_words_of_the_protocol() {
    let stage = stage(LEGACY).await;
    let other = Actor::with_resources(LEGACY, &["x"], &["y://a"]);
    let home = tempfile::tempdir().unwrap();
    let mcp = mcp(home.path(), &[("p", &stage.actor), ("q", &other)]).await;
    let client = session(&mcp, visitor("ann"), "{}").await;
    let table = [
        ("tools/call", r#"{"name":"nope"}"#, -32602),
        ("tools/call", r#"{"arguments":{}}"#, -32602),
        ("prompts/get", r#"{"name":"nope"}"#, -32602),
        ("resources/read", r#"{"uri":"z://nope"}"#, -32002),
        ("resources/subscribe", r#"{"uri":"z://nope"}"#, -32002),
        ("resources/unsubscribe", r#"{"uri":"z://nope"}"#, -32002),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"nope"}}"#, -32602),
        ("completion/complete", r#"{"ref":{"type":"ref/other"}}"#, -32602),
        ("tasks/get", r#"{"taskId":"nope"}"#, -32602),
        ("tasks/list", "{}", -32601),
        ("vendor/method", "{}", -32601),
        ("server/discover", "{}", -32601),
        ("subscriptions/listen", "{}", -32601),
        ("initialize", "{}", -32600),
        ("tools/list", r#"{"cursor":"nope"}"#, -32602),
        ("tools/list", r#"{"cursor":1}"#, -32602),
    ];
    for (method, json, code) in table {
        assert_eq!(ask(&client, method, json).await["error"]["code"], code, "{method} {json}");
    }
    let unknown = call(&client, "nope").await;
    assert_eq!(unknown["error"]["message"], "Unknown tool: p__nope");
    let missing = ask(&client, "resources/read", r#"{"uri":"z://nope"}"#).await;
    assert_eq!(missing["error"]["data"], json!({ "uri": "z://nope" }));
    assert_eq!(ask(&client, "ping", "{}").await, json!({ "jsonrpc": "2.0", "id": 1, "result": {} }));
}

#[tokio::test(start_paused = true)]
async fn what_a_plugin_owns_goes_to_it() {
    let stage = stage(LEGACY).await;
    let other = Actor::with_resources(LEGACY, &["x"], &["y://a"]);
    let home = tempfile::tempdir().unwrap();
    let mcp = mcp(home.path(), &[("p", &stage.actor), ("q", &other)]).await;
    let client = session(&mcp, visitor("ann"), "{}").await;
    assert_eq!(ask(&client, "resources/read", r#"{"uri":"y://a"}"#).await["result"]["got"]["uri"], "y://a");
    assert_eq!(other.got("resources/read").len(), 1);
    assert_eq!(
        ask(&client, "prompts/get", r#"{"name":"p__hi","n":1.0}"#).await["result"]["got"]["name"],
        "hi"
    );
    assert_eq!(stage.actor.got("prompts/get"), [r#"{"name":"hi","n":1.0}"#]);
    let complete = r#"{"ref":{"type":"ref/prompt","name":"q__hi"},"argument":{"name":"a","value":1.0}}"#;
    ask(&client, "completion/complete", complete).await;
    assert_eq!(other.got("completion/complete"), [complete.replace("q__hi", "hi")]);
    let alone = session(&mcp, Visitor { face: Face::Plugin(id("q")), ..visitor("ann") }, "{}").await;
    ask(&alone, "vendor/method", r#"{"x":1.0}"#).await;
    assert_eq!(other.got("vendor/method"), [r#"{"x":1.0}"#]);
    assert_eq!(ask(&alone, "tools/call", r#"{"name":"x"}"#).await["result"]["got"]["name"], "x");
}

#[tokio::test(start_paused = true)]
async fn progress_comes_before_the_answer_with_the_clients_own_token() {
    let stage = stage(LEGACY).await;
    let client = stage.client("{}").await;
    for token in [r#""t-1""#, "1"] {
        let sent = format!(r#"{{"name":"p__progress","_meta":{{"progressToken":{token}}}}}"#);
        let Exchange { mut events, answer } = client.request(Id::number(1), "tools/call", of_request(&sent));
        let answered = answer.await.message.unwrap();
        assert!(answered.ends_with(br#"{"asked_for":true}}"#), "{answered:?}");
        for progress in ["0", "50.0", "1e2"] {
            let event = events.try_recv().unwrap();
            let expected = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{progress}}}}}"#
            );
            assert_eq!(event, expected);
        }
    }
    let (said, answer) =
        whole(client.request(Id::number(1), "tools/call", of_request(r#"{"name":"p__progress"}"#))).await;
    assert_eq!(said, Vec::<Value>::new(), "no token was given");
    assert!(answer.contains(r#""asked_for":false"#), "nor does the plugin get one: {answer}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_progress_holds_no_more_than_its_bound_and_the_call_is_answered() {
    let stage = stage(LEGACY).await;
    let client = stage.client("{}").await;
    let sent = r#"{"name":"p__flood","_meta":{"progressToken":1}}"#;
    let Exchange { mut events, mut answer } = client.request(Id::number(1), "tools/call", of_request(sent));
    let mut most = 0;
    // Nobody reads what is said on the way.
    let answered = std::future::poll_fn(|cx| {
        let polled = answer.as_mut().poll(cx);
        most = most.max(stage.mcp.held().bytes());
        polled
    })
    .await;
    assert!(answered.message.is_some());
    assert!((100 << 10..=1 << 20).contains(&most), "{most} bytes were held");
    let first = events.try_recv().unwrap();
    assert!(first.starts_with(
        br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0,"#
    ));
    drop((events, first));
    assert_eq!(stage.mcp.held().bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_ends_the_call_of_that_very_id_and_no_answer_comes() {
    let stage = stage(LEGACY).await;
    let client = stage.client("{}").await;
    let (_one, number) = begin(&client, Id::number(1), "hang");
    let (_two, text) = begin(&client, Id::text("1"), "hang");
    stage.actor.until("both hang", |actor| actor.got("tools/call").len() == 2).await;
    assert_eq!(call(&client, "echo").await["error"]["code"], -32600, "its id is in use");
    client.notification("notifications/cancelled", params(r#"{"requestId":"1"}"#));
    assert_eq!(text.await.unwrap().message, None);
    assert_eq!(stage.actor.dropped.load(Ordering::SeqCst), 1);
    assert!(!number.is_finished());
    client.notification("notifications/cancelled", params(r#"{"requestId":7}"#));
    client.notification("notifications/cancelled", params(r#"{"requestId":null}"#));
    client.notification("notifications/cancelled", None);
    client.notification("notifications/cancelled", params(r#"{"requestId":1}"#));
    assert_eq!(number.await.unwrap().message, None);
    assert_eq!(stage.actor.dropped.load(Ordering::SeqCst), 2);
    assert!(call(&client, "echo").await.get("result").is_some(), "the id is free again");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_session_ends_its_calls() {
    let stage = stage(LEGACY).await;
    let client = stage.client("{}").await;
    let (_events, hanging) = begin(&client, Id::number(1), "hang");
    stage.actor.until("it hangs", |actor| actor.got("tools/call").len() == 1).await;
    client.end();
    assert!(text(&hanging.await.unwrap()).contains("-32600"));
    assert_eq!(stage.actor.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_plugin_asks_is_asked_on_the_stream_of_its_call() {
    let stage = stage(LEGACY).await;
    let client = stage.client(r#"{"elicitation":{}}"#).await;
    let other = stage.client(r#"{"elicitation":{}}"#).await;
    let (mut events, answer) = begin(&client, Id::number(1), "ask");
    let asked = said(&mut events).await;
    assert_eq!(
        (&asked["method"], &asked["params"]),
        (&"elicitation/create".into(), &json!({ "message": "?", "n": 1.0 }))
    );
    let its = Id::number(asked["id"].as_u64().unwrap());
    let reply = |json: &str| Reply::Result(raw(json));
    other.response(Some(&its), reply(r#"{"action":"decline"}"#));
    client.response(Some(&Id::text(its.as_str())), reply(r#"{"action":"decline"}"#));
    client.response(Some(&its), reply(r#"{"action":"accept","n":1.0}"#));
    client.response(Some(&its), reply(r#"{"action":"decline"}"#));
    let answer = text(&answer.await.unwrap());
    assert_eq!(answer, r#"{"jsonrpc":"2.0","id":1,"result":{"answer":{"action":"accept","n":1.0}}}"#);
    assert!(events.recv().await.is_none(), "nothing is taken back that was answered");
}

#[tokio::test(start_paused = true)]
async fn a_client_is_not_asked_what_it_did_not_declare() {
    let stage = stage(LEGACY).await;
    let client = stage.client("{}").await;
    let (said, answer) =
        whole(client.request(Id::number(1), "tools/call", of_request(r#"{"name":"p__ask"}"#))).await;
    assert_eq!(said, Vec::<Value>::new());
    assert!(answer.ends_with(r#""result":{"refused":-32601}}"#), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_taken_back_is_cancelled_at_the_client() {
    let stage = stage(LEGACY).await;
    let client = stage.client(r#"{"elicitation":{}}"#).await;
    let (mut events, answer) = begin(&client, Id::number(1), "ask_and_leave");
    let asked = said(&mut events).await;
    assert!(text(&answer.await.unwrap()).contains(r#""in_time":false"#));
    let cancelled = said(&mut events).await;
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], asked["id"]);
}

#[tokio::test(start_paused = true)]
async fn a_modern_plugin_gets_the_input_that_it_wants_of_a_legacy_client() {
    let stage = stage(MODERN).await;
    let client = stage.client(r#"{"elicitation":{}}"#).await;
    let (mut events, answer) = begin(&client, Id::number(1), "input");
    let asked = said(&mut events).await;
    assert_eq!((&asked["method"], &asked["params"]["message"]), (&"elicitation/create".into(), &"?".into()));
    let its = Id::number(asked["id"].as_u64().unwrap());
    client.response(Some(&its), Reply::Result(raw(r#"{"action":"accept","content":{"n":1.0}}"#)));
    let answer = text(&answer.await.unwrap());
    let again = r#"{"name":"input","inputResponses":{"k":{"action":"accept","content":{"n":1.0}}},"requestState":"s\u0061"}"#;
    assert_eq!(answer, format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"got":{again}}}}}"#));
    assert_eq!(stage.actor.got("tools/call"), [r#"{"name":"input"}"#, again]);
}

#[tokio::test(start_paused = true)]
async fn input_that_cannot_be_had_ends_the_call_with_an_error() {
    let stage = stage(MODERN).await;
    let cannot = stage.client("{}").await;
    let refused = call(&cannot, "input").await;
    assert_eq!(refused["error"]["code"], -32600);
    assert!(refused["error"]["message"].as_str().unwrap().contains("elicitation.form"), "{refused}");
    let endless = call(&cannot, "endless").await;
    assert!(endless["error"]["message"].as_str().unwrap().contains("after 8 rounds"), "{endless}");
    let endless = stage.actor.got("tools/call").iter().filter(|params| params.contains("endless")).count();
    assert_eq!(endless, 1 + 8);
    let client = stage.client(r#"{"elicitation":{}}"#).await;
    let (mut events, answer) = begin(&client, Id::number(1), "input");
    let its = Id::number(said(&mut events).await["id"].as_u64().unwrap());
    client.response(Some(&its), Reply::Error(RpcError::new(-1, "go away")));
    let answer = text(&answer.await.unwrap());
    assert!(answer.contains(r#""code":-1"#) && answer.contains("go away"), "{answer}");
    let (mut events, answer) = begin(&client, Id::number(1), "input");
    said(&mut events).await;
    assert!(text(&answer.await.unwrap()).contains("did not answer within 600 s"));
    assert_eq!(said(&mut events).await["method"], "notifications/cancelled");
}

#[tokio::test]
async fn each_round_of_a_durable_call_is_durable() {
    let stage = stage(MODERN).await;
    let client = stage.client("{}").await;
    let endless = of_request(r#"{"name":"p__endless","_meta":{"wharf/durable":true}}"#);
    let (_, answer) = whole(client.request(Id::number(1), "tools/call", endless)).await;
    assert!(answer.contains("after 8 rounds"), "{answer}");
    let calls = stage.mcp.host.calls(&Wanted::default());
    assert_eq!(calls.len(), 1 + 8);
    assert!(calls.iter().all(|call| call.durable == Some(true)), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn tasks_belong_to_the_principal_that_began_them() {
    let stage = stage(LEGACY).await;
    let ann = stage.client("{}").await;
    let bob = session(&stage.mcp, visitor("bob"), "{}").await;
    assert_eq!(call(&ann, "task").await["result"]["task"]["taskId"], "t1");
    assert_eq!(ask(&ann, "tasks/get", r#"{"taskId":"t1"}"#).await["result"]["got"]["taskId"], "t1");
    assert_eq!(ask(&bob, "tasks/get", r#"{"taskId":"t1"}"#).await["error"]["code"], -32602);
    let face = Visitor { face: Face::Plugin(id("p")), ..visitor("bob") };
    let bob = session(&stage.mcp, face, "{}").await;
    assert_eq!(ask(&bob, "tasks/cancel", r#"{"taskId":"t1"}"#).await["error"]["code"], -32602);
    assert_eq!(stage.actor.got("tasks/cancel"), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_a_plugin_refuses_to_watch_is_not_subscribed_to() {
    let stage = stage(LEGACY).await;
    let client = stage.client("{}").await;
    assert_eq!(ask(&client, "resources/subscribe", r#"{"uri":"x://refused"}"#).await["error"]["code"], -9);
    assert_eq!(ask(&client, "resources/subscribe", r#"{"uri":"x://a"}"#).await["result"], json!({}));
}
