//! The mock over sockets: each HTTP dialect's way, and the faults that only they have.

use std::sync::Arc;

use axum::Router;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use super::args::HttpAnswer;
use super::testing::{HELLO, call, server, spawn, within};
use super::{http, sse, sse_post};

const BOTH: &str = "application/json, text/event-stream";

async fn serve(routes: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}")
}

fn client() -> Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    Client::new()
}

/// The events of a stream, one by one.
struct Events(Response, String);

impl Events {
    fn new(response: Response) -> Self {
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self(response, String::new())
    }

    /// Name and data; `None` at the end.
    async fn next(&mut self) -> Option<(String, String)> {
        loop {
            if let Some((block, rest)) = self.1.split_once("\n\n") {
                let pick = |key: &str| {
                    block.lines().filter_map(|l| l.strip_prefix(key)).collect::<Vec<_>>().join("\n")
                };
                let event = (pick("event: "), pick("data: "));
                self.1 = rest.to_owned();
                if event.0.is_empty() {
                    continue;
                }
                return Some(event);
            }
            let chunk = within(self.0.chunk()).await.unwrap()?;
            self.1.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn message(&mut self) -> Value {
        let (name, data) = self.next().await.unwrap();
        assert_eq!(name, "message");
        serde_json::from_str(&data).unwrap()
    }
}

struct Http {
    client: Client,
    url: String,
    session: String,
}

impl Http {
    async fn ready(flags: &[&str], answer: HttpAnswer) -> Self {
        let url = serve(http::routes(server(flags).0, answer)).await + "/mcp";
        let client = client();
        let hello = client.post(&url).header("accept", BOTH).body(HELLO).send().await.unwrap();
        let session = hello.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        // The headers come first; the session is ready when the answer is there.
        assert!(hello.text().await.unwrap().contains("protocolVersion"));
        Self { client, url, session }
    }

    async fn post(&self, body: &str) -> Response {
        self.try_post(body).await.unwrap()
    }

    async fn try_post(&self, body: &str) -> reqwest::Result<Response> {
        let post = self.client.post(&self.url).header("accept", BOTH).header("mcp-session-id", &self.session);
        within(post.body(body.to_owned()).send()).await
    }

    async fn listen(&self) -> Response {
        let get = self
            .client
            .get(&self.url)
            .header("accept", "text/event-stream")
            .header("mcp-session-id", &self.session);
        within(get.send()).await.unwrap()
    }
}

#[tokio::test]
async fn http_answers_with_json() {
    let http = Http::ready(&[], HttpAnswer::Json).await;
    let accepted = http.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    assert_eq!(accepted.text().await.unwrap(), "");
    let answer = http.post(&call(1, "echo", &json!({"message": "hi"}))).await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "hi");
}

#[tokio::test]
async fn http_streams_progress_before_the_answer() {
    let http = Http::ready(&[], HttpAnswer::Sse).await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params":
        {"name": "progress", "arguments": {"steps": 2}, "_meta": {"progressToken": 7}}});
    let mut events = Events::new(http.post(&body.to_string()).await);
    assert_eq!(
        events.message().await["params"],
        json!({"progressToken": 7, "progress": 1, "total": 2, "message": "step 1"})
    );
    assert_eq!(events.message().await["params"]["progress"], 2);
    assert_eq!(events.message().await["id"], 1);
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn http_asks_over_the_stream_of_the_session() {
    let http = Arc::new(Http::ready(&[], HttpAnswer::Json).await);
    let mut events = Events::new(http.listen().await);
    assert_eq!(http.listen().await.status(), StatusCode::CONFLICT);
    let asking = spawn({
        let http = Arc::clone(&http);
        async move { http.post(&call(1, "ask", &json!({"method": "ping"}))).await.json::<Value>().await.unwrap() }
    });
    let ping = events.message().await;
    assert_eq!(ping["method"], "ping");
    http.post(&json!({"jsonrpc": "2.0", "id": ping["id"], "result": {"pong": 1}}).to_string()).await;
    let told = within(asking).await.unwrap();
    assert_eq!(told["result"]["structuredContent"]["reply"], json!({"result": {"pong": 1}}));
}

