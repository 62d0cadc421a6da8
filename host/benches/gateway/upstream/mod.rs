//! An MCP server that costs as little as one can, so that what is measured is the host and not it: it finds id and message
//! in the raw bytes of a request and answers. This executable starts itself as one:
//! `upstream stdio|http PORT|http 0 [--modern] [--start-after MS] [--tools N]`.
//!
//! It trusts its caller: it is right for the requests of this benchmark and of the host, and for no others.

mod http;
mod stdio;

use std::collections::HashMap;
use std::time::Duration;

use memchr::{memchr, memmem};

use crate::common::Outcome;

/// What it is asked to be.
struct Server {
    modern: bool,
    /// The entries of `tools/list`.
    tools: String,
    /// The texts of `blob`, by size.
    blobs: HashMap<usize, Vec<u8>>,
}

/// Serves until its input or its caller ends.
pub(crate) fn serve(args: &[String]) -> Outcome<()> {
    let after = |name: &str| args.iter().skip_while(|arg| *arg != name).nth(1);
    let number = |name: &str| after(name).and_then(|value| value.parse().ok());
    if let Some(millis) = number("--start-after") {
        std::thread::sleep(Duration::from_millis(millis));
    }
    let tools = number("--tools").unwrap_or(2);
    let server = Server::new(args.iter().any(|arg| arg == "--modern"), tools);
    match (args.first().map(String::as_str), args.get(1)) {
        (Some("stdio"), _) => stdio::serve(server),
        (Some("http"), Some(port)) => http::serve(server, port.parse()?),
        _ => Err("upstream stdio | http PORT".into()),
    }
}

impl Server {
    fn new(modern: bool, count: u64) -> Self {
        let tool = |name: &str, key: &str, kind: &str| {
            format!(
                r#"{{"name":"{name}","description":"A tool of the benchmark","inputSchema":{{"type":"object","properties":{{"{key}":{{"type":"{kind}"}}}},"required":["{key}"]}}}}"#
            )
        };
        let entry = |n| match n {
            0 => tool("echo", "message", "string"),
            1 => tool("blob", "bytes", "integer"),
            n => tool(&format!("tool{n}"), "message", "string"),
        };
        let tools: Vec<String> = (0..count).map(entry).collect();
        Self { modern, tools: tools.join(","), blobs: HashMap::new() }
    }

    /// Appends the answer to a message; `false` if it wants none.
    fn answer(&mut self, message: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(id) = after(message, br#""id":"#) else {
            return false;
        };
        let id = id.get(..memchr::memchr2(b',', b'}', id).unwrap_or(id.len())).unwrap_or_default();
        out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        out.extend_from_slice(id);
        let method = after(message, br#""method":""#).unwrap_or_default();
        let method = method.get(..memchr(b'"', method).unwrap_or(0)).unwrap_or_default();
        match method {
            b"tools/call" => self.call(message, out),
            b"ping" if !self.modern => out.extend_from_slice(br#","result":{}}"#),
            b"initialize" if !self.modern => out.extend_from_slice(
                br#","result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"upstream","version":"0"}}}"#,
            ),
            b"server/discover" if self.modern => out.extend_from_slice(
                br#","result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"public"}}"#,
            ),
            b"tools/list" => {
                let head: &[u8] = if self.modern {
                    br#","result":{"resultType":"complete","ttlMs":0,"cacheScope":"public","tools":["#
                } else {
                    br#","result":{"tools":["#
                };
                out.extend_from_slice(head);
                out.extend_from_slice(self.tools.as_bytes());
                out.extend_from_slice(b"]}}");
            }
            _ => out.extend_from_slice(br#","error":{"code":-32601,"message":"no such method"}}"#),
        }
        true
    }

    /// `echo` says its message, every tool with a message does; `blob` says as many bytes as it is asked for. The arguments
    /// tell which it is.
    fn call(&mut self, message: &[u8], out: &mut Vec<u8>) {
        let head: &[u8] = if self.modern {
            br#","result":{"resultType":"complete","content":[{"type":"text","text":""#
        } else {
            br#","result":{"content":[{"type":"text","text":""#
        };
        out.extend_from_slice(head);
        if let Some(size) = after(message, br#""bytes":"#) {
            let size = number(size);
            out.extend_from_slice(self.blobs.entry(size).or_insert_with(|| blob(size)));
        } else {
            // The texts of the benchmark hold nothing that is escaped.
            let said = after(message, br#""message":""#).unwrap_or_default();
            out.extend_from_slice(said.get(..memchr(b'"', said).unwrap_or(0)).unwrap_or_default());
        }
        out.extend_from_slice(br#""}]}}"#);
    }
}

/// What the tool `blob` says when it is asked for so many bytes.
pub(crate) fn blob(size: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(size).collect()
}

/// What follows the first place of `name`.
fn after<'a>(message: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    message.get(memmem::find(message, name)? + name.len()..)
}

/// The number that the text begins with.
fn number(text: &[u8]) -> usize {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}
