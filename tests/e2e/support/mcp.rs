//! MCP over HTTP as a plain client sends it: messages, headers, sessions; nothing is hidden.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::sse::Events;
use super::{Answer, TestHost};

/// What every client of today says that it takes.
pub(crate) const BOTH: &str = "application/json, text/event-stream";
/// The latest revision with sessions, and the first without.
pub(crate) const LEGACY: &str = "2025-11-25";
pub(crate) const MODERN: &str = "2026-07-28";

/// A legacy session over streamable HTTP.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) host: &'a TestHost,
    path: String,
    pub(crate) id: String,
    pub(crate) revision: String,
}

/// A request's message.
pub(crate) fn request(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params })
}

/// The params of `tools/call`.
pub(crate) fn call(tool: &str, arguments: Value) -> Value {
    json!({ "name": tool, "arguments": arguments })
}

/// The params of `initialize`.
pub(crate) fn hello(revision: &str) -> Value {
    json!({ "protocolVersion": revision, "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } })
}

/// Params with the envelope of a modern request.
pub(crate) fn enveloped(mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    params
}

impl TestHost {
    /// A POST of a message to an MCP endpoint.
    pub(crate) fn message(&self, path: &str, message: &Value) -> RequestBuilder {
        self.request(Method::POST, path).header("accept", BOTH).json(message)
    }

    /// A modern request with its head.
    pub(crate) fn modern(&self, path: &str, method: &str, params: Value) -> RequestBuilder {
        let params = enveloped(params);
        let mut request = self
            .message(path, &request(7, method, params.clone()))
            .header("mcp-protocol-version", MODERN)
            .header("mcp-method", method);
        if let Some(name) = params["name"].as_str().or(params["uri"].as_str()) {
            request = request.header("mcp-name", name);
        }
        request
    }

    /// Opens a legacy session.
    pub(crate) async fn session(&self, path: &str, revision: &str) -> Session<'_> {
        let answer = Answer::of(self.message(path, &request(0, "initialize", hello(revision)))).await;
        let reply = reply(&answer, 200);
        assert_eq!(reply["result"]["protocolVersion"], revision, "{reply}");
        let id = answer.header("mcp-session-id").to_owned();
        assert!(id.len() >= 16 && id.bytes().all(|byte| byte.is_ascii_graphic()), "session id {id:?}");
        let session = Session { host: self, path: path.to_owned(), id, revision: revision.to_owned() };
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(Answer::of(session.send(&ready)).await.status, 202);
        session
    }
}

impl Session<'_> {
    fn named(&self, request: RequestBuilder) -> RequestBuilder {
        request.header("mcp-session-id", &self.id).header("mcp-protocol-version", &self.revision)
    }

    /// A POST of a message, not yet sent.
    pub(crate) fn send(&self, message: &Value) -> RequestBuilder {
        self.named(self.host.message(&self.path, message))
    }

    /// A GET, not yet sent.
    pub(crate) fn get(&self) -> RequestBuilder {
        self.named(self.host.request(Method::GET, &self.path))
    }

    /// Joins a stream again after an event.
    pub(crate) async fn resume(&self, after: &str) -> Events {
        Events::open(self.get().header("last-event-id", after)).await
    }

    /// Ends the session; the status.
    pub(crate) async fn delete(&self) -> u16 {
        Answer::of(self.named(self.host.request(Method::DELETE, &self.path))).await.status
    }

    /// Asks and reads the answer, as JSON or at the end of a stream.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Value {
        reply(&Answer::of(self.send(&request(method, method, params))).await, 200)
    }

    /// Calls a tool; the result.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Value {
        let mut reply = self.ask("tools/call", call(tool, arguments)).await;
        assert!(reply["result"].is_object(), "{reply}");
        reply["result"].take()
    }
}

/// The last message of an answer that must have this status.
#[track_caller]
pub(crate) fn reply(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    messages(answer).pop().unwrap_or_else(|| panic!("no message in {:?}", answer.text()))
}

/// All messages of an answer.
#[track_caller]
pub(crate) fn messages(answer: &Answer) -> Vec<Value> {
    if answer.header("content-type").starts_with("application/json") {
        return vec![answer.json()];
    }
    assert_eq!(answer.header("content-type"), "text/event-stream", "{}", answer.text());
    let text = answer.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| !data.is_empty());
    data.map(|data| serde_json::from_str(data).unwrap_or_else(|e| panic!("not JSON ({e}): {data}"))).collect()
}

/// A refusal with this status and JSON-RPC code; the message.
#[track_caller]
pub(crate) fn refused(answer: &Answer, status: u16, code: i64) -> Value {
    let reply = reply(answer, status);
    assert_eq!(reply["error"]["code"], code, "{reply}");
    assert!(reply["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{reply}");
    reply
}
