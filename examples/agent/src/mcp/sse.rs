//! HTTP+SSE, the transport of 2024-11-05, which the SDK no longer has: one GET whose stream brings the address to post
//! to and then every message of the server.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use rmcp::service::{RoleClient, RxJsonRpcMessage, TxJsonRpcMessage};
use sse_stream::{Sse, SseStream};

use super::locked;
use crate::failure::{Failure, chain};
use crate::net;

type Events = Pin<Box<dyn Stream<Item = Result<Sse, sse_stream::Error>> + Send>>;

/// An open stream and where to post.
pub(super) struct Transport {
    http: reqwest::Client,
    token: Option<String>,
    post_to: reqwest::Url,
    events: Events,
}

/// A message that did not reach the server.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("the server answered {0} to a message")]
    Refused(reqwest::StatusCode),
}

impl Transport {
    /// Opens the stream and waits for the address to post to.
    pub(super) async fn open(http: reqwest::Client, url: &str, token: Option<&str>) -> Result<Self, Failure> {
        let gone = |cause: String| {
            Failure::Unreachable(format!(
                "cannot connect to the MCP server at {url}: {cause}\nIs it running, and is the port right? See --server-url."
            ))
        };
        let mut request = http.get(url).header("accept", "text/event-stream");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.map_err(|error| gone(chain(&error)))?;
        match answer.status().as_u16() {
            200 => {}
            401 | 403 => return Err(locked(url, &format!("it answered {}", answer.status()))),
            _ => return Err(gone(format!("it answered {}", answer.status()))),
        }
        let mut events: Events = Box::pin(SseStream::from_bytes_stream(answer.bytes_stream()));
        let path = loop {
            match events.next().await {
                Some(Ok(Sse { event: Some(kind), data: Some(path), .. })) if kind == "endpoint" => {
                    break path;
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(gone(chain(&error))),
                None => return Err(gone("the stream ended before it told where to post".to_owned())),
            }
        };
        let base = net::parse(url)?;
        let post_to =
            base.join(path.trim()).map_err(|error| gone(format!("{path:?} is no address: {error}")))?;
        // Else the server could have our token sent elsewhere.
        if post_to.origin() != base.origin() {
            return Err(gone(format!("it wants messages to be sent to another server, {post_to}")));
        }
        Ok(Self { http, token: token.map(str::to_owned), post_to, events })
    }
}

impl rmcp::transport::Transport<RoleClient> for Transport {
    type Error = Unsent;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Unsent>> + Send + 'static {
        let mut request = self.http.post(self.post_to.clone()).json(&message);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        async move {
            let status = request.send().await?.status();
            if status.is_success() { Ok(()) } else { Err(Unsent::Refused(status)) }
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let Sse { event, data, .. } = self.events.next().await?.ok()?;
            let is_message = event.as_deref().is_none_or(|kind| kind == "message");
            // What is no message of MCP is not for us.
            if is_message && let Some(message) = data.and_then(|data| serde_json::from_str(&data).ok()) {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> Result<(), Unsent> {
        self.events = Box::pin(futures_util::stream::empty());
        Ok(())
    }
}
