//! The modern era over HTTP: headers, refusals, cancellation, and how the era is found out.

use serde_json::Value;
use tokio::time::Duration;
use wharf_core::manifest::EraChoice;
use wharf_plugin_api::Era;

use super::*;

const MODERN: &str = "2026-07-28";

fn era(era: EraChoice) -> Options {
    Options { era, ..options() }
}

fn discovery(seen: &Seen) -> Option<Response> {
    let capabilities = json!({"tools": {}});
    (seen.rpc() == "server/discover").then(|| {
        json_result(&seen.body["id"], json!({"supportedVersions": [MODERN], "capabilities": capabilities}))
    })
}

/// An error of JSON-RPC with a status, as an answer to the request.
fn error(status_code: u16, seen: &Seen, code: i64, data: Value) -> Response {
    let error = json!({"code": code, "message": "no", "data": data});
    let mut response = typed(
        "application/json",
        json!({"jsonrpc": "2.0", "id": seen.body["id"], "error": error}).to_string(),
    );
    *response.status_mut() = http::StatusCode::from_u16(status_code).expect("a status");
    response
}

async fn modern<F, R>(answer: F) -> Fake
where
    F: Fn(Seen) -> R + Send + Sync + 'static,
    R: Future<Output = Response> + Send + 'static,
{
    let answer = Arc::new(answer);
    Fake::start(handler(move |seen| {
        let answer = Arc::clone(&answer);
        async move {
            match discovery(&seen) {
                Some(response) => response,
                None => answer(seen).await,
            }
        }
    }))
    .await
}

async fn connected(fake: &Fake) -> Arc<dyn Link> {
    let Connected { link, lost, .. } = linked_with(fake, &Ear::default(), era(EraChoice::Auto)).await;
    drop(lost);
    link
}

async fn ask(
    link: &Arc<dyn Link>,
    method: &str,
    params: Value,
) -> Result<Reply, wharf_plugin_api::CallError> {
    within(link.request(request(method, &params.to_string()), Call::new(false) as Arc<dyn Scope>)).await
}

#[tokio::test]
async fn every_request_says_in_its_headers_what_its_body_says() {
    let fake =
        modern(|seen| async move { json_result(&seen.body["id"], json!({"resultType": "complete"})) }).await;
    let link = connected(&fake).await;
    assert_eq!((link.hello().dialect, link.hello().revision.as_str()), ("http", MODERN));
    ask(&link, "tools/call", json!({"name": "my-hyphenated-tool"})).await.expect("answered");
    ask(&link, "resources/read", json!({"uri": "file:///path/to/file%20name.txt"})).await.expect("answered");
    ask(&link, "prompts/get", json!({"name": "p"})).await.expect("answered");
    ask(&link, "tasks/get", json!({"taskId": "t"})).await.expect("answered");
    within(link.close()).await;
    let seen = fake.seen();
    let names: Vec<&str> = seen.iter().map(|seen| seen.header("mcp-name")).collect();
    assert_eq!(names, ["", "my-hyphenated-tool", "file:///path/to/file%20name.txt", "p", "t"]);
    for seen in &seen {
        assert_eq!(seen.method, Method::POST, "no stream, no end of a session");
        assert_eq!(seen.header("mcp-method"), seen.rpc());
        assert_eq!(seen.header("mcp-protocol-version"), MODERN);
        assert_eq!(seen.body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], MODERN);
        assert_eq!(seen.header("accept"), "application/json, text/event-stream");
        assert_eq!(seen.header("content-type"), "application/json");
        assert_eq!((seen.header("mcp-session-id"), seen.header("x-key")), ("", "k"));
    }
}

#[tokio::test]
async fn annotated_arguments_travel_in_headers_and_tools_that_say_it_wrongly_are_not_offered() {
    let tool = |name: &str, header: &str| {
        let region = json!({"type": "string", "x-mcp-header": header});
        json!({"name": name, "inputSchema": {"type": "object", "properties": {"region": region}}})
    };
    let tools = json!({"tools": [tool("valid", "Region"), tool("invalid", "My Region")]});
    let fake = modern(move |seen| {
        let answer =
            json_result(&seen.body["id"], if seen.rpc() == "tools/list" { tools.clone() } else { json!({}) });
        async move { answer }
    })
    .await;
    let link = connected(&fake).await;
    let listed = result(ask(&link, "tools/list", json!({})).await);
    assert_eq!(listed, json!({"tools": [tool("valid", "Region")]}));
    ask(&link, "tools/call", json!({"name": "valid", "arguments": {"region": "Zürich"}}))
        .await
        .expect("answered");
    let call = fake.first(|seen| seen.rpc() == "tools/call").await;
    assert_eq!(call.header("mcp-param-region"), "=?base64?WsO8cmljaA==?=");
    assert_eq!(call.body["params"]["arguments"], json!({"region": "Zürich"}));
}

