//! Lost sessions, refusals, and what a failure says about delivery.

use super::*;

async fn refused(fake: &Fake) -> Cause {
    within(connect(fake.endpoint("/mcp"), Arc::new(Ear::default()), options())).await.err().expect("refused")
}

/// A server that forgets its first session, and refuses as `refusal` says.
async fn forgetful(refusal: fn() -> Response, sessions: usize) -> Fake {
    let opened = Arc::new(AtomicUsize::new(0));
    Fake::start(handler(move |seen: Seen| {
        let opened = Arc::clone(&opened);
        async move {
            if seen.rpc() == "initialize" {
                let n = opened.fetch_add(1, Ordering::SeqCst) + 1;
                if n > sessions {
                    return status(500, "no more sessions");
                }
                return usual(&seen, &format!("s{n}")).expect("usual");
            }
            match usual(&seen, "") {
                Some(response) => response,
                None if seen.header("mcp-session-id") == "s1" => refusal(),
                None => json_result(&seen.body["id"], seen.body["params"].clone()),
            }
        }
    }))
    .await
}

fn not_found() -> Response {
    status(404, "Session not found")
}

fn bad_request() -> Response {
    let error = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": "Bad Request: No valid session ID provided"}});
    status(400, &error.to_string())
}

#[tokio::test]
async fn a_forgotten_session_is_opened_again_once_for_ten_calls() {
    for refusal in [not_found as fn() -> Response, bad_request] {
        let fake = forgetful(refusal, 2).await;
        let Connected { link, lost: _lost, .. } = linked(&fake).await;
        let calls: Vec<_> = (0..10)
            .map(|n| {
                spawn_call(&link, &Call::new(false), request("tools/call", &json!({"n": n}).to_string()))
            })
            .collect();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(result(within(call).await.expect("joined"))["n"], n);
        }
        assert_eq!(fake.count(&Method::POST, "initialize"), 2);
        assert_eq!(fake.count(&Method::POST, "notifications/initialized"), 2);
        link.notify(Notification::bare("notifications/x")).expect("room");
        fake.first(|seen| seen.rpc() == "notifications/x").await;
        assert_eq!(fake.count(&Method::POST, "notifications/cancelled"), 0, "what was refused does not run");
    }
}

#[tokio::test]
async fn a_new_session_has_the_lists_read_again_and_the_old_one_ended() {
    let fake = forgetful(not_found, 2).await;
    let ear = Ear::default();
    let Connected { link, lost: _lost, .. } = linked_with(&fake, &ear, options()).await;
    call(&link).await.expect("answered");
    assert_eq!(ear.heard.at_least(1).await[0].0, "notifications/tools/list_changed");
    let ended = fake.first(|seen| seen.method == Method::DELETE).await;
    assert_eq!(ended.header("mcp-session-id"), "s1");
}

#[tokio::test]
async fn a_handshake_that_fails_halfway_ends_its_session() {
    for (revision, initialized) in [("1999-01-01", 202), ("2025-11-25", 500)] {
        let fake = Fake::start(handler(move |seen: Seen| async move {
            if seen.rpc() == "initialize" {
                let mut response = json_result(&seen.body["id"], json!({"protocolVersion": revision}));
                response.headers_mut().insert("mcp-session-id", "half".parse().expect("a header"));
                return response;
            }
            status(if seen.method == Method::POST { initialized } else { 200 }, "")
        }))
        .await;
        refused(&fake).await;
        let ended = fake.first(|seen| seen.method == Method::DELETE).await;
        assert_eq!(ended.header("mcp-session-id"), "half", "{revision}");
    }
}

#[tokio::test]
async fn every_call_that_is_given_up_on_a_server_that_hangs_is_cancelled_there() {
    const CALLS: usize = 100;
    let hanging = Arc::new(tokio::sync::Semaphore::new(0));
    let gate = Arc::clone(&hanging);
    let fake = Fake::start(handler(move |seen: Seen| {
        let gate = Arc::clone(&gate);
        async move {
            match seen.rpc() {
                "tools/call" => std::future::pending().await,
                "notifications/cancelled" => {
                    gate.acquire().await.expect("open").forget();
                    status(202, "")
                }
                _ => usual(&seen, "s1").unwrap_or_else(|| status(404, "")),
            }
        }
    }))
    .await;
    let Connected { link, lost: _lost, .. } = linked(&fake).await;
    let calls: Vec<_> =
        (0..CALLS).map(|_| spawn_call(&link, &Call::new(false), request("tools/call", "{}"))).collect();
    fake.until(|all| all.iter().filter(|seen| seen.rpc() == "tools/call").count() == CALLS).await;
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    for call in calls {
        within(call).await.expect_err("aborted");
    }
    hanging.add_permits(CALLS);
    let cancelled = |all: &[Seen]| -> std::collections::BTreeSet<u64> {
        let cancellations = all.iter().filter(|seen| seen.rpc() == "notifications/cancelled");
        cancellations.filter_map(|seen| seen.body["params"]["requestId"].as_u64()).collect()
    };
    fake.until(|all| cancelled(all).len() == CALLS).await;
}

