//! HTTP+SSE of 2024-11-05: a stream and a path to post to.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::answer::text_of;
use crate::support::mcp::{call, hello, refused, request};
use crate::support::sse::Events;
use crate::support::{Answer, TestHost, eventually, mock};

pub(crate) struct Old<'a> {
    host: &'a TestHost,
    events: Events,
    pub(crate) endpoint: String,
}

impl<'a> Old<'a> {
    pub(crate) async fn open(host: &'a TestHost, path: &str) -> Self {
        let mut events = Events::open(host.request(Method::GET, path)).await;
        let first = events.next().await.expect("a first event");
        assert_eq!(first.name, "endpoint");
        Self { host, events, endpoint: first.data }
    }

    pub(crate) async fn post(&self, message: &Value) -> u16 {
        Answer::of(self.host.request(Method::POST, &self.endpoint).json(message)).await.status
    }

    pub(crate) async fn ask(&mut self, id: u64, method: &str, params: Value) -> Value {
        assert_eq!(self.post(&request(id, method, params)).await, 202);
        self.until(id).await
    }

    /// Reads on to the answer with this id.
    pub(crate) async fn until(&mut self, id: u64) -> Value {
        let answer = self.events.until("the answer", |event| event.json()["id"] == id).await;
        assert_eq!(answer.name, "message");
        answer.json()
    }
}

#[tokio::test]
async fn an_old_client_lists_and_calls() {
    let host = TestHost::with([("mock", mock())]).await;
    host.until_state("mock", "ready").await;
    for (path, tool) in [("/sse", "mock__echo"), ("/plugins/mock/sse", "echo")] {
        let mut old = Old::open(&host, path).await;
        let messages = path.replace("/sse", "/messages?sessionId=");
        assert!(old.endpoint.starts_with(&messages), "{}", old.endpoint);
        let hello = old.ask(1, "initialize", hello("2024-11-05")).await;
        assert_eq!(hello["result"]["protocolVersion"], "2024-11-05", "{hello}");
        assert_eq!(old.post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await, 202);
        let list = old.ask(2, "tools/list", json!({})).await;
        assert!(list["result"]["tools"].as_array().unwrap().iter().any(|t| t["name"] == tool), "{list}");
        let called = old.ask(3, "tools/call", call(tool, json!({ "message": "old" }))).await;
        assert_eq!(text_of(&called["result"]), "old");
    }
}

#[tokio::test]
async fn mistakes_come_back_as_messages() {
    let host = TestHost::with([("mock", mock())]).await;
    let mut old = Old::open(&host, "/sse").await;
    assert_eq!(old.ask(1, "tools/list", json!({})).await["error"]["code"], -32600, "no session yet");
    assert_eq!(old.post(&json!({ "no": "message" })).await, 202);
    let refused = old.events.next().await.unwrap().json();
    assert_eq!(refused["error"]["code"], -32600, "{refused}");
}

#[tokio::test]
async fn a_connection_is_its_openers_and_its_session_ends_with_it() {
    let host = TestHost::with([("mock", mock())]).await;
    let mut old = Old::open(&host, "/sse").await;
    old.ask(1, "initialize", hello("2024-11-05")).await;
    let ping = request(2, "ping", json!({}));
    let other =
        reqwest::Client::builder().no_proxy().unix_socket(host.state().join("wharf.sock")).build().unwrap();
    let stolen = other.post(format!("http://localhost{}", old.endpoint)).json(&ping);
    refused(&Answer::of(stolen).await, 404, -32001);
    let elsewhere = old.endpoint.replace("/messages", "/plugins/mock/messages");
    refused(&Answer::of(host.request(Method::POST, &elsewhere).json(&ping)).await, 404, -32001);
    refused(&Answer::of(host.request(Method::POST, "/messages?sessionId=x").json(&ping)).await, 404, -32001);
    Answer::of(host.request(Method::POST, "/messages").json(&ping)).await.problem(400, "bad_request");
    let endpoint = old.endpoint.clone();
    drop(old);
    eventually("the session to end", async || {
        match Answer::of(host.request(Method::POST, &endpoint).json(&ping)).await.status {
            404 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}