#[tokio::test]
async fn a_call_refused_for_its_headers_is_sent_once_more_after_a_look_at_the_tools() {
    let fake = modern(|seen| async move {
        let region = json!({"type": "string", "x-mcp-header": "Region"});
        match seen.rpc() {
            "tools/list" if seen.body["params"]["cursor"].is_null() => {
                json_result(&seen.body["id"], json!({"tools": [], "nextCursor": "2"}))
            }
            "tools/list" => {
                let schema = json!({"type": "object", "properties": {"region": region}});
                json_result(&seen.body["id"], json!({"tools": [{"name": "t", "inputSchema": schema}]}))
            }
            _ if seen.body["params"]["arguments"]["never"] == true => error(400, &seen, -32020, json!({})),
            _ if seen.header("mcp-param-region").is_empty() => error(400, &seen, -32020, json!({})),
            _ => json_result(&seen.body["id"], json!("ran")),
        }
    })
    .await;
    let link = connected(&fake).await;
    let reply = ask(&link, "tools/call", json!({"name": "t", "arguments": {"region": "x"}})).await;
    assert_eq!(result(reply), "ran");
    assert_eq!((fake.count(&Method::POST, "tools/call"), fake.count(&Method::POST, "tools/list")), (2, 2));
    let never = json!({"name": "t", "arguments": {"region": "x", "never": true}});
    let reply = ask(&link, "tools/call", never).await;
    assert!(matches!(reply, Ok(Reply::Error(error)) if error.code == -32020), "once, and no more");
    assert_eq!(fake.count(&Method::POST, "tools/call"), 4);
}

#[tokio::test]
async fn an_error_of_the_server_is_its_answer_whatever_the_status() {
    for (status_code, code) in [(400, -32021), (400, -32602), (404, -32601), (500, -32603), (200, -32602)] {
        let fake = modern(move |seen| async move { error(status_code, &seen, code, json!({"x": 1})) }).await;
        let reply = ask(&connected(&fake).await, "tools/call", json!({"name": "t"})).await;
        let Ok(Reply::Error(error)) = reply else { panic!("{reply:?}") };
        assert_eq!((error.code, error.data.expect("data").get()), (code, r#"{"x":1}"#));
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_closes_its_response() {
    let open = Arc::new(Mutex::new(None));
    let (keep, kept) = (Arc::clone(&open), Call::new(true));
    let fake = modern(move |_| {
        let keep = Arc::clone(&keep);
        async move {
            let (sender, response) = stream();
            let told = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {}});
            sender.send(event(&told)).await.expect("open");
            *keep.lock().await = Some(sender);
            response
        }
    })
    .await;
    let link = connected(&fake).await;
    let task = spawn_call(&link, &kept, request("tools/call", r#"{"name":"t"}"#));
    assert_eq!(kept.heard.at_least(1).await[0].0, "notifications/message");
    task.abort();
    let sender = open.lock().await.take().expect("it is open");
    within(sender.closed()).await;
    assert!(fake.seen().iter().all(|seen| !seen.rpc().starts_with("notifications/")), "closing says it");
}

#[tokio::test]
async fn a_server_of_either_era_is_found_out() {
    type Probe = fn(&Seen) -> Response;
    let refusals: [(&str, Probe); 7] = [
        ("everything", |_| {
            status(
                400,
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Server not initialized"}}"#,
            )
        }),
        ("supergateway", |seen| error(404, seen, -32601, json!(null))),
        ("cyanheads", |seen| error(500, seen, -32603, json!(null))),
        ("plain text", |_| status(404, "not found")),
        ("any result", |seen| json_result(&seen.body["id"], json!({}))),
        ("a page", |_| typed("text/html", "<h1>hello</h1>")),
        ("another revision", |seen| error(400, seen, -32022, json!({"supported": ["2027-01-01"]}))),
    ];
    for (name, refuse) in refusals {
        let fake = server(move |seen| async move { refuse(&seen) }).await;
        let Connected { link, lost: _lost, .. } =
            linked_with(&fake, &Ear::default(), era(EraChoice::Auto)).await;
        assert_eq!(link.hello().revision, "2025-06-18", "{name}");
        let rpcs: Vec<String> = fake.seen().iter().map(|seen| seen.rpc().to_owned()).take(2).collect();
        assert_eq!(rpcs, ["server/discover", "initialize"], "{name}");
    }
}

#[tokio::test]
async fn a_server_that_names_our_revision_is_asked_again_and_never_initialized() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let again = Fake::start(handler(move |seen: Seen| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            match first {
                true => error(400, &seen, -32022, json!({"supported": [MODERN]})),
                false => discovery(&seen).unwrap_or_else(|| status(500, "")),
            }
        }
    }))
    .await;
    assert_eq!(connected(&again).await.hello().revision, MODERN);
    assert_eq!(again.count(&Method::POST, "initialize"), 0);
}

#[tokio::test]
async fn a_server_that_refuses_the_question_may_take_the_legacy_handshake() {
    for code in [-32020, -32021] {
        let fake = server(move |seen| async move { error(400, &seen, code, json!({})) }).await;
        let connected = linked_with(&fake, &Ear::default(), era(EraChoice::Auto)).await;
        assert_eq!(connected.link.hello().revision, "2025-06-18");
        let fake =
            Fake::start(handler(move |seen: Seen| async move { error(400, &seen, code, json!({})) })).await;
        for (era, asked) in [(era(EraChoice::Auto), 1), (era(EraChoice::Modern), 0)] {
            let before = fake.count(&Method::POST, "initialize");
            let cause = within(detect::connect(fake.endpoint("/mcp"), Arc::new(Ear::default()), era)).await;
            let cause = cause.err().expect("refused");
            assert_eq!(cause.kind, CauseKind::HandshakeRefused);
            assert!(cause.detail.contains("server/discover"), "{cause}");
            assert_eq!(fake.count(&Method::POST, "initialize") - before, asked);
        }
    }
}

#[tokio::test]
async fn passing_trouble_is_no_verdict() {
    let said = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"starting"}}"#;
    for status_code in [429, 502, 503, 504] {
        for body in ["", said] {
            let fake = server(move |_| async move { status(status_code, body) }).await;
            let connected = linked_with(&fake, &Ear::default(), era(EraChoice::Auto)).await;
            assert_eq!(connected.link.hello().revision, "2025-06-18");
            assert_eq!(connected.era(), None, "{status_code} {body}");
        }
    }
    for status_code in [400, 404, 500] {
        let fake = server(move |_| async move { status(status_code, "") }).await;
        let connected = linked_with(&fake, &Ear::default(), era(EraChoice::Auto)).await;
        assert_eq!(connected.era(), Some(Era::Legacy), "{status_code}");
    }
}