#[tokio::test]
async fn a_refusal_that_answers_the_request_is_never_posted_again() {
    for (code, rpc, words) in [
        (400, -32000, "browser session closed during click"),
        (400, -32000, "No valid session ID provided"),
        (404, -32601, "Session not found"),
    ] {
        let fake = server(move |seen| async move {
            let error =
                json!({"jsonrpc": "2.0", "id": seen.body["id"], "error": {"code": rpc, "message": words}});
            status(code, &error.to_string())
        })
        .await;
        let Connected { link, lost: _lost, .. } = linked(&fake).await;
        let answer = call(&link).await;
        assert!(matches!(&answer, Ok(Reply::Error(error)) if error.message == words), "{answer:?}");
        assert_eq!(fake.count(&Method::POST, "tools/call"), 1);
        assert_eq!(fake.count(&Method::POST, "initialize"), 1);
    }
}

#[tokio::test]
async fn a_session_that_cannot_be_opened_again_is_the_end_of_the_connection() {
    let fake = forgetful(not_found, 1).await;
    let Connected { link, lost, .. } = linked(&fake).await;
    let error = call(&link).await.expect_err("no session");
    assert_eq!((error.kind, error.delivery), (CallErrorKind::Session, Delivery::NotDelivered));
    assert!(within(lost).await.detail.contains("no more sessions"));
}

#[tokio::test]
async fn a_request_is_sent_twice_at_most() {
    let fake = server(|_| async { not_found() }).await;
    let Connected { link, lost: _lost, .. } = linked(&fake).await;
    let error = call(&link).await.expect_err("no session");
    assert_eq!((error.kind, error.delivery), (CallErrorKind::Session, Delivery::NotDelivered));
    assert_eq!(fake.count(&Method::POST, "tools/call"), 2);
}

