//! The door of the API: who gets in, and what is turned away before any plugin hears of it.

use reqwest::Method;
use serde_json::json;

use crate::support::host::Setup;
use crate::support::{Answer, Manifest, PATIENCE, TestHost, command, mock};

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

/// A plugin has the host's user, but it is not the host's operator: what may be done without the token on the socket of the
/// state folder is not for it, nor for what it starts.
#[tokio::test]
async fn a_plugin_needs_the_token_on_the_socket_too() {
    let ask = r#"while :; do "$0" --state "$1" ps; r=$?; [ $r != 3 ] && break; done; echo $r >"$2"; exec "$0" mock"#;
    for level in ["pid_namespace", "subreaper"] {
        let setup = Setup::new().flag("--containment").flag(level);
        let (state, code) = (setup.state(), setup.scratch("code"));
        let curious =
            Manifest::command("/bin/sh").args(["-c", ask, "${wharf}"]).path(&state).path(&code).quick();
        let host = setup.plugin("curious", &curious).start().await;
        host.until_state("curious", "ready").await;
        assert_eq!(std::fs::read_to_string(&code).unwrap(), "8\n", "{level}: it is not authorised");
        command::on(&host, &["ps"]).await.expect(0);
    }
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
    let refused = refused.expect(1);
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

/// Sends a head and some of its body, then reads to the end: what a client sees that sends all before it reads.
fn raw(host: &TestHost, head: &str, body: usize) -> String {
    use std::io::{Read as _, Write as _};
    let address = host.base.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("{head}\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    stream.write_all(&vec![b' '; body]).expect("the host reads on");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer is not lost in a reset");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_read_by_a_client_that_sends_its_whole_body_first() {
    let host = TestHost::with([("mock", mock())]).await;
    host.until_state("mock", "ready").await;
    let json = "Content-Type: application/json";
    let token = format!("Authorization: Bearer {}", host.token);
    for (path, token, length, status) in [
        (CALL, token.as_str(), 50 << 20, 413),
        (CALL, "X-No-Token: x", BODY_BOUND, 401),
        ("/api/v1/nothing", token.as_str(), BODY_BOUND, 404),
    ] {
        let head = format!("POST {path} HTTP/1.1\r\n{json}\r\n{token}\r\nContent-Length: {length}");
        let answer = tokio::task::block_in_place(|| raw(&host, &head, length));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
    }
    host.call("mock", "echo", json!({ "message": "still well" })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_length_over_the_bound_is_refused_before_the_body_comes() {
    let host = TestHost::with([("mock", mock())]).await;
    host.until_state("mock", "ready").await;
    let head = format!(
        "POST {CALL} HTTP/1.1\r\nContent-Type: application/json\r\nAuthorization: Bearer {}\r\nContent-Length: {}",
        host.token,
        50 << 20
    );
    let plain = tokio::task::block_in_place(|| raw(&host, &head, 0));
    assert!(plain.starts_with("HTTP/1.1 413 "), "no byte of the body was sent: {plain}");
    let asks = format!("{head}\r\nExpect: 100-continue");
    let asked = tokio::task::block_in_place(|| raw(&host, &asks, 0));
    assert!(asked.starts_with("HTTP/1.1 413 "), "it does not ask for the body: {asked}");
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
