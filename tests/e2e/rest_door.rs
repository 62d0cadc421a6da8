//! The door of the API: who gets in, and what is turned away before any plugin hears of it.

use reqwest::Method;
use serde_json::json;

use crate::support::host::Setup;
use crate::support::{Answer, TestHost, command, mock};

/// The longest body that is read: 4 MiB.
const BODY_BOUND: usize = 4 << 20;
const CALL: &str = "/api/v1/plugins/mock/tools/echo/call";

#[tokio::test]
async fn without_the_token_nothing_is_told() {
    let host = TestHost::with([("mock", mock())]).await;
    assert!(host.token.len() >= 32, "a token that cannot be guessed");
    for path in ["/api/v1/plugins", "/api/v1/info", "/api/v1/events", "/api/v1/plugins/mock/logs"] {
        let none = Answer::of(host.bare(Method::GET, path)).await;
        none.problem(401, "unauthorized");
        assert!(none.header("www-authenticate").starts_with("Bearer"), "{path}");
        let wrong = host.bare(Method::GET, path).bearer_auth("0".repeat(host.token.len()));
        Answer::of(wrong).await.problem(401, "unauthorized");
    }
    Answer::of(host.bare(Method::POST, CALL).json(&json!({}))).await.problem(401, "unauthorized");
    Answer::of(host.bare(Method::POST, "/tools/mock/echo").json(&json!({})))
        .await
        .problem(401, "unauthorized");
    assert_eq!(Answer::of(host.bare(Method::GET, "/healthz")).await.status, 200, "liveness needs no token");
}

#[tokio::test]
async fn without_auth_the_token_is_not_asked_for() {
    let host = Setup::new().flag("--no-auth").start().await;
    Answer::of(host.bare(Method::GET, "/api/v1/plugins")).await.expect(200);
}

#[tokio::test]
async fn the_token_and_the_socket_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let host = TestHost::with([]).await;
    for name in ["token", "wharf.sock"] {
        let mode = std::fs::metadata(host.state().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn an_open_port_without_auth_is_refused() {
    let setup = Setup::new();
    let (plugins, state) = (setup.plugins(), setup.state());
    let args =
        ["up", "--listen", "0.0.0.0:0", "--no-auth", "--plugins", plugins.to_str().unwrap(), "--state"];
    let mut args = args.to_vec();
    args.push(state.to_str().unwrap());
    let refused = command::wharf(&args, &[]).await;
    assert!(matches!(refused.code, 1 | 2), "{refused:?}");
    assert!(refused.stderr.contains("--no-auth") && refused.stdout.is_empty(), "{refused:?}");
}

#[tokio::test]
async fn a_foreign_host_or_origin_is_refused() {
    let host = TestHost::with([]).await;
    for (name, value) in [("host", "evil.example"), ("origin", "https://evil.example"), ("origin", "null")] {
        let request = host.request(Method::GET, "/api/v1/plugins").header(name, value);
        Answer::of(request).await.problem(403, "forbidden");
        let open = host.bare(Method::GET, "/healthz").header(name, value);
        assert_eq!(Answer::of(open).await.status, 403, "{name}: {value} on an open route");
    }
    let own = host.request(Method::GET, "/api/v1/plugins").header("origin", &host.base);
    Answer::of(own).await.expect(200);
}

#[tokio::test]
async fn allowed_names_are_let_in() {
    let setup = Setup::new().flag("--allow-host").flag("wharf.example");
    let host = setup.flag("--allow-origin").flag("https://app.example").start().await;
    let request = host.request(Method::GET, "/api/v1/plugins").header("host", "wharf.example");
    Answer::of(request.header("origin", "https://app.example")).await.expect(200);
}

#[tokio::test]
async fn unknown_routes_and_methods_are_told() {
    let host = TestHost::with([("mock", mock())]).await;
    host.get("/api/v1/nothing").await.problem(404, "not_found");
    host.get("/").await.problem(404, "not_found");
    let answer = Answer::of(host.request(Method::DELETE, "/api/v1/plugins/mock")).await;
    answer.problem(405, "method_not_allowed");
    assert!(answer.header("allow").contains("GET"), "Allow: {}", answer.header("allow"));
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let host = TestHost::with([("mock", mock())]).await;
    host.until_state("mock", "ready").await;
    let send = async |kind: &str, body: &'static str| {
        Answer::of(host.request(Method::POST, CALL).header("content-type", kind).body(body)).await
    };
    send("application/json", "{\"arguments\":").await.problem(400, "bad_request");
    send("application/json", "[]").await.problem(400, "bad_request");
    send("application/json", "{\"arguments\":7}").await.problem(400, "bad_request");
    send("application/json", "{\"argumants\":{}}").await.problem(400, "bad_request");
    send("text/plain", "{\"arguments\":{}}").await.problem(415, "unsupported_media_type");
    send("application/x-www-form-urlencoded", "message=x").await.problem(415, "unsupported_media_type");
    host.call("mock", "echo", json!({ "message": "still well" })).await;
}

#[tokio::test]
async fn a_body_over_the_bound_is_refused() {
    let host = TestHost::with([("mock", mock())]).await;
    host.until_state("mock", "ready").await;
    // One byte over the bound: the host has read all of it when it refuses, so the answer cannot get lost in a reset.
    let body = format!("{{\"arguments\":{{\"message\":\"{}\"}}}}", "x".repeat(BODY_BOUND));
    let (fits, over) = (&body[..BODY_BOUND], &body[..=BODY_BOUND]);
    let send = async |body: &str| {
        let request = host.request(Method::POST, CALL).header("content-type", "application/json");
        Answer::of(request.body(body.to_owned())).await
    };
    send(over).await.problem(413, "too_large");
    send(fits).await.problem(400, "bad_request");
    host.call("mock", "echo", json!({ "message": "still well" })).await;
}

#[tokio::test]
async fn readyz_names_the_required_plugins_that_are_not_ready() {
    let hangs = mock().arg("--hang-at-start").set("required", true);
    let host = TestHost::with([("needed", hangs), ("well", mock())]).await;
    host.until_state("well", "ready").await;
    let answer = Answer::of(host.bare(Method::GET, "/readyz")).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("needed") && !answer.text().contains("well"), "{}", answer.text());
    host.put("needed", &mock().set("required", true));
    host.until_state("needed", "ready").await;
    assert_eq!(Answer::of(host.bare(Method::GET, "/readyz")).await.status, 200);
}
