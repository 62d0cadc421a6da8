//! A client of one call, written by hand: plain HTTP in either era. It keeps the bytes of the answer as they came.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::fixture::Era;
use crate::support::{Answer, host};

/// A tool's answer; the content as it stood on the wire.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) content: String,
    pub(crate) is_error: bool,
}

#[derive(Deserialize)]
struct Response<'a> {
    id: Option<Value>,
    #[serde(borrow)]
    result: Option<ToolResult<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolResult<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(default)]
    is_error: bool,
}

const ID: u64 = 7;

/// Calls a tool without arguments, in one era.
pub(crate) async fn call(url: &str, era: Era, tool: &str) -> Result<Told, String> {
    let mut params = json!({ "name": tool, "arguments": {} });
    let session = match era {
        Era::Legacy => Some(open(url).await?),
        Era::Modern | Era::Dual => {
            params["_meta"] = envelope(json!({}));
            None
        }
    };
    let mut request =
        post(url, era, &json!({ "jsonrpc": "2.0", "id": ID, "method": "tools/call", "params": params }));
    request = match &session {
        Some(session) if session.is_empty() => request,
        Some(session) => request.header("mcp-session-id", session),
        None => request.header("mcp-method", "tools/call").header("mcp-name", tool),
    };
    let answer = Answer::of(request).await;
    let text = answer.text();
    messages(&answer, &text).find_map(told).ok_or_else(|| format!("{tool}: HTTP {}: {text}", answer.status))
}

/// What a modern request says of its sender.
pub(crate) fn envelope(capabilities: Value) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "wharf-conformance", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    })
}

/// The parameters of a legacy handshake.
pub(crate) fn greeting(capabilities: Value) -> Value {
    json!({
        "protocolVersion": "2025-11-25",
        "capabilities": capabilities,
        "clientInfo": { "name": "wharf-conformance", "version": "1" },
    })
}

/// The legacy handshake; the session's id, or nothing if the server keeps none.
async fn open(url: &str) -> Result<String, String> {
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": greeting(json!({})) });
    let answer = Answer::of(post(url, Era::Legacy, &hello)).await;
    if answer.status != 200 {
        return Err(format!("initialize: HTTP {}: {}", answer.status, answer.text()));
    }
    let session = answer.header("mcp-session-id").to_owned();
    let ready = post(url, Era::Legacy, &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    let answer = Answer::of(ready.header("mcp-session-id", &session)).await;
    if answer.status != 202 {
        return Err(format!("initialized: HTTP {}: {}", answer.status, answer.text()));
    }
    Ok(session)
}

fn post(url: &str, era: Era, body: &Value) -> reqwest::RequestBuilder {
    let version = match era {
        Era::Legacy => "2025-11-25",
        Era::Modern | Era::Dual => "2026-07-28",
    };
    host::client()
        .post(url)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", version)
        .json(body)
}

/// The messages of an answer, be it JSON or a stream of events.
fn messages<'a>(answer: &Answer, text: &'a str) -> impl Iterator<Item = &'a str> {
    let is_stream = answer.header("content-type").starts_with("text/event-stream");
    let whole = (!is_stream).then_some(text);
    let events = text.lines().filter(move |_| is_stream).filter_map(|line| line.strip_prefix("data:"));
    whole.into_iter().chain(events.map(str::trim))
}

fn told(message: &str) -> Option<Told> {
    let response: Response<'_> = serde_json::from_str(message).ok()?;
    let result = response.result.filter(|_| response.id == Some(json!(ID)))?;
    Some(Told { content: result.content?.get().to_owned(), is_error: result.is_error })
}
