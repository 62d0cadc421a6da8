//! What ends a connection, and what becomes of the calls on it.

use tokio::time::{Duration, Instant};

use super::*;

async fn refused(mut script: impl AsyncFnMut(&mut Peer)) -> Cause {
    let (stdout, stdin, mut peer) = pipes();
    let (outcome, ()) = within(async {
        tokio::join!(connect(stdout, stdin, Arc::new(Ear::default()), options()), script(&mut peer))
    })
    .await;
    outcome.err().expect("refused")
}

fn failure(outcome: Result<Reply, CallError>) -> (CallErrorKind, Delivery) {
    let error = outcome.expect_err("no answer");
    (error.kind, error.delivery)
}

#[tokio::test(start_paused = true)]
async fn the_end_of_stdout_fails_what_is_sent_as_unknown_and_what_is_queued_as_not_delivered() {
    let (link, lost, mut peer) = connected().await;
    let (sent, queued) = (Call::new(false), Call::new(false));
    let first = spawn_call(&link, &sent, request("tools/call", "{}"));
    peer.message().await;
    // Fills the pipe, so that what comes after it stays in the queue.
    let stuck = spawn_call(
        &link,
        &Call::new(false),
        request("tools/call", &format!("[\"{}\"]", "x".repeat(1 << 20))),
    );
    within(peer.stdin.read_u8()).await.expect("a byte");
    let second = spawn_call(&link, &queued, request("tools/call", "{}"));
    tokio::task::yield_now().await;
    peer.say("{\"jsonrpc\":\"2.0\",\"id\":").await;
    drop(peer.stdout);
    assert_eq!(within(lost).await.kind, CauseKind::LinkLost);
    assert_eq!(failure(first.await.expect("joined")), (CallErrorKind::Connection, Delivery::Unknown));
    assert_eq!(failure(stuck.await.expect("joined")), (CallErrorKind::Connection, Delivery::Unknown));
    assert_eq!(failure(second.await.expect("joined")), (CallErrorKind::Connection, Delivery::NotDelivered));
    assert_eq!((sent.times_sent(), queued.times_sent()), (1, 0));
    let later = link.request(request("tools/call", "{}"), Call::new(false) as Arc<dyn Scope>).await;
    assert_eq!(failure(later), (CallErrorKind::Connection, Delivery::NotDelivered));
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_closes_its_stdin_is_lost_but_its_last_answers_count() {
    let (link, lost, mut peer) = connected().await;
    let task = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    let id = peer.message().await["id"].clone();
    drop(peer.stdin);
    // The first write finds the pipe closed; from then on there is nobody to take another.
    while link.notify(Notification::bare("notifications/x")).is_ok() {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(LAST_WORDS / 2).await;
    within(
        peer.stdout.write_all(format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "result": 5})).as_bytes()),
    )
    .await
    .expect("writable");
    assert_eq!(result(within(task).await.expect("joined")), 5);
    assert_eq!(within(lost).await.kind, CauseKind::LinkLost);
}

#[tokio::test]
async fn a_huge_line_is_dropped_and_the_third_ends_the_connection() {
    let options = Options { max_message: 1000, ..options() };
    let (link, lost, mut peer) = connected_with(options, &Ear::default()).await;
    let task = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    let id = peer.message().await["id"].clone();
    peer.say(&format!("{}\n", "x".repeat(200_000))).await;
    peer.answer(&id, json!("after")).await;
    assert_eq!(result(within(task).await.expect("joined")), "after");
    peer.say(&format!("{0}\n{0}\n", "x".repeat(2000))).await;
    assert_eq!(within(lost).await.kind, CauseKind::ProtocolGarbage);
}

#[tokio::test]
async fn an_answer_over_the_bound_fails_its_call_at_once() {
    let options = Options { max_message: 1000, ..options() };
    let (link, _lost, mut peer) = connected_with(options, &Ear::default()).await;
    let task = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    let id = peer.message().await["id"].clone();
    peer.answer(&id, json!("x".repeat(200_000))).await;
    let error = within(task).await.expect("joined").expect_err("too large");
    assert_eq!((error.kind, error.delivery), (CallErrorKind::Protocol, Delivery::Unknown));
    assert!(error.detail.contains("1000 bytes"), "{}", error.detail);
}

