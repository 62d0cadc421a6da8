use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::response::Response;
use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Mutex, mpsc};
use wharf_plugin_api::{CallErrorKind, Cause, CauseKind, Client, Delivery, Link, Notification, Reply, Scope};

use super::connect;
use crate::dialect::handshake::HostScope;
use crate::dialect::testkit::fake::{
    Fake, Seen, endpoint, event, handler, json_result, status, stream, typed,
};
use crate::dialect::testkit::{Call, Ear, PATIENCE, options, request, result, spawn_call, within};
use crate::dialect::{Connected, Options, detect};
use crate::tasks::Tasks;

/// What every server of these tests does alike; `None` is left to the test.
fn usual(seen: &Seen, session: &str) -> Option<Response> {
    match (seen.method.as_str(), seen.rpc()) {
        ("POST", "initialize") => {
            let mut response = json_result(
                &seen.body["id"],
                json!({"protocolVersion": "2025-06-18", "serverInfo": {"name": "fake"}}),
            );
            response.headers_mut().insert("mcp-session-id", session.parse().expect("a header"));
            Some(response)
        }
        ("POST", method) if method.starts_with("notifications/") => Some(status(202, "Accepted")),
        ("GET", _) => Some(status(405, "")),
        ("DELETE", _) => Some(status(200, "")),
        _ => None,
    }
}

/// A server that answers calls as `answer` says.
async fn server<F, R>(answer: F) -> Fake
where
    F: Fn(Seen) -> R + Send + Sync + 'static,
    R: Future<Output = Response> + Send + 'static,
{
    let answer = Arc::new(answer);
    Fake::start(handler(move |seen| {
        let answer = Arc::clone(&answer);
        async move {
            match usual(&seen, "s1") {
                Some(response) => response,
                None => answer(seen).await,
            }
        }
    }))
    .await
}

async fn linked(fake: &Fake) -> Connected {
    linked_with(fake, &Ear::default(), options()).await
}

async fn linked_with(fake: &Fake, ear: &Ear, options: Options) -> Connected {
    within(connect(fake.endpoint("/mcp"), Arc::new(ear.clone()), options)).await.expect("connected")
}

