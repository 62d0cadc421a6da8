use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::response::Response;
use http::Method;
use serde_json::json;
use wharf_plugin_api::{CauseKind, Link, Notification, Reply, Scope};

use super::{connect, new_session_id};
use crate::dialect::testkit::fake::{Fake, Seen, event, handler, status, typed};
use crate::dialect::testkit::{Call, Ear, options, request, result, within};

/// A server as the pattern describes it, which forgets its session once if `forgets`.
async fn server(forgets: Option<fn() -> Response>) -> Fake {
    let refused = Arc::new(AtomicUsize::new(0));
    Fake::start(handler(move |seen: Seen| {
        let refused = Arc::clone(&refused);
        async move {
            if seen.method == Method::GET && seen.path == "/" {
                return status(200, "ok");
            }
            if seen.method != Method::POST || seen.path != "/sse" || seen.header("x-session-id").is_empty() {
                return status(405, "");
            }
            let result = match seen.rpc() {
                "initialize" => json!({"capabilities": {"tools": {}}}),
                "list_tools" => json!({"tools": []}),
                "call_tool" => match forgets.filter(|_| refused.fetch_add(1, Ordering::SeqCst) == 0) {
                    Some(refusal) => return refusal(),
                    None => seen.body["params"].clone(),
                },
                other => panic!("{other} is not of this dialect"),
            };
            typed(
                "text/event-stream",
                event(&json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": result})),
            )
        }
    }))
    .await
}

async fn linked(fake: &Fake) -> Arc<dyn Link> {
    within(connect(fake.endpoint("/sse"), Arc::new(Ear::default()), options())).await.expect("connected").link
}

async fn ask(link: &Arc<dyn Link>, method: &str, params: &str) -> Reply {
    within(link.request(request(method, params), Call::new(false) as Arc<dyn Scope>)).await.expect("answered")
}

#[tokio::test]
async fn methods_go_by_the_dialects_own_names() {
    let fake = server(None).await;
    let link = linked(&fake).await;
    assert_eq!((link.hello().dialect, link.hello().revision.as_str()), ("sse-post", "2024-11-05"));
    assert_eq!(result(Ok(ask(&link, "tools/list", "{}").await)), json!({"tools": []}));
    assert_eq!(result(Ok(ask(&link, "tools/call", r#"{"name":"t"}"#).await)), json!({"name": "t"}));
    assert_eq!(result(Ok(ask(&link, "ping", "{}").await)), json!({}));
    assert!(matches!(ask(&link, "resources/list", "{}").await, Reply::Error(error) if error.code == -32601));
    link.notify(Notification::bare("notifications/x")).expect("taken");
    within(link.close()).await;
    let seen = fake.seen();
    let said: Vec<(&str, &str)> = seen.iter().map(|seen| (seen.method.as_str(), seen.rpc())).collect();
    assert_eq!(
        said,
        [("GET", ""), ("POST", "initialize"), ("POST", "list_tools"), ("POST", "call_tool"), ("GET", "")],
        "nothing else is said"
    );
    let posts: Vec<&Seen> = seen.iter().filter(|seen| seen.method == Method::POST).collect();
    assert!(posts.iter().all(|seen| seen.header("x-session-id") == posts[0].header("x-session-id")));
    assert!(posts.iter().all(|seen| seen.header("accept") == "text/event-stream"));
    assert!(seen.iter().all(|seen| seen.header("x-key") == "k"));
}

#[tokio::test]
async fn the_servers_own_session_id_is_adopted() {
    let fake = Fake::start(handler(|seen: Seen| async move {
        let mut response = typed(
            "text/event-stream",
            event(&json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": {}})),
        );
        response.headers_mut().insert("x-session-id", "theirs".parse().expect("a header"));
        response
    }))
    .await;
    let link = linked(&fake).await;
    ask(&link, "tools/list", "{}").await;
    assert_eq!(fake.first(|seen| seen.rpc() == "list_tools").await.header("x-session-id"), "theirs");
}

#[tokio::test]
async fn a_forgotten_session_is_opened_again() {
    let refusals: [fn() -> Response; 3] = [
        || status(404, ""),
        || status(401, "Session expired"),
        || status(400, r#"{"error":"Invalid session"}"#),
    ];
    for refusal in refusals {
        let fake = server(Some(refusal)).await;
        let link = linked(&fake).await;
        assert_eq!(result(Ok(ask(&link, "tools/call", r#"{"name":"t"}"#).await)), json!({"name": "t"}));
        let seen = fake.seen();
        let sessions: Vec<&str> = seen
            .iter()
            .filter(|seen| seen.rpc() == "initialize")
            .map(|seen| seen.header("x-session-id"))
            .collect();
        assert_eq!(sessions.len(), 2);
        assert_ne!(sessions[0], sessions[1]);
        assert_eq!(seen.last().expect("some").header("x-session-id"), sessions[1]);
    }
}

#[tokio::test]
async fn a_server_that_tells_no_health_is_unreachable() {
    for code in [404, 500, 302] {
        let fake = Fake::start(handler(move |_| async move { status(code, "") })).await;
        let cause = within(connect(fake.endpoint("/sse"), Arc::new(Ear::default()), options())).await.err();
        assert_eq!(cause.expect("refused").kind, CauseKind::Unreachable, "{code}");
    }
}

#[test]
fn session_ids_are_random_uuids() {
    let (a, b) = (new_session_id(), new_session_id());
    assert_ne!(a, b);
    let text = a.to_str().expect("text");
    let dashes: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
    assert_eq!((text.len(), dashes), (36, vec![8, 13, 18, 23]));
    assert_eq!(text.as_bytes()[14], b'4');
    assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
}
