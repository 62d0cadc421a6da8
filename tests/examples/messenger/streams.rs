//! A stream that is shown while it streams: the model says one piece, the caller sees it, and only then comes the next.

use reqwest::Method;
use serde_json::{Value, json};

use super::bedrock::{self, Bedrock};
use super::checkout::started;
use super::openai::{self, OpenAi};
use crate::support::TestHost;
use crate::support::answer::text_of;
use crate::support::mcp::{LEGACY, call, request};
use crate::support::sse::Events;

pub(super) fn with_openai(fake: &OpenAi) -> [(&'static str, String); 3] {
    let key = openai::KEY.to_owned();
    [("AI_PROVIDER", "openai".to_owned()), ("OPENAI_BASE_URL", fake.url()), ("OPENAI_API_KEY", key)]
}

pub(super) fn with_bedrock(fake: &Bedrock) -> [(&'static str, String); 5] {
    [
        ("AI_PROVIDER", "bedrock".to_owned()),
        ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", fake.url()),
        ("AWS_REGION", "eu-central-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", bedrock::ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "the-secret-key-of-the-test".to_owned()),
    ]
}

pub(super) async fn host<const N: usize>(env: [(&str, String); N]) -> TestHost {
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    started(&env).await.0
}

/// The event stream of `send_message_stream` over REST.
pub(super) async fn over_rest(host: &TestHost, message: &str) -> Events {
    let path = "/api/v1/plugins/server-a/tools/send_message_stream/call";
    let body = json!({ "arguments": { "message": message } });
    Events::open(host.request(Method::POST, path).json(&body)).await
}

#[tokio::test]
async fn over_rest_from_openai() {
    let fake = OpenAi::start().await;
    let host = host(with_openai(&fake)).await;
    let mut events = over_rest(&host, "stream").await;
    for (n, piece) in openai::PIECES.iter().enumerate() {
        fake.lets_go(1);
        let progress = events.until("a piece", |event| event.name != "accepted").await;
        assert_eq!(progress.name, "progress", "{progress:?}");
        assert_eq!(
            (&progress.json()["progress"], &progress.json()["message"]),
            (&json!(n + 1), &json!(piece))
        );
    }
    let result = events.until("the result", |event| event.name == "result").await.json();
    assert_eq!(text_of(&result["result"]), openai::PIECES.concat());
    assert_eq!(fake.last()["stream"], true);
}

#[tokio::test]
async fn over_rest_from_bedrock() {
    let fake = Bedrock::start().await;
    let host = host(with_bedrock(&fake)).await;
    let mut events = over_rest(&host, "stream").await;
    for piece in bedrock::PIECES {
        fake.lets_go(1);
        let progress = events.until("a piece", |event| event.name != "accepted").await;
        assert_eq!(progress.json()["message"], piece, "{progress:?}");
    }
    let result = events.until("the result", |event| event.name == "result").await.json();
    assert_eq!(text_of(&result["result"]), bedrock::PIECES.concat());
}

#[tokio::test]
async fn over_mcp_of_both_eras() {
    let fake = OpenAi::start().await;
    let host = host(with_openai(&fake)).await;
    let mut params = call("server-a__send_message_stream", json!({ "message": "stream" }));
    params["_meta"] = json!({ "progressToken": "mine" });
    let session = host.session("/mcp", LEGACY).await;
    let legacy = session.send(&request(5, "tools/call", params.clone()));
    let modern = host.modern("/mcp", "tools/call", params);
    for (era, message) in [("legacy", legacy), ("modern", modern)] {
        // Of a stream, the first piece makes the answer's head come.
        fake.lets_go(1);
        let mut events = Events::of(message.send().await.unwrap());
        for (n, piece) in openai::PIECES.iter().enumerate() {
            fake.lets_go(usize::from(n > 0));
            let seen = events.until("a piece", |event| event.data.contains("jsonrpc")).await.json();
            assert_eq!(seen["method"], "notifications/progress", "{era}: {seen}");
            assert_eq!(seen["params"]["progressToken"], "mine", "{era}: {seen}");
            assert_eq!(seen["params"]["message"], *piece, "{era}: {seen}");
        }
        let answer: Value = events.until("the answer", |event| event.data.contains("jsonrpc")).await.json();
        assert_eq!(text_of(&answer["result"]), openai::PIECES.concat(), "{era}");
    }
}
