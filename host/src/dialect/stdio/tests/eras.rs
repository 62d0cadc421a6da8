//! Finding out the era of a server over pipes, and speaking the modern one.

use serde_json::value::RawValue;
use tokio::time::{Duration, Instant};
use wharf_core::manifest::EraChoice;
use wharf_plugin_api::Client;

use super::*;

const MODERN: &str = "2026-07-28";

fn era(era: EraChoice) -> Options {
    Options { era, ..options() }
}

fn discovered() -> Value {
    json!({"supportedVersions": [MODERN], "capabilities": {"tools": {}}, "serverInfo": {"name": "new"}})
}

fn client(capabilities: &str, log_level: Option<&str>) -> Client {
    let raw = RawValue::from_string(capabilities.to_owned()).expect("JSON");
    Client { capabilities: raw.into(), info: None, log_level: log_level.map(Into::into) }
}

/// Connects while `server` plays the other side.
async fn opened<F>(
    options: Options,
    ear: &Ear,
    server: impl FnOnce(Peer) -> F,
) -> (Result<Connected, Cause>, Peer)
where
    F: Future<Output = Peer>,
{
    let (stdout, stdin, peer) = pipes();
    within(async { tokio::join!(connect(stdout, stdin, Arc::new(ear.clone()), options), server(peer)) }).await
}

async fn modern(ear: &Ear) -> (Arc<dyn Link>, Lost, Peer) {
    let (connected, peer) = opened(era(EraChoice::Auto), ear, async |mut peer| {
        let asked = peer.message().await;
        assert_eq!(asked["method"], "server/discover");
        let meta = &asked["params"]["_meta"];
        assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], MODERN);
        assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({}));
        assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "wharf");
        peer.answer(&asked["id"], discovered()).await;
        peer
    })
    .await;
    let Connected { link, lost, .. } = connected.expect("connected");
    (link, lost, peer)
}

