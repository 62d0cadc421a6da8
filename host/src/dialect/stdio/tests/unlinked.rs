//! What a legacy server says and asks without a word about which call it means.

use serde_json::value::RawValue;
use wharf_plugin_api::Client;

use super::*;

fn with(capabilities: &str) -> Client {
    let raw = RawValue::from_string(capabilities.to_owned()).expect("JSON");
    Client { capabilities: raw.into(), ..Client::default() }
}

async fn calling(link: &Arc<dyn Link>, peer: &mut Peer, call: &Arc<Call>) {
    drop(spawn_call(link, call, request("tools/call", "{}")));
    peer.message().await;
}

async fn asked(peer: &mut Peer, method: &str) -> Value {
    peer.tell(json!({"jsonrpc": "2.0", "id": "q", "method": method})).await;
    peer.message().await
}

#[tokio::test]
async fn a_question_goes_to_the_one_caller_and_to_nobody_if_there_are_two() {
    let ear = Ear::default();
    let (link, _lost, mut peer) = connected_with(options(), &ear).await;
    calling(&link, &mut peer, &Call::new(false)).await;
    assert_eq!(asked(&mut peer, "elicitation/create").await["result"], json!({"action": "accept"}));
    calling(&link, &mut peer, &Call::new(false)).await;
    let refused = asked(&mut peer, "elicitation/create").await;
    let words = refused["error"]["message"].as_str().expect("an error");
    assert!(words.contains("several calls") && words.contains("isolation = \"session\""), "{words}");
    assert_eq!(asked(&mut peer, "ping").await["result"], json!({}));
    assert!(ear.asked.borrow().is_empty());
}

/// An instance of one client, which can be asked for what a form can ask.
async fn own(ear: &Ear) -> (Arc<dyn Link>, Lost, Peer) {
    let own = Options { client: Some(Arc::new(with(r#"{"elicitation":{}}"#))), ..options() };
    let (stdout, stdin, mut peer) = pipes();
    let (connected, ()) = within(async {
        tokio::join!(connect(stdout, stdin, Arc::new(ear.clone()), own), async {
            let hello = peer.message().await;
            assert_eq!(hello["params"]["capabilities"], json!({"elicitation": {}}), "its client's, no more");
            assert_eq!(hello["params"]["clientInfo"]["name"], "wharf");
            peer.settle(&hello, "2025-11-25").await;
            peer.message().await;
        })
    })
    .await;
    let Connected { link, lost, .. } = connected.expect("connected");
    (link, lost, peer)
}

#[tokio::test]
async fn an_instance_of_one_client_asks_that_client_whatever_it_does() {
    let ear = Ear::default();
    let (link, _lost, mut peer) = own(&ear).await;
    assert_eq!(
        asked(&mut peer, "roots/list").await["error"]["message"],
        "not here",
        "as the host's ear says"
    );
    assert_eq!(*ear.asked.borrow(), ["roots/list"]);
    calling(&link, &mut peer, &Call::new(false)).await;
    calling(&link, &mut peer, &Call::new(false)).await;
    assert_eq!(asked(&mut peer, "elicitation/create").await["result"], json!({"action": "accept"}));
}

#[tokio::test]
async fn roots_are_asked_of_a_caller_who_has_some() {
    let (link, _lost, mut peer) = connected().await;
    assert_eq!(asked(&mut peer, "roots/list").await["result"], json!({"roots": []}));
    calling(&link, &mut peer, &Call::new(false)).await;
    assert_eq!(asked(&mut peer, "roots/list").await["result"], json!({"roots": []}));
    let (link, _lost, mut peer) = connected().await;
    let call = Call::of(false, with(r#"{"roots":{}}"#));
    calling(&link, &mut peer, &call).await;
    assert_eq!(asked(&mut peer, "roots/list").await["result"], json!({"roots": [{"uri": "file:///mine"}]}));
}

#[tokio::test]
async fn log_messages_reach_the_one_caller_and_of_several_none() {
    let ear = Ear::default();
    let (link, _lost, mut peer) = connected_with(options(), &ear).await;
    let message = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "secret"}});
    peer.tell(message.clone()).await;
    ear.heard.at_least(1).await;
    let (one, two) = (Call::new(true), Call::new(true));
    calling(&link, &mut peer, &one).await;
    peer.tell(message.clone()).await;
    one.heard.at_least(1).await;
    calling(&link, &mut peer, &two).await;
    peer.tell(message).await;
    peer.tell(json!({"jsonrpc": "2.0", "method": "notifications/after"})).await;
    assert_eq!(ear.heard.at_least(2).await[1].0, "notifications/after");
    assert_eq!((one.heard.all().len(), two.heard.all().len()), (1, 0));
}

#[tokio::test]
async fn what_a_call_that_was_given_up_may_ask_is_put_to_nobody_else() {
    let ear = Ear::default();
    let (link, _lost, mut peer) = connected_with(options(), &ear).await;
    let gone = spawn_call(&link, &Call::by("a", false), request("tools/call", "{}"));
    let id = peer.message().await["id"].clone();
    gone.abort();
    assert_eq!(peer.message().await["method"], "notifications/cancelled");
    let refused =
        |answer: &Value| answer["error"]["message"].as_str().is_some_and(|words| words.contains("given up"));
    let answer = asked(&mut peer, "elicitation/create").await;
    assert!(refused(&answer), "nobody is there: {answer}");
    let other = Call::by("b", true);
    calling(&link, &mut peer, &other).await;
    let answer = asked(&mut peer, "elicitation/create").await;
    assert!(refused(&answer), "it would be put to another: {answer}");
    let message = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "secret"}});
    peer.tell(message.clone()).await;
    // The plugin is done with it: now only one can be meant.
    peer.answer(&id, json!("late")).await;
    assert_eq!(asked(&mut peer, "elicitation/create").await["result"], json!({"action": "accept"}));
    assert!(other.heard.all().is_empty() && ear.heard.all().is_empty() && ear.asked.borrow().is_empty());
    peer.tell(message).await;
    other.heard.at_least(1).await;
}

#[tokio::test]
async fn what_its_own_principal_gave_up_keeps_no_question_from_a_call() {
    let (link, _lost, mut peer) = connected().await;
    let gone = spawn_call(&link, &Call::by("a", false), request("tools/call", "{}"));
    peer.message().await;
    gone.abort();
    peer.message().await;
    calling(&link, &mut peer, &Call::by("a", false)).await;
    assert_eq!(asked(&mut peer, "elicitation/create").await["result"], json!({"action": "accept"}));
}

#[tokio::test(start_paused = true)]
async fn a_client_may_take_its_time_for_what_its_own_instance_asks() {
    let ear = Ear { may_answer: Arc::new(tokio::sync::Semaphore::new(0)), ..Ear::default() };
    let (_link, _lost, mut peer) = own(&ear).await;
    peer.tell(json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create"})).await;
    within(ear.asked.subscribe().wait_for(|asked| asked.len() == 1)).await.expect("open");
    tokio::time::advance(std::time::Duration::from_secs(599)).await;
    // Whatever is over by now has been said before this.
    assert_eq!(asked(&mut peer, "ping").await["result"], json!({}));
    ear.may_answer.add_permits(1);
    assert_eq!(peer.message().await["error"]["message"], "not here");
}