#[tokio::test]
async fn http_refuses_what_real_servers_refuse() {
    let mut http = Http::ready(&[], HttpAnswer::Json).await;
    let bare = http.client.post(&http.url).header("accept", BOTH);
    assert_eq!(
        bare.body(call(1, "count", &json!({}))).send().await.unwrap().status(),
        StatusCode::BAD_REQUEST
    );
    let choosy = http.client.post(&http.url).header("accept", "application/json").body(HELLO);
    assert_eq!(choosy.send().await.unwrap().status(), StatusCode::NOT_ACCEPTABLE);
    let future = http.client.post(&http.url).header("accept", BOTH).header("mcp-session-id", &http.session);
    let future = future.header("mcp-protocol-version", "2031-01-01").body(call(1, "count", &json!({})));
    assert_eq!(future.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    let delete = http.client.delete(&http.url).header("mcp-session-id", &http.session).send().await.unwrap();
    assert_eq!(delete.status(), StatusCode::OK);
    assert_eq!(http.post(&call(1, "count", &json!({}))).await.status(), StatusCode::NOT_FOUND);
    http.session = "made-up".to_owned();
    assert_eq!(http.post(&call(1, "count", &json!({}))).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn sessions_are_lost_after_the_calls_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    let flags =
        ["--lose-sessions-after", "2", "--session-lost-status", "400", "--ledger", ledger.to_str().unwrap()];
    let http = Http::ready(&flags, HttpAnswer::Json).await;
    for _ in 0..2 {
        assert_eq!(http.post(&call(1, "count", &json!({}))).await.status(), StatusCode::OK);
    }
    assert_eq!(http.post(&call(1, "count", &json!({}))).await.status(), StatusCode::BAD_REQUEST);
    // The refused one did not run.
    assert_eq!(super::ledger::read(&ledger).len(), 4);
}

#[tokio::test]
async fn pretty_answers_have_line_breaks_in_both_framings() {
    let json = Http::ready(&["--pretty"], HttpAnswer::Json).await;
    let text = json.post(&call(1, "add", &json!({"a": 1, "b": 2}))).await.text().await.unwrap();
    assert!(text.contains('\n'), "{text}");
    let sse = Http::ready(&["--pretty"], HttpAnswer::Sse).await;
    let mut events = Events::new(sse.post(&call(1, "add", &json!({"a": 1, "b": 2}))).await);
    let (_, data) = events.next().await.unwrap();
    assert!(data.contains('\n'), "{data}");
    assert_eq!(serde_json::from_str::<Value>(&data).unwrap()["result"]["structuredContent"]["sum"], 3);
}

#[tokio::test]
async fn an_answer_breaks_off() {
    let http = Http::ready(&["--close-stdout-at-call", "1"], HttpAnswer::Json).await;
    // Whether the headers made it before the end is a matter of timing.
    let broken = match http.try_post(&call(1, "count", &json!({}))).await {
        Ok(response) => response.bytes().await.is_err(),
        Err(_) => true,
    };
    assert!(broken);
    let http = Http::ready(&["--close-stdout-at-call", "1"], HttpAnswer::Sse).await;
    assert_eq!(Events::new(http.post(&call(1, "count", &json!({}))).await).next().await, None);
}

#[tokio::test]
async fn sse_names_its_endpoint_and_answers_there() {
    let base = serve(sse::routes(server(&[]).0)).await;
    let client = client();
    let mut events = Events::new(client.get(format!("{base}/sse")).send().await.unwrap());
    let (name, endpoint) = events.next().await.unwrap();
    assert_eq!(name, "endpoint");
    assert!(endpoint.starts_with("/messages?session_id="), "{endpoint}");
    let url = base.clone() + &endpoint;
    let accepted = client.post(&url).body(HELLO).send().await.unwrap();
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    assert_eq!(events.message().await["id"], 0);
    client.post(&url).body(call(1, "echo", &json!({"message": "hi"}))).send().await.unwrap();
    assert_eq!(events.message().await["result"]["content"][0]["text"], "hi");
    let unknown = client.post(format!("{base}/messages?session_id=x")).body(HELLO).send().await.unwrap();
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    assert_eq!(client.get(format!("{base}/health")).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn sse_post_knows_its_own_methods_and_no_others() {
    let base = serve(sse_post::routes(server(&["--unhealthy-after", "1"]).0)).await;
    let client = client();
    assert_eq!(client.get(&base).send().await.unwrap().status(), StatusCode::OK);
    let url = base.clone() + "/sse";
    let hello = client.post(&url).body(HELLO.replace("\"id\":0", "\"id\":\"unique\"")).send().await.unwrap();
    let session = hello.headers()["x-session-id"].to_str().unwrap().to_owned();
    let mut events = Events::new(hello);
    assert_eq!(events.message().await["id"], "unique");
    assert_eq!(events.next().await, None);
    let post = async |body: String| {
        client.post(&url).header("x-session-id", &session).body(body).send().await.unwrap()
    };
    assert_eq!(
        post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned()).await.status(),
        StatusCode::ACCEPTED
    );
    let list = Events::new(post(r#"{"jsonrpc":"2.0","id":1,"method":"list_tools"}"#.to_owned()).await)
        .message()
        .await;
    assert_eq!(list["result"]["tools"][0]["name"], "echo");
    let called = post(call(2, "echo", &json!({"message": "hi"})).replace("tools/call", "call_tool")).await;
    assert_eq!(Events::new(called).message().await["result"]["content"][0]["text"], "hi");
    let wrong = Events::new(post(call(3, "echo", &json!({"message": "hi"}))).await).message().await;
    assert_eq!(wrong["error"]["code"], -32601);
    let lost =
        client.post(&url).body(r#"{"jsonrpc":"2.0","id":4,"method":"list_tools"}"#).send().await.unwrap();
    assert_eq!(lost.status(), StatusCode::BAD_REQUEST);
    // The second health check stays without an answer.
    let silent = client.get(&base).timeout(std::time::Duration::from_millis(200)).send().await;
    assert!(silent.unwrap_err().is_timeout());
}