#[tokio::test]
async fn a_server_that_discovers_is_modern_and_hears_no_initialize() {
    let (link, _lost, mut peer) = modern(&Ear::default()).await;
    let hello = link.hello();
    assert_eq!((hello.dialect, hello.revision.as_str()), ("stdio", MODERN));
    assert_eq!(hello.capabilities.as_ref().expect("there").get(), r#"{"tools":{}}"#);
    let caller = client(r#"{ "sampling":{} }"#, Some("warning"));
    let call = Call::of(true, caller);
    let task = spawn_call(&link, &call, request("tools/call", r#"{"name":"t","_meta":{"traceparent":"x"}}"#));
    // The next thing that it hears is the call.
    let sent = peer.message().await;
    assert_eq!((&sent["method"], &sent["params"]["name"]), (&json!("tools/call"), &json!("t")));
    let meta = &sent["params"]["_meta"];
    assert_eq!(meta["traceparent"], "x");
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({"sampling": {}}));
    assert_eq!(meta["io.modelcontextprotocol/logLevel"], "warning");
    assert_eq!(meta["progressToken"], sent["id"]);
    peer.answer(&sent["id"], json!({"resultType": "input_required", "requestState": "s"})).await;
    assert_eq!(result(within(task).await.expect("joined"))["resultType"], "input_required");
}

#[tokio::test]
async fn a_server_that_names_our_revision_is_asked_again_and_never_initialized() {
    let refuse = async |peer: &mut Peer| {
        let asked = peer.message().await;
        assert_eq!(asked["method"], "server/discover");
        let error =
            json!({"code": -32022, "message": "no", "data": {"supported": [MODERN], "requested": "x"}});
        peer.tell(json!({"jsonrpc": "2.0", "id": asked["id"], "error": error})).await;
    };
    let (connected, _peer) = opened(era(EraChoice::Auto), &Ear::default(), async |mut peer| {
        refuse(&mut peer).await;
        let asked = peer.message().await;
        assert_eq!(asked["method"], "server/discover");
        peer.answer(&asked["id"], discovered()).await;
        peer
    })
    .await;
    assert_eq!(connected.expect("connected").link.hello().revision, MODERN);
}

#[tokio::test]
async fn a_server_that_answers_with_an_error_is_initialized_on_the_same_pipe() {
    for code in [-32601, -32602, -32600, -32000, 7] {
        let (connected, _peer) = opened(era(EraChoice::Auto), &Ear::default(), async |mut peer| {
            let asked = peer.message().await;
            let error = json!({"code": code, "message": "what?"});
            peer.tell(json!({"jsonrpc": "2.0", "id": asked["id"], "error": error})).await;
            peer.handshake("").await;
            assert_eq!(peer.message().await["method"], "notifications/initialized");
            peer
        })
        .await;
        assert_eq!(connected.expect("connected").link.hello().revision, "2025-06-18", "{code}");
    }
}

#[tokio::test]
async fn a_result_that_is_no_discovery_proves_nothing() {
    let (connected, _peer) = opened(era(EraChoice::Auto), &Ear::default(), async |mut peer| {
        let asked = peer.message().await;
        peer.answer(&asked["id"], json!({})).await;
        peer.handshake("").await;
        peer
    })
    .await;
    assert_eq!(connected.expect("connected").link.hello().revision, "2025-06-18");
}

#[tokio::test]
async fn a_server_that_refuses_both_is_told_of_in_both_words() {
    let (connected, _peer) = opened(era(EraChoice::Auto), &Ear::default(), async |mut peer| {
        for words in ["no discovery", "no initialize"] {
            let asked = peer.message().await;
            let error = json!({"code": -32601, "message": words});
            peer.tell(json!({"jsonrpc": "2.0", "id": asked["id"], "error": error})).await;
        }
        peer
    })
    .await;
    let cause = connected.err().expect("refused");
    assert_eq!(cause.kind, CauseKind::HandshakeRefused);
    assert!(cause.detail.contains("no discovery") && cause.detail.contains("no initialize"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn silence_is_waited_for_ten_seconds_or_a_third_of_the_time() {
    for (all, waited) in [(60, 10), (15, 5)] {
        let start = Instant::now();
        let options =
            Options { handshake_deadline: start + Duration::from_secs(all), ..era(EraChoice::Auto) };
        let (stdout, stdin, mut peer) = pipes();
        let cause = connect(stdout, stdin, Arc::new(Ear::default()), options).await.err().expect("silent");
        assert_eq!(cause.kind, CauseKind::StartTimeout);
        assert!(cause.detail.contains("server/discover"), "{cause}");
        assert_eq!(start.elapsed().as_secs(), waited);
        // Nothing was said after the question: an `initialize` behind it would be a guess.
        assert_eq!(peer.message().await["method"], "server/discover");
        assert_eq!(peer.line().await, "");
    }
}

#[tokio::test]
async fn a_pipe_that_closes_at_the_question_is_lost_and_not_refused() {
    let (stdout, stdin, mut peer) = pipes();
    let opening = connect(stdout, stdin, Arc::new(Ear::default()), era(EraChoice::Auto));
    let (cause, ()) = within(async {
        tokio::join!(opening, async {
            peer.message().await;
            drop(peer);
        })
    })
    .await;
    assert_eq!(cause.err().expect("lost").kind, CauseKind::LinkLost);
}

#[tokio::test]
async fn a_manifest_overrules_what_the_server_shows() {
    let (connected, _peer) = opened(era(EraChoice::Modern), &Ear::default(), async |mut peer| {
        let asked = peer.message().await;
        peer.tell(
            json!({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "what?"}}),
        )
        .await;
        assert_eq!(peer.line().await, "", "it is not initialized");
        peer
    })
    .await;
    assert_eq!(connected.err().expect("refused").kind, CauseKind::HandshakeRefused);
    // Legacy: see the other tests, where `initialize` is the first that is heard.
}

#[tokio::test]
async fn a_subscription_hears_what_is_for_it_and_the_host_hears_the_rest() {
    let ear = Ear::default();
    let (link, _lost, mut peer) = modern(&ear).await;
    let (one, two) = (Call::new(true), Call::new(false));
    let _first = spawn_call(&link, &one, request("subscriptions/listen", "{}"));
    let first = peer.message().await["id"].clone();
    let second = spawn_call(&link, &two, request("subscriptions/listen", "{}"));
    let second_id = peer.message().await["id"].clone();
    let told = |method: &str, id: &Value| {
        let meta = json!({"io.modelcontextprotocol/subscriptionId": id});
        json!({"jsonrpc": "2.0", "method": method, "params": {"_meta": meta}})
    };
    let methods = [
        "notifications/subscriptions/acknowledged",
        "notifications/tools/list_changed",
        "notifications/resources/updated",
        "notifications/tasks",
    ];
    for method in methods {
        peer.tell(told(method, &first)).await;
    }
    peer.tell(told("notifications/prompts/list_changed", &second_id)).await;
    peer.tell(told("notifications/resources/list_changed", &json!(99))).await;
    peer.tell(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})).await;
    let heard: Vec<String> = one.heard.at_least(4).await.into_iter().map(|(method, _)| method).collect();
    assert_eq!(heard, methods);
    assert_eq!(two.heard.at_least(1).await.len(), 1);
    assert_eq!(ear.heard.at_least(2).await.len(), 2);
    // The server may end a subscription; whoever listens must know.
    peer.tell(
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": second_id}}),
    )
    .await;
    let ended = within(second).await.expect("joined").expect_err("ended");
    assert_eq!((ended.kind, ended.delivery), (CallErrorKind::Connection, Delivery::Answered));
}

#[tokio::test]
async fn what_a_modern_server_asks_is_refused_and_reaches_nobody() {
    let ear = Ear::default();
    let (link, _lost, mut peer) = modern(&ear).await;
    let _call = spawn_call(&link, &Call::new(true), request("tools/call", "{}"));
    peer.message().await;
    peer.tell(json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create"})).await;
    let refused = peer.message().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!("q"), &json!(-32601)));
    assert!(ear.asked.borrow().is_empty());
}

#[tokio::test]
async fn a_log_message_goes_to_the_one_call_that_wants_some() {
    let ear = Ear::default();
    let (link, _lost, mut peer) = modern(&ear).await;
    let (wants, not) = (Call::of(true, client("{}", Some("debug"))), Call::new(true));
    let _first = spawn_call(&link, &wants, request("tools/call", "{}"));
    peer.message().await;
    let _second = spawn_call(&link, &not, request("tools/call", "{}"));
    peer.message().await;
    peer.tell(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info"}}))
        .await;
    wants.heard.at_least(1).await;
    assert!(not.heard.all().is_empty() && ear.heard.all().is_empty());
}

#[tokio::test]
async fn a_modern_request_without_an_object_is_refused_here() {
    let (link, _lost, _peer) = modern(&Ear::default()).await;
    let call = Call::new(false);
    let reply = within(link.request(request("tools/call", "[]"), call.clone() as Arc<dyn Scope>)).await;
    assert!(matches!(reply, Ok(Reply::Error(error)) if error.code == -32602));
    assert_eq!(call.times_sent(), 0);
}

/// A server that is still being fetched hears the question late, or never answers it: it is not ended for that.
#[tokio::test(start_paused = true)]
async fn a_server_that_comes_late_finds_all_that_it_may_want_in_the_pipe() {
    let late = || Options {
        handshake_deadline: Instant::now() + Duration::from_secs(6),
        patient: true,
        ..era(EraChoice::Auto)
    };
    // Legacy: it says nothing to the question, or that it does not know it.
    for answers in [false, true] {
        let (connected, _peer) = opened(late(), &Ear::default(), async |mut peer| {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let asked = peer.message().await;
            assert_eq!(asked["method"], "server/discover");
            if answers {
                let error =
                    json!({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "?"}});
                peer.tell(error).await;
            }
            let hello = peer.message().await;
            assert_eq!(hello["method"], "initialize");
            peer.answer(&hello["id"], json!({"protocolVersion": "2025-06-18", "capabilities": {}})).await;
            peer
        })
        .await;
        assert_eq!(connected.expect("connected").era(), Some(Era::Legacy));
    }
    // Modern: it refuses the old handshake, and is asked again.
    let (connected, _peer) = opened(late(), &Ear::default(), async |mut peer| {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let first = peer.message().await;
        peer.answer(&first["id"], discovered()).await;
        let hello = peer.message().await;
        assert_eq!(hello["method"], "initialize");
        let error = json!({"jsonrpc": "2.0", "id": hello["id"], "error": {"code": -32601, "message": "?"}});
        peer.tell(error).await;
        let again = peer.message().await;
        assert_eq!(again["method"], "server/discover");
        peer.answer(&again["id"], discovered()).await;
        peer
    })
    .await;
    assert_eq!(connected.expect("connected").era(), Some(Era::Modern));
}