#[tokio::test]
async fn who_is_not_let_in_learns_nothing_of_the_era() {
    for status_code in [401, 403] {
        let fake =
            Fake::start(handler(
                move |seen: Seen| async move { error(status_code, &seen, -32000, json!(null)) },
            ))
            .await;
        for era in [era(EraChoice::Auto), era(EraChoice::Modern)] {
            let cause = within(detect::connect(fake.endpoint("/mcp"), Arc::new(Ear::default()), era)).await;
            assert_eq!(cause.err().expect("refused").kind, CauseKind::Unauthorized);
        }
        assert_eq!(fake.count(&Method::POST, "initialize"), 0);
    }
    let nobody =
        within(connect(endpoint("http://127.0.0.1:1/mcp"), Arc::new(Ear::default()), era(EraChoice::Auto)));
    assert_eq!(nobody.await.err().expect("refused").kind, CauseKind::Unreachable);
}

#[tokio::test]
async fn a_server_that_is_silent_to_the_question_is_initialized() {
    let fake = server(|_| std::future::pending()).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(3);
    let hasty = Options { handshake_deadline: deadline, ..era(EraChoice::Auto) };
    let connected = linked_with(&fake, &Ear::default(), hasty).await;
    assert_eq!(connected.link.hello().revision, "2025-06-18");
    assert_eq!(connected.era(), None, "it may only be slow");
}

#[tokio::test]
async fn a_subscription_hears_what_comes_on_its_stream() {
    let fake = modern(|seen| async move {
        let meta = json!({"io.modelcontextprotocol/subscriptionId": seen.body["id"]});
        let told =
            |method: &str| event(&json!({"jsonrpc": "2.0", "method": method, "params": {"_meta": meta}}));
        let end =
            event(&json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": {"resultType": "complete"}}));
        let acknowledged = told("notifications/subscriptions/acknowledged");
        typed(
            "text/event-stream",
            format!("{acknowledged}: still here\n\n{}{end}", told("notifications/tools/list_changed")),
        )
    })
    .await;
    let ear = Ear::default();
    let Connected { link, lost: _lost, .. } = linked_with(&fake, &ear, era(EraChoice::Auto)).await;
    let call = Call::new(false);
    let ended =
        within(link.request(request("subscriptions/listen", "{}"), call.clone() as Arc<dyn Scope>)).await;
    assert_eq!(result(ended)["resultType"], "complete");
    let heard: Vec<String> = call.heard.all().into_iter().map(|(method, _)| method).collect();
    assert_eq!(heard, ["notifications/subscriptions/acknowledged", "notifications/tools/list_changed"]);
    assert!(ear.heard.all().is_empty());
}
