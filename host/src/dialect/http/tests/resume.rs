//! Streams that end or turn bad before the answer, and batches.

use super::*;

/// A server whose POST gives `first` and ends, and whose GETs after an event give what `next` says, the n-th time.
async fn polling<F>(first: &'static str, next: F) -> Fake
where
    F: Fn(usize, &Seen) -> Response + Send + Sync + 'static,
{
    let gets = AtomicUsize::new(0);
    let call = Mutex::new(serde_json::Value::Null);
    let state = Arc::new((gets, call, next));
    Fake::start(handler(move |mut seen: Seen| {
        let state = Arc::clone(&state);
        async move {
            let (gets, call, next) = &*state;
            if seen.rpc() == "tools/call" {
                *call.lock().await = seen.body["id"].clone();
                return typed("text/event-stream", first);
            }
            if seen.method == Method::GET && !seen.header("last-event-id").is_empty() {
                seen.body = json!({"id": *call.lock().await});
                return next(gets.fetch_add(1, Ordering::SeqCst), &seen);
            }
            usual(&seen, "s1").unwrap_or_else(|| status(404, ""))
        }
    }))
    .await
}

fn resumptions(fake: &Fake) -> Vec<Seen> {
    fake.seen().into_iter().filter(|seen| !seen.header("last-event-id").is_empty()).collect()
}

fn events(text: String) -> Response {
    typed("text/event-stream", text)
}

const PRIMING: &str = "id: a/1\nretry: 1\ndata:\n\n";

#[tokio::test]
async fn a_stream_that_the_server_closes_is_gone_on_with_after_its_last_event() {
    let fake = polling(PRIMING, |n, seen| match n {
        0 => status(502, "not yet"),
        1 => events(format!(
            "id: a/2\ndata:\n\n{}",
            event(&json!({"jsonrpc": "2.0", "method": "notifications/message"}))
        )),
        _ => events(event(&json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": "late"}))),
    })
    .await;
    let Connected { link, lost: _lost, .. } = linked(&fake).await;
    let scope = Call::new(false);
    let answer = within(link.request(request("tools/call", "{}"), scope.clone() as Arc<dyn Scope>)).await;
    assert_eq!(result(answer), "late");
    assert_eq!(scope.heard.all().len(), 1, "it is still the stream of its call");
    let gets = resumptions(&fake);
    let after: Vec<&str> = gets.iter().map(|seen| seen.header("last-event-id")).collect();
    assert_eq!(after, ["a/1", "a/1", "a/2"]);
    assert!(gets.iter().all(|seen| seen.header("mcp-session-id") == "s1"));
    assert!(gets.iter().all(|seen| seen.header("mcp-protocol-version") == "2025-06-18"));
    assert_eq!(fake.count(&Method::POST, "tools/call"), 1);
    assert_eq!(fake.count(&Method::POST, "notifications/cancelled"), 0);
}

#[tokio::test]
async fn a_stream_that_never_goes_on_is_given_up_and_its_call_cancelled() {
    type Next = fn(usize, &Seen) -> Response;
    for (next, gets) in [
        ((|_, _| events(": nothing\n\n".to_owned())) as Next, 5),
        (|_, _| status(503, ""), 5),
        (|_, _| status(405, ""), 1),
    ] {
        let fake = polling(PRIMING, next).await;
        let Connected { link, lost: _lost, .. } = linked(&fake).await;
        let error = call(&link).await.expect_err("no answer");
        assert_eq!((error.kind, error.delivery), (CallErrorKind::Connection, Delivery::Unknown));
        assert_eq!(resumptions(&fake).len(), gets);
        fake.first(|seen| seen.rpc() == "notifications/cancelled").await;
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_read_does_not_fail_the_call_and_the_third_does() {
    for bad in [1, 2, 3] {
        let fake = server(move |seen| async move {
            let garbage = ["data: no message\n\n".to_owned(), format!("data: {}\n\n", "x".repeat(2000))];
            let garbage: String = garbage.into_iter().cycle().take(bad).collect();
            let answer = event(&json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": "after"}));
            events(garbage + &answer)
        })
        .await;
        let small = Options { max_message: 1000, ..options() };
        let Connected { link, lost: _lost, .. } = linked_with(&fake, &Ear::default(), small).await;
        let answer = call(&link).await;
        if bad < 3 {
            assert_eq!(result(answer), "after");
            continue;
        }
        let error = answer.expect_err("too much");
        assert_eq!((error.kind, error.delivery), (CallErrorKind::Protocol, Delivery::Unknown));
        fake.first(|seen| seen.rpc() == "notifications/cancelled").await;
    }
}

#[tokio::test]
async fn an_error_without_an_id_answers_its_own_request_and_is_not_cancelled() {
    let fake = server(|_| async {
        events(event(&json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "no"}})))
    })
    .await;
    let Connected { link, lost: _lost, .. } = linked(&fake).await;
    assert!(matches!(call(&link).await, Ok(Reply::Error(error)) if error.code == -32600));
    link.notify(Notification::bare("notifications/next")).expect("room");
    fake.first(|seen| seen.rpc() == "notifications/next").await;
    assert_eq!(fake.count(&Method::POST, "notifications/cancelled"), 0);
}

#[tokio::test]
async fn a_batch_answers_where_the_revision_has_batches() {
    for (revision, has) in [("2025-03-26", true), ("2025-11-25", false)] {
        let fake = Fake::start(handler(move |seen: Seen| async move {
            match seen.rpc() {
                "initialize" => json_result(&seen.body["id"], json!({"protocolVersion": revision})),
                "tools/call" => {
                    let note = json!({"jsonrpc": "2.0", "method": "notifications/message"});
                    let answer = json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": "batched"});
                    typed("application/json", json!([note, answer]).to_string())
                }
                _ => usual(&seen, "").unwrap_or_else(|| status(404, "")),
            }
        }))
        .await;
        let Connected { link, lost: _lost, .. } = linked(&fake).await;
        match call(&link).await {
            Ok(answer) => assert_eq!((result(Ok(answer)), has), (json!("batched"), true)),
            Err(error) => assert_eq!((error.kind, has), (CallErrorKind::Protocol, false)),
        }
    }
}
