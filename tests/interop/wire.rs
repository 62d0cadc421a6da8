//! MCP over HTTP by hand, in both eras: no client library that would repair, hide or reorder what the host sends.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::support::{PATIENCE, TestHost};

const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";

/// A client session.
#[derive(Debug)]
pub(crate) struct Session {
    http: reqwest::Client,
    url: String,
    token: String,
    /// The session's id; `None` in the modern era, which has none.
    legacy: Option<String>,
}

/// The messages that answer one request.
#[derive(Debug)]
pub(crate) struct Messages {
    response: Response,
    stream: bool,
    rest: Vec<u8>,
    ready: VecDeque<Value>,
}

impl Session {
    pub(crate) fn modern(host: &TestHost, path: &str) -> Self {
        let (url, token) = (format!("{}{path}", host.base), host.token.clone());
        Self { http: client(), url, token, legacy: None }
    }

    /// Shakes hands.
    pub(crate) async fn legacy(host: &TestHost, path: &str) -> Self {
        let mut session = Self::modern(host, path);
        let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": { "name": "crowd", "version": "1" } } });
        let response = send(session.post().json(&hello)).await;
        let id =
            response.headers().get("mcp-session-id").expect("a session").to_str().expect("ASCII").to_owned();
        let answer = Messages::of(response).answer().await;
        assert_eq!(answer["result"]["protocolVersion"], LEGACY, "{answer}");
        session.legacy = Some(id);
        session.notify("notifications/initialized", &json!({})).await;
        session
    }

    pub(crate) fn is_legacy(&self) -> bool {
        self.legacy.is_some()
    }

    /// Calls a tool under this request id and with this progress token.
    pub(crate) async fn call(&self, id: &Value, token: &Value, tool: &str, arguments: &Value) -> Messages {
        let mut params = json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": token } });
        let mut request = self.post();
        if self.legacy.is_none() {
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
            let named = request.header("mcp-protocol-version", MODERN).header("mcp-method", "tools/call");
            request = named.header("mcp-name", tool);
        }
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        Messages::of(send(request.json(&body)).await)
    }

    /// Sends a notification of the legacy era.
    pub(crate) async fn notify(&self, method: &str, params: &Value) {
        let body = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        let response = send(self.post().json(&body)).await;
        assert_eq!(response.status().as_u16(), 202, "a notification is accepted");
    }

    /// The stream on which a legacy session hears what belongs to no request.
    pub(crate) async fn listen(&self) -> Messages {
        let request = self.dress(self.http.get(&self.url)).header(ACCEPT, "text/event-stream");
        Messages::of(send(request).await)
    }

    /// Ends a legacy session.
    pub(crate) async fn end(&self) {
        let response = send(self.dress(self.http.delete(&self.url))).await;
        assert!(response.status().is_success(), "a session can be ended: {}", response.status());
    }

    fn post(&self) -> RequestBuilder {
        self.dress(self.http.post(&self.url)).header(ACCEPT, "application/json, text/event-stream")
    }

    fn dress(&self, request: RequestBuilder) -> RequestBuilder {
        let request = request.bearer_auth(&self.token);
        match &self.legacy {
            Some(id) => request.header("mcp-session-id", id).header("mcp-protocol-version", LEGACY),
            None => request,
        }
    }
}

/// A client of a session's own. It keeps a connection for less long than the host does: one that is closed just when it
/// is used again would lose the request, which nobody may repeat for it.
fn client() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = reqwest::Client::builder().no_proxy().pool_idle_timeout(Duration::from_secs(2));
    client.build().expect("a client")
}

async fn send(request: RequestBuilder) -> Response {
    let sent = tokio::time::timeout(PATIENCE, request.send()).await;
    sent.expect("the host answers in time").expect("the host answers")
}

impl Messages {
    fn of(response: Response) -> Self {
        let kind =
            response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let stream = kind.starts_with("text/event-stream");
        Self { stream, response, rest: Vec::new(), ready: VecDeque::new() }
    }

    /// The next message; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk());
            match chunk.await.expect("something comes in time").expect("the stream is whole") {
                Some(chunk) => self.take(&chunk),
                None if self.rest.iter().all(u8::is_ascii_whitespace) => return None,
                None => {
                    let rest = std::mem::take(&mut self.rest);
                    assert!(!self.stream, "a piece of an event: {}", String::from_utf8_lossy(&rest));
                    return Some(serde_json::from_slice(&rest).expect("JSON"));
                }
            }
        }
    }

    /// The one message of an answer without events.
    async fn answer(mut self) -> Value {
        while let Some(message) = self.next().await {
            if message.get("id").is_some() {
                return message;
            }
        }
        panic!("no answer");
    }

    fn take(&mut self, chunk: &[u8]) {
        self.rest.extend_from_slice(chunk);
        if !self.stream {
            return;
        }
        while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.rest.drain(..end + 2).collect();
            let block = String::from_utf8(block).expect("events are UTF-8");
            let data: String = block.lines().filter_map(|line| line.strip_prefix("data:")).collect();
            if !data.trim().is_empty() {
                self.ready.push_back(serde_json::from_str(&data).expect("an event is JSON"));
            }
        }
    }
}