async fn call(link: &Arc<dyn Link>) -> Result<Reply, wharf_plugin_api::CallError> {
    within(link.request(request("tools/call", r#"{"name":"t"}"#), Call::new(false) as Arc<dyn Scope>)).await
}

#[tokio::test]
async fn session_and_revision_travel_with_every_request_and_close_ends_the_session() {
    let fake = server(|seen| async move { json_result(&seen.body["id"], json!("ok")) }).await;
    let Connected { link, lost, .. } = linked(&fake).await;
    assert_eq!((link.hello().dialect, link.hello().revision.as_str()), ("http", "2025-06-18"));
    assert_eq!(result(call(&link).await), "ok");
    link.notify(Notification::bare("notifications/x")).expect("room");
    fake.first(|seen| seen.rpc() == "notifications/x").await;
    within(link.close()).await;
    assert_eq!(within(lost).await.kind, CauseKind::Requested);
    let all = fake.seen();
    assert_eq!(all[0].header("mcp-session-id"), "");
    let host = fake.base.trim_start_matches("http://");
    assert!(all.iter().all(|seen| seen.header("x-key") == "k" && seen.header("host") == host));
    for seen in &all[1..] {
        assert_eq!(
            (seen.header("mcp-session-id"), seen.header("mcp-protocol-version")),
            ("s1", "2025-06-18")
        );
    }
    for seen in all.iter().filter(|seen| seen.method == Method::POST) {
        assert_eq!(seen.header("accept"), "application/json, text/event-stream");
        assert_eq!(seen.header("content-type"), "application/json");
    }
    assert_eq!(all[1].rpc(), "notifications/initialized");
    assert_eq!(all.iter().filter(|seen| seen.method == Method::DELETE).count(), 1);
    let after = call(&link).await.expect_err("closed");
    assert_eq!((after.kind, after.delivery), (CallErrorKind::Connection, Delivery::NotDelivered));
}

#[tokio::test]
async fn requests_that_come_together_go_out_together() {
    let fake = server(|seen| async move { json_result(&seen.body["id"], json!("ok")) }).await;
    let Connected { link, .. } = linked(&fake).await;
    let scopes = [(); 3].map(|()| Call::new(false));
    let one = |scope: &Arc<Call>| {
        link.request(request("tools/call", r#"{"name":"t"}"#), Arc::clone(scope) as Arc<dyn Scope>)
    };
    let mut all = Vec::from(scopes.each_ref().map(one));
    for request in &mut all {
        assert!(futures_util::poll!(request).is_pending());
    }
    assert_eq!(scopes.each_ref().map(|scope| scope.times_sent()), [0; 3], "each steps back for the others");
    for answer in within(futures_util::future::join_all(all)).await {
        assert_eq!(result(answer), "ok");
    }
    assert_eq!(scopes.each_ref().map(|scope| scope.times_sent()), [1; 3]);
}

#[tokio::test]
async fn a_connection_is_ready_when_its_stream_was_answered() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let fake = Fake::start(handler(move |seen: Seen| {
        let gate = Arc::clone(&gate);
        async move {
            if seen.method == Method::GET {
                gate.acquire().await.expect("it is never closed").forget();
            }
            usual(&seen, "s1").unwrap_or_else(|| status(404, ""))
        }
    }))
    .await;
    let connecting = linked(&fake);
    tokio::pin!(connecting);
    let early = tokio::time::timeout(super::listen::FIRST_ANSWER / 4, &mut connecting).await;
    assert!(early.is_err(), "what the server says now is lost");
    opened.add_permits(1);
    drop(connecting.await);
    assert_eq!(fake.seen().iter().filter(|seen| seen.method == Method::GET).count(), 1);
}

#[tokio::test]
async fn an_answer_may_be_json_or_events_or_json_that_is_called_events() {
    let fake = server(|seen| async move {
        let id = &seen.body["id"];
        match seen.body["params"]["as"].as_str() {
            Some("json") => json_result(id, json!("json")),
            Some("accepted") => {
                let mut response = json_result(id, json!("accepted"));
                *response.status_mut() = http::StatusCode::ACCEPTED;
                response
            }
            Some("events") => {
                let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {}});
                let answer = json!({"jsonrpc": "2.0", "id": id, "result": "events"});
                typed("text/event-stream; charset=utf-8", format!(": hi\nid: 1\ndata:\n\n{}{}", event(&note), event(&answer)))
            }
            Some("pretty") => typed(
                "text/event-stream",
                format!("data: {{\"jsonrpc\":\"2.0\",\r\ndata: \"id\":{id},\r\ndata: \"result\":{{\ndata:  \"a\":\n\
                         data: {{\"jsonrpc\":\"2.0\",\"id\":99}}}}\r\ndata: }}\r\n\r\n"),
            ),
            _ => typed("text/event-stream", json!({"jsonrpc": "2.0", "id": id, "result": "mislabelled"}).to_string()),
        }
    })
    .await;
    let Connected { link, lost: _lost, .. } = linked(&fake).await;
    for form in ["json", "accepted", "events", "mislabelled"] {
        let scope = Call::new(false);
        let outcome =
            within(link.request(request("tools/call", &json!({"as": form}).to_string()), scope.clone()))
                .await;
        assert_eq!(result(outcome), form);
        assert_eq!(
            scope.heard.all().len(),
            usize::from(form == "events"),
            "logs on the stream belong to its call"
        );
    }
    let pretty = within(link.request(request("tools/call", r#"{"as":"pretty"}"#), Call::new(false))).await;
    assert_eq!(
        result(pretty),
        json!({"a": {"jsonrpc": "2.0", "id": 99}}),
        "one message, though its data has lines"
    );
}

#[tokio::test]
async fn progress_and_questions_on_a_stream_belong_to_its_call() {
    let ear = Ear::default();
    let fake = server(|seen| async move {
        if seen.rpc().is_empty() {
            return status(202, "");
        }
        let (tx, response) = stream();
        let id = seen.body["id"].clone();
        let token = seen.body["params"]["_meta"]["progressToken"].clone();
        let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
                              "params": {"progressToken": token, "progress": seen.body["params"]["n"]}});
        tx.send(event(&progress)).await.expect("open");
        for (method, key) in [("progress", "progressToken"), ("cancelled", "requestId")] {
            let stray =
                json!({"jsonrpc": "2.0", "method": format!("notifications/{method}"), "params": {key: 999}});
            tx.send(event(&stray)).await.expect("open");
        }
        let ask = json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {}});
        tx.send(event(&ask)).await.expect("open");
        tx.send(event(&json!({"jsonrpc": "2.0", "id": id, "result": "done"}))).await.expect("open");
        response
    })
    .await;
    let Connected { link, lost: _lost, .. } = linked_with(&fake, &ear, options()).await;
    let (a, b) = (Call::new(true), Call::new(true));
    let tasks = [(&a, 1), (&b, 2)]
        .map(|(scope, n)| spawn_call(&link, scope, request("tools/call", &json!({"n": n}).to_string())));
    for task in tasks {
        assert_eq!(result(within(task).await.expect("joined")), "done");
    }
    assert_eq!(a.heard.at_least(1).await[0].1["progress"], 1);
    assert_eq!(b.heard.at_least(1).await[0].1["progress"], 2);
    assert_eq!((a.heard.all().len(), b.heard.all().len()), (1, 1), "what is about no request is for nobody");
    let answer = fake.first(|seen| seen.body["id"] == "q").await;
    assert_eq!(answer.body["result"], json!({"action": "accept"}));
    assert!(ear.heard.all().is_empty());
}

#[tokio::test]
async fn roots_asked_on_a_stream_of_the_hosts_are_those_of_the_instances_one_client() {
    let asks = json!({"jsonrpc": "2.0", "id": "q", "method": "roots/list"});
    for own in [true, false] {
        let (ear, asks) = (Ear::default(), asks.clone());
        let fake = server(move |seen| {
            let asks = asks.clone();
            async move {
                if seen.rpc().is_empty() {
                    return status(202, "");
                }
                let answer = json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": "done"});
                typed("text/event-stream", event(&asks) + &event(&answer))
            }
        })
        .await;
        let client = own.then(|| Arc::new(Client::default()));
        let Connected { link, lost: _lost, .. } =
            linked_with(&fake, &ear, Options { client, ..options() }).await;
        let scope = HostScope::until(tokio::time::Instant::now() + PATIENCE);
        assert_eq!(result(within(link.request(request("tools/list", "{}"), scope)).await), "done");
        let answer = fake.first(|seen| seen.body["id"] == "q").await.body;
        if own {
            assert_eq!((&answer["error"]["message"], ear.asked.borrow().len()), (&json!("not here"), 1));
        } else {
            assert_eq!((&answer["result"], ear.asked.borrow().len()), (&json!({"roots": []}), 0));
        }
    }
}

#[tokio::test]
async fn a_caller_that_goes_is_cancelled_with_its_id() {
    let fake = server(|_| std::future::pending()).await;
    let Connected { link, lost: _lost, .. } = linked(&fake).await;
    let task = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    let sent = fake.first(|seen| seen.rpc() == "tools/call").await;
    task.abort();
    let cancelled = fake.first(|seen| seen.rpc() == "notifications/cancelled").await;
    assert_eq!(cancelled.body["params"]["requestId"], sent.body["id"]);
    assert_eq!(cancelled.header("mcp-session-id"), "s1");
}

#[tokio::test]
async fn what_belongs_to_no_call_comes_on_the_get_stream() {
    let (opened, mut streams) = mpsc::channel::<mpsc::Sender<String>>(4);
    let fake = Fake::start(handler(move |seen: Seen| {
        let opened = opened.clone();
        async move {
            if seen.method == Method::GET {
                let (tx, response) = stream();
                opened.send(tx).await.expect("open");
                return response;
            }
            usual(&seen, "s1").unwrap_or_else(|| status(202, ""))
        }
    }))
    .await;
    let ear = Ear::default();
    let Connected { link, lost: _lost, .. } = linked_with(&fake, &ear, options()).await;
    let tx = within(streams.recv()).await.expect("a stream");
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    let ask = json!({"jsonrpc": "2.0", "id": 5, "method": "sampling/createMessage"});
    tx.send(format!("retry: 1\nid: 42\n{}{}", event(&changed), event(&ask))).await.expect("open");
    assert_eq!(ear.heard.at_least(1).await[0].0, "notifications/tools/list_changed");
    assert_eq!(fake.first(|seen| seen.body["id"] == 5).await.body["error"]["code"], -32601);
    drop(tx);
    // It is opened again after what came last.
    let _tx = within(streams.recv()).await.expect("a second stream");
    let again = fake.seen().into_iter().rfind(|seen| seen.method == Method::GET).expect("a GET");
    assert_eq!(again.header("last-event-id"), "42");
    within(link.close()).await;
}

mod flood;
mod modern;
mod resume;
mod trouble;