#[tokio::test]
async fn logs_on_stdout_are_tolerated_and_a_flood_is_not() {
    let (link, lost, mut peer) = connected().await;
    let task = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    let id = peer.message().await["id"].clone();
    peer.say(&"INFO still here {\"a\":1}\n".repeat(900)).await;
    peer.answer(&id, json!("fine")).await;
    assert_eq!(result(within(task).await.expect("joined")), "fine");
    peer.say(&"[1]\n".repeat(1001)).await;
    assert_eq!(within(lost).await.kind, CauseKind::ProtocolGarbage);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_come_about_says_why() {
    let gone = refused(async |peer: &mut Peer| {
        peer.message().await;
        peer.stdout.shutdown().await.expect("shut");
    });
    assert_eq!(gone.await.kind, CauseKind::LinkLost);
    let garbage = refused(async |peer: &mut Peer| peer.say(&"usage: tool [options]\n".repeat(100)).await);
    assert_eq!(garbage.await.kind, CauseKind::ProtocolGarbage);
    let silent = refused(async |_: &mut Peer| {});
    assert_eq!(silent.await.kind, CauseKind::StartTimeout);
    let old = refused(async |peer: &mut Peer| {
        let id = peer.message().await["id"].clone();
        peer.answer(&id, json!({"protocolVersion": "1.0"})).await;
    });
    assert_eq!(old.await.kind, CauseKind::HandshakeRefused);
}

#[tokio::test]
async fn close_closes_stdin_and_the_last_answer_still_arrives() {
    let (link, lost, mut peer) = connected().await;
    let task = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    let id = peer.message().await["id"].clone();
    within(link.close()).await;
    assert_eq!(peer.line().await, "");
    let later = within(link.request(request("tools/call", "{}"), Call::new(false) as Arc<dyn Scope>)).await;
    assert_eq!(failure(later), (CallErrorKind::Connection, Delivery::NotDelivered));
    peer.answer(&id, json!("last")).await;
    assert_eq!(result(within(task).await.expect("joined")), "last");
    drop(peer.stdout);
    assert_eq!(within(lost).await.kind, CauseKind::Requested);
}

#[tokio::test]
async fn a_full_queue_turns_away_and_does_not_wait() {
    let (link, _lost, _peer) = connected().await;
    let big = Notification {
        method: "n".into(),
        params: request("", &format!("[\"{}\"]", "x".repeat(1 << 20))).params,
    };
    let refused = (0..200).find(|_| link.notify(big.clone()).is_err());
    assert!(refused.is_some(), "more than its bound was queued");
    let call = link.request(
        request("tools/call", &format!("[\"{}\"]", "x".repeat(1 << 20))),
        Call::new(false) as Arc<dyn Scope>,
    );
    assert_eq!(failure(within(call).await), (CallErrorKind::Full, Delivery::NotDelivered));
}

/// One answer, spelled as it is given, to the call with this id.
async fn answered_with(spelled: &str) -> Result<Reply, CallError> {
    let (link, _lost, mut peer) = connected().await;
    let (task, other) = (
        spawn_call(&link, &Call::new(false), request("tools/call", "{}")),
        spawn_call(&link, &Call::new(false), request("tools/call", "{}")),
    );
    let (id, second) = (peer.message().await["id"].clone(), peer.message().await["id"].clone());
    peer.stdout.write_all(spelled.replace("@ID@", &id.to_string()).as_bytes()).await.expect("writable");
    peer.stdout.write_all(b"\n").await.expect("writable");
    let outcome = within(task).await.expect("joined");
    // Whatever it was, it was that call's alone.
    peer.answer(&second, json!("fine")).await;
    assert_eq!(result(within(other).await.expect("joined")), "fine");
    outcome
}

#[tokio::test(start_paused = true)]
async fn a_malformed_answer_fails_its_call_at_once() {
    let began = Instant::now();
    for members in [
        r#""result":{},"error":{"code":1,"message":"m"}"#,
        r#""vendor":1"#,
        r#""error":"boom""#,
        r#""result":{"x":NaN}"#,
        r#""result":{"x":1"#,
        r#""result":{},"result":{}"#,
    ] {
        let outcome = answered_with(&format!(r#"{{"jsonrpc":"2.0","id":@ID@,{members}}}"#)).await;
        assert_eq!(failure(outcome), (CallErrorKind::Protocol, Delivery::Answered), "{members}");
    }
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn an_answer_that_is_not_utf8_fails_its_call_and_no_other() {
    let (link, _lost, mut peer) = connected().await;
    let task = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    let id = peer.message().await["id"].clone();
    let head = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"x":""#);
    peer.stdout.write_all(&[head.as_bytes(), b"\xed\xa0\x80\"}}\n"].concat()).await.expect("writable");
    let error = within(task).await.expect("joined").expect_err("not UTF-8");
    assert!(error.kind == CallErrorKind::Protocol && error.detail.contains("UTF-8"), "{}", error.detail);
    let task = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    let id = peer.message().await["id"].clone();
    peer.answer(&id, json!("fine")).await;
    assert_eq!(result(within(task).await.expect("joined")), "fine");
}

#[tokio::test]
async fn answers_that_are_hard_to_read_pass_or_fail_and_bring_nobody_down() {
    let deep = format!(r#"{{"d":{}1{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    let digits = format!(r#"{{"n":{}}}"#, "7".repeat(400_000));
    let zeros = format!(r#"{{"z":[0{}]}}"#, ",0".repeat(1_900_000));
    for json in [deep, digits, zeros, r#"{"half":"\ud800"}"#.to_owned()] {
        let outcome = answered_with(&format!(r#"{{"jsonrpc":"2.0","id":@ID@,"result":{json}}}"#)).await;
        let Ok(Reply::Result(result)) = outcome else { panic!("{:.80} {outcome:?}", json) };
        assert!(result.get() == json, "it is JSON, and leaves as it came: {json:.80}");
    }
    let long_id = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, "7".repeat(400_000));
    let outcome =
        answered_with(&format!("{long_id}\n{{\"jsonrpc\":\"2.0\",\"id\":@ID@,\"result\":{{}}}}")).await;
    assert!(outcome.is_ok());
}

#[tokio::test]
async fn an_answer_to_nothing_is_dropped_counted_and_told_in_the_log() {
    let options = options();
    let log = Arc::clone(&options.log);
    let (link, _lost, mut peer) = connected_with(options, &Ear::default()).await;
    let task = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    let id = peer.message().await["id"].clone();
    for stray in [json!(77), json!("a"), json!(null), json!(u64::MAX)] {
        peer.answer(&stray, json!("of somebody else")).await;
    }
    peer.say("{\"jsonrpc\":\"2.0\",\"id\":78}\n").await;
    peer.answer(&id, json!("fine")).await;
    peer.answer(&id, json!("twice")).await;
    assert_eq!(result(within(task).await.expect("joined")), "fine");
    // An answer that comes after its caller has gone is late, and no fault.
    let gone = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    let id = peer.message().await["id"].clone();
    gone.abort();
    gone.await.expect_err("aborted");
    assert_eq!(peer.message().await["method"], "notifications/cancelled");
    peer.answer(&id, json!("late")).await;
    let task = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    let id = peer.message().await["id"].clone();
    peer.answer(&id, json!("fine")).await;
    assert_eq!(result(within(task).await.expect("joined")), "fine");
    assert_eq!(log.strays(), 6);
    let told: Vec<_> =
        log.tail(100).into_iter().filter(|line| line.text.starts_with("dropped an answer")).collect();
    assert!(told.len() == 3 && told[0].text.contains("id 77"), "{told:?}");
}

/// What a plugin started may hold its stdout long after it.
#[tokio::test(start_paused = true)]
async fn a_cut_connection_fails_its_calls_though_the_pipe_is_open() {
    let options = options();
    let cut = options.cut.clone();
    let (link, lost, mut peer) = connected_with(options, &Ear::default()).await;
    let task = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    peer.message().await;
    // As its keeper does when the plugin's process has ended.
    within(link.close()).await;
    tokio::task::yield_now().await;
    assert!(!task.is_finished(), "an answer may still come");
    cut.cancel();
    assert_eq!(failure(within(task).await.expect("joined")), (CallErrorKind::Connection, Delivery::Unknown));
    assert_eq!(within(lost).await.kind, CauseKind::Requested);
}
