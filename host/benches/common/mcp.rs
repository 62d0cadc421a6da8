//! A client of `/mcp`, in the words of either era.

use serde::Deserialize;
use serde_json::json;

use super::{Http, Outcome};

/// A client of MCP over HTTP on one connection, in the words of either era.
pub(crate) struct McpHttp {
    http: Http,
    path: &'static str,
    meta: &'static str,
    next: u64,
}

/// An answer to a call of `echo`.
#[derive(Deserialize)]
pub(crate) struct Answer<'a> {
    pub(crate) id: u64,
    #[serde(borrow)]
    result: CallResult<'a>,
}

#[derive(Deserialize)]
struct CallResult<'a> {
    #[serde(borrow)]
    content: Vec<Text<'a>>,
}

#[derive(Deserialize)]
struct Text<'a> {
    text: &'a str,
}

impl McpHttp {
    /// A client that sends each request for itself (revision 2026-07-28).
    pub(crate) fn modern(mut http: Http, path: &'static str) -> Self {
        http.headers.push_str(
            "accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: p0__echo\r\n",
        );
        let meta = r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"0"}}"#;
        Self { http, path, meta, next: 1 }
    }

    /// A client with a session (revision 2025-11-25).
    pub(crate) async fn legacy(mut http: Http, path: &'static str) -> Outcome<Self> {
        http.headers.push_str("accept: application/json, text/event-stream\r\n");
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "0"}}});
        let status = http.send("POST", path, &hello.to_string()).await?;
        let session = http.header("mcp-session-id").filter(|_| status == 200);
        let session = session.ok_or_else(|| format!("initialize: {status} {}", http.text()))?;
        http.headers.push_str(&format!("mcp-session-id: {session}\r\nmcp-protocol-version: 2025-11-25\r\n"));
        match http.send("POST", path, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await? {
            202 => Ok(Self { http, path, meta: "", next: 1 }),
            status => Err(format!("initialized: {status} {}", http.text()).into()),
        }
    }

    /// The session's name, of a client that has one.
    pub(crate) fn session(&self) -> &str {
        let line = self.http.headers.lines().find_map(|line| line.strip_prefix("mcp-session-id: "));
        line.unwrap_or_default()
    }

    /// One call of the tool `echo` of plugin `p0`, under its exposed name.
    pub(crate) async fn echo(&mut self) -> Outcome<()> {
        let (id, meta) = (self.next, self.meta);
        self.next += 1;
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"p0__echo","arguments":{{"message":"m{id}"}}{meta}}}}}"#
        );
        let status = self.http.send("POST", self.path, &body).await?;
        let answer = serde_json::from_slice::<Answer<'_>>(self.http.body()).ok();
        let right = answer.is_some_and(|answer| answer.id == id && answer.says(id));
        if status == 200 && right {
            Ok(())
        } else {
            Err(format!("echo: {status} {}", self.http.text()).into())
        }
    }
}

impl Answer<'_> {
    /// Whether it is the text that goes with this id.
    pub(crate) fn says(&self, id: u64) -> bool {
        let said = self.result.content.first().map(|content| content.text);
        said.and_then(|text| text.strip_prefix('m')).is_some_and(|text| text.parse() == Ok(id))
    }
}