#[tokio::test]
async fn how_a_request_failed_says_how_far_it_got() {
    let fake = server(|seen| async move {
        match seen.body["params"]["as"].as_str() {
            Some("busy") => status(503, "later"),
            Some("limited") => status(429, "later"),
            Some("proxy") => status(502, ""),
            Some("moved") => {
                let mut response = status(307, "");
                response.headers_mut().insert("location", "/elsewhere".parse().expect("a header"));
                response
            }
            Some("empty") => typed("text/event-stream", ": nothing\n\n"),
            Some("other") => json_result(&json!(12345), json!(1)),
            Some("big") => json_result(&seen.body["id"], json!("x".repeat(2000))),
            Some("rpc") => {
                status(400, r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"bad"}}"#)
            }
            _ => typed("application/json", "no json"),
        }
    })
    .await;
    let small = Options { max_message: 1000, ..options() };
    let Connected { link, lost: _lost, .. } = linked_with(&fake, &Ear::default(), small).await;
    for (form, kind, delivery) in [
        ("busy", CallErrorKind::Connection, Delivery::Unknown),
        ("limited", CallErrorKind::Refused, Delivery::NotDelivered),
        ("proxy", CallErrorKind::Connection, Delivery::Unknown),
        ("moved", CallErrorKind::Protocol, Delivery::Answered),
        ("empty", CallErrorKind::Connection, Delivery::Unknown),
        ("other", CallErrorKind::Protocol, Delivery::Unknown),
        ("big", CallErrorKind::Protocol, Delivery::Unknown),
        ("garbage", CallErrorKind::Protocol, Delivery::Unknown),
    ] {
        let call = link.request(
            request("tools/call", &json!({"as": form}).to_string()),
            Call::new(false) as Arc<dyn Scope>,
        );
        let error = within(call).await.expect_err(form);
        assert_eq!((error.kind, error.delivery), (kind, delivery), "{form}: {}", error.detail);
    }
    let rpc =
        within(link.request(request("tools/call", r#"{"as":"rpc"}"#), Call::new(false) as Arc<dyn Scope>))
            .await;
    assert!(matches!(rpc, Ok(Reply::Error(error)) if error.code == -32602));
    assert_eq!(
        fake.seen().iter().filter(|seen| seen.path != "/mcp").count(),
        0,
        "redirects are not followed"
    );
}

#[tokio::test]
async fn a_refused_connection_delivers_nothing_and_a_broken_one_may_have() {
    // Answers the handshake, then closes connections after reading from them, then listens no more.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
    let (hang_up, hung) = tokio::sync::oneshot::channel::<()>();
    let serve = async move {
        let mut buffer = vec![0; 4096];
        let hello = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}"#;
        for answer in [
            format!(
                "200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{hello}",
                hello.len()
            ),
            "202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned(),
            String::new(),
        ] {
            loop {
                let (mut socket, _) = listener.accept().await.expect("a connection");
                let n = socket.read(&mut buffer).await.expect("a request");
                // The stream for what belongs to no call is not offered.
                let get = buffer[..n].starts_with(b"GET");
                let answer = if get { "405 No\r\ncontent-length: 0\r\n\r\n" } else { &answer };
                if !answer.is_empty() {
                    socket
                        .write_all(
                            format!("HTTP/1.1 {}", answer.replacen("\r\n", "\r\nconnection: close\r\n", 1))
                                .as_bytes(),
                        )
                        .await
                        .expect("written");
                }
                if !get {
                    break;
                }
            }
        }
        drop(listener);
        hang_up.send(()).expect("waited for");
    };
    drop(Tasks::default().spawn(tracing::Span::none(), serve));
    let connected = within(connect(endpoint(&url), Arc::new(Ear::default()), options())).await;
    let Connected { link, lost: _lost, .. } = connected.expect("connected");
    let broken = call(&link).await.expect_err("broken");
    assert_eq!((broken.kind, broken.delivery), (CallErrorKind::Connection, Delivery::Unknown));
    within(hung).await.expect("hung up");
    let refused = call(&link).await.expect_err("refused");
    assert_eq!((refused.kind, refused.delivery), (CallErrorKind::Connection, Delivery::NotDelivered));
    let cause =
        within(connect(endpoint(&url), Arc::new(Ear::default()), options())).await.err().expect("refused");
    assert_eq!(cause.kind, CauseKind::Unreachable);
}

#[tokio::test]
async fn a_handshake_that_is_refused_says_why() {
    for (code, kind) in [
        (401, CauseKind::Unauthorized),
        (403, CauseKind::Unauthorized),
        (404, CauseKind::HandshakeRefused),
        (503, CauseKind::Unreachable),
        (500, CauseKind::HandshakeRefused),
    ] {
        let fake = Fake::start(handler(move |_| async move { status(code, "words of the server") })).await;
        let cause = refused(&fake).await;
        assert_eq!(cause.kind, kind, "{code}");
        assert!(cause.detail.contains("words of the server"), "{}", cause.detail);
    }
    let fake = Fake::start(handler(|seen: Seen| async move {
        json_result(&seen.body["id"], json!({"protocolVersion": "1"}))
    }))
    .await;
    assert_eq!(refused(&fake).await.kind, CauseKind::HandshakeRefused);
    let silent = Fake::start(handler(|_| std::future::pending())).await;
    let hasty = Options { handshake_deadline: tokio::time::Instant::now(), ..options() };
    let cause = within(connect(silent.endpoint("/mcp"), Arc::new(Ear::default()), hasty))
        .await
        .err()
        .expect("refused");
    assert_eq!(cause.kind, CauseKind::StartTimeout);
}

#[tokio::test]
async fn a_url_of_unknown_dialect_is_tried_as_http_and_then_as_sse() {
    let streams: Arc<Mutex<Vec<mpsc::Sender<String>>>> = Arc::default();
    let kept = Arc::clone(&streams);
    let old = Fake::start(handler(move |seen: Seen| {
        let kept = Arc::clone(&kept);
        async move {
            if seen.method == Method::GET {
                let (tx, response) = stream();
                tx.send("event: endpoint\ndata: /post\n\n".to_owned()).await.expect("open");
                kept.lock().await.push(tx);
                return response;
            }
            if seen.path == "/sse" {
                return status(405, "only GET");
            }
            if seen.rpc() == "initialize" {
                let hello = json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": {"protocolVersion": "2024-11-05"}});
                kept.lock().await[0].send(event(&hello)).await.expect("open");
            }
            status(202, "Accepted")
        }
    }))
    .await;
    let connected = within(detect::connect(old.endpoint("/sse"), Arc::new(Ear::default()), options())).await;
    assert_eq!(connected.expect("connected").link.hello().dialect, "sse");

    let new = server(|_| async { status(500, "") }).await;
    let connected = within(detect::connect(new.endpoint("/mcp"), Arc::new(Ear::default()), options())).await;
    assert_eq!(connected.expect("connected").link.hello().dialect, "http");

    let closed = Fake::start(handler(|_| async { status(401, "") })).await;
    let cause =
        within(detect::connect(closed.endpoint("/mcp"), Arc::new(Ear::default()), options())).await.err();
    assert_eq!(cause.expect("refused").kind, CauseKind::Unauthorized);
    assert!(
        closed.seen().iter().all(|seen| seen.method == Method::POST),
        "refused credentials are no evidence"
    );
    let neither = Fake::start(handler(|_| async { status(404, "") })).await;
    let cause =
        within(detect::connect(neither.endpoint("/mcp"), Arc::new(Ear::default()), options())).await.err();
    let detail = cause.expect("refused").detail;
    assert!(detail.contains("as http") && detail.contains("as sse"), "{detail}");
}
