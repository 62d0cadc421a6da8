//! A client at one way in, which sends literals and gives back the lines that came.

use reqwest::Method;
use serde_json::Value;

use super::table::Case;
use crate::support::mcp::{BOTH, LEGACY, MODERN};
use crate::support::pipe::Pipe;
use crate::support::sse::Events;
use crate::support::{Answer, PATIENCE, TestHost};

/// What the client can be asked, in its own words.
pub(super) const CAPABILITIES: &str = r#"{ "roots":{"listChanged":true,"vendor":1.0},"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}},"experimental":{"x":{"n":1e2}},"vendor":-0 }"#;

/// Who a legacy client is.
pub(super) const LEGACY_INFO: &str = r#"{"name":"\u0063","version":"1","vendor":1.0}"#;

/// A way in.
pub(super) struct Door<'a> {
    host: &'a TestHost,
    path: &'static str,
    carrier: Carrier,
    pub(super) modern: bool,
}

enum Carrier {
    Http { session: String },
    Pipe(Pipe),
}

/// The id of a request of wharf's, which are numbers, at the beginning of a line; and what follows it.
pub(super) fn numbered(line: &str) -> Option<(&str, &str)> {
    let (id, rest) = line.strip_prefix(r#"{"jsonrpc":"2.0","id":"#)?.split_once(',')?;
    (id.bytes().all(|byte| byte.is_ascii_digit()) && rest.starts_with(r#""method":"#)).then_some((id, rest))
}

impl<'a> Door<'a> {
    /// HTTP. A legacy client opens a session; the answer to its `initialize` is given as it came.
    pub(super) async fn http(host: &'a TestHost, path: &'static str, modern: bool) -> (Self, String) {
        let carrier = Carrier::Http { session: String::new() };
        let mut door = Self { host, path, carrier, modern };
        let hello = if modern { String::new() } else { door.open().await };
        (door, hello)
    }

    /// `wharf stdio`.
    pub(super) async fn pipe(host: &'a TestHost, args: &[&str], modern: bool) -> (Self, String) {
        let carrier = Carrier::Pipe(Pipe::on(host, args));
        let mut door = Self { host, path: "", carrier, modern };
        let hello = if modern { String::new() } else { door.open().await };
        (door, hello)
    }

    pub(super) fn is_http(&self) -> bool {
        matches!(self.carrier, Carrier::Http { .. })
    }

    async fn open(&mut self) -> String {
        let hello = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{LEGACY}","capabilities":{CAPABILITIES},"clientInfo":{LEGACY_INFO}}}}}"#
        );
        let ready = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let answer = match &mut self.carrier {
            Carrier::Pipe(pipe) => {
                pipe.write(&format!("{hello}\n"));
                pipe.line()
            }
            Carrier::Http { session } => {
                let answer = Answer::of(post(self.host, self.path, hello).header("accept", BOTH)).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                answer.header("mcp-session-id").clone_into(session);
                answer.text()
            }
        };
        self.tell(ready).await;
        answer
    }

    /// Sends what has no answer.
    async fn tell(&mut self, message: &str) {
        match &mut self.carrier {
            Carrier::Pipe(pipe) => pipe.write(&format!("{message}\n")),
            Carrier::Http { session } => {
                let post = post(self.host, self.path, message.to_owned()).header("mcp-session-id", &*session);
                assert_eq!(Answer::of(post.header("mcp-protocol-version", LEGACY)).await.status, 202);
            }
        }
    }

    /// Sends a request and answers what is asked meanwhile. All lines up to the answer, which begins with `answer`.
    pub(super) async fn lines(
        &mut self,
        case: &Case,
        name: &str,
        message: String,
        answer: &str,
    ) -> Vec<String> {
        let mut stream = self.begin(case, name, message).await;
        let mut lines = Vec::new();
        loop {
            let line = match (&mut stream, &mut self.carrier) {
                (Stream::Pipe, Carrier::Pipe(pipe)) => pipe.line(),
                (Stream::Whole(line), _) => std::mem::take(line),
                (Stream::Events(events), _) => {
                    let more = events.until("a message", |event| !event.data.is_empty());
                    tokio::time::timeout(PATIENCE, more).await.expect("an answer").data
                }
                (Stream::Pipe, Carrier::Http { .. }) => unreachable!("no pipe was begun"),
            };
            // A plugin's lists may be read again at any time.
            if line.contains("/list_changed\"") {
                continue;
            }
            if let (Some((id, _)), Some(ask)) = (numbered(&line), &case.asks) {
                let reply = ask.reply;
                let id = id.to_owned();
                self.tell(&format!(r#"{{"jsonrpc":"2.0","id":{id},{reply}}}"#)).await;
            }
            let last = line.starts_with(answer) && numbered(&line).is_none();
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    async fn begin(&mut self, case: &Case, name: &str, message: String) -> Stream {
        let session = match &mut self.carrier {
            Carrier::Pipe(pipe) => {
                pipe.write(&format!("{message}\n"));
                return Stream::Pipe;
            }
            Carrier::Http { session } => session,
        };
        let mut post = post(self.host, self.path, message).header("accept", BOTH);
        post = if self.modern {
            let named = if name.is_empty() { "v://res" } else { name };
            let post = post.header("mcp-protocol-version", MODERN).header("mcp-method", case.method);
            if case.method == "completion/complete" { post } else { post.header("mcp-name", named) }
        } else {
            post.header("mcp-session-id", &*session).header("mcp-protocol-version", LEGACY)
        };
        let response = post.send().await.expect("the host answers");
        let status = response.status();
        if response.headers()["content-type"].to_str().is_ok_and(|kind| kind.starts_with("text/event-stream"))
        {
            return Stream::Events(Events::of(response));
        }
        let text = response.text().await.expect("UTF-8");
        assert!(status.is_success(), "{status} {text}");
        Stream::Whole(text)
    }
}

/// What a request is answered with.
enum Stream {
    Pipe,
    Whole(String),
    Events(Events),
}

fn post(host: &TestHost, path: &str, message: String) -> reqwest::RequestBuilder {
    let post = host.request(Method::POST, path).header("accept", BOTH);
    post.header("content-type", "application/json").body(message)
}

/// The question of a modern answer that wants input: its key, and the state to give back.
pub(super) fn question(line: &str) -> (String, Value) {
    let message: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"));
    let result = &message["result"];
    assert_eq!(result["resultType"], "input_required", "{line}");
    let asked = result["inputRequests"].as_object().unwrap_or_else(|| panic!("no question in {line}"));
    assert_eq!(asked.len(), 1, "{line}");
    (asked.keys().next().cloned().unwrap_or_default(), result["requestState"].clone())
}
