//! Messages to other agents, against fakes that speak A2A 0.3 and 1.0.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "this is all test code; a panic is a failure"
)]

#[path = "providers/fake.rs"]
#[allow(dead_code, reason = "shared with the tests of providers, which use all of it")]
mod fake;

use std::time::Duration;

use fake::{Answer, Fake};
use serde_json::{Value, json};
use wharf_agent::a2a::Neighbours;

async fn ask(answers: Vec<Value>) -> (Result<String, String>, Fake) {
    let fake = Fake::start(answers.into_iter().map(Answer::json).collect()).await;
    let neighbours = Neighbours { timeout: Duration::from_secs(30) };
    (neighbours.ask(&fake.url, "hello").await, fake)
}

fn result(result: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "result": result })
}

#[tokio::test]
async fn an_agent_of_0_3_is_sent_a_message() {
    let answer = json!({ "kind": "message", "role": "agent", "messageId": "m", "parts": [{ "kind": "text", "text": "hi" }] });
    let (said, fake) = ask(vec![result(answer)]).await;
    assert_eq!(said.unwrap(), "hi");
    let [asked] = fake.requests();
    assert_eq!((asked.body["method"].as_str(), asked.header("a2a-version")), (Some("message/send"), "0.3"));
    let message = &asked.body["params"]["message"];
    assert_eq!((&message["kind"], &message["role"]), (&json!("message"), &json!("user")));
    assert_eq!(message["parts"], json!([{ "kind": "text", "text": "hello" }]));
    assert!(message["messageId"].as_str().is_some_and(|id| !id.is_empty()));
}

#[tokio::test]
async fn an_agent_of_1_0_is_sent_a_message_in_its_way() {
    let unknown =
        json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32601, "message": "Method not found" } });
    let answer =
        json!({ "message": { "role": "ROLE_AGENT", "messageId": "m", "parts": [{ "text": "hi" }] } });
    let (said, fake) = ask(vec![unknown, result(answer)]).await;
    assert_eq!(said.unwrap(), "hi");
    let [_, asked] = fake.requests();
    assert_eq!((asked.body["method"].as_str(), asked.header("a2a-version")), (Some("SendMessage"), "1.0"));
    let message = &asked.body["params"]["message"];
    assert_eq!((&message["role"], &message["parts"]), (&json!("ROLE_USER"), &json!([{ "text": "hello" }])));
}

#[tokio::test]
async fn a_task_is_read_by_its_artifacts_or_its_state() {
    let text = |text: &str| json!([{ "kind": "text", "text": text }]);
    let state = json!({ "state": "completed", "message": { "parts": text("state") } });
    let done = json!({ "kind": "task", "artifacts": [{ "parts": text("a") }, { "parts": text("b") }], "status": state });
    assert_eq!(ask(vec![result(done)]).await.0.unwrap(), "a\nb");
    let asks = json!({ "task": { "status": state } });
    assert_eq!(ask(vec![result(asks)]).await.0.unwrap(), "state");
}

#[tokio::test]
async fn what_goes_wrong_is_told() {
    let refused = json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32000, "message": "not today" } });
    assert_eq!(ask(vec![refused]).await.0.unwrap_err(), "not today");
    assert!(ask(vec![result(json!({}))]).await.0.unwrap_err().contains("without a text"));
    let neighbours = Neighbours { timeout: Duration::from_secs(30) };
    assert!(neighbours.ask("file:///etc/passwd", "x").await.unwrap_err().contains("neither http://"));
    let fake = Fake::start(vec![Answer::status(503, json!({}))]).await;
    assert!(neighbours.ask(&fake.url, "x").await.unwrap_err().contains("503"));
    let fake = Fake::start(vec![Answer::text("hello")]).await;
    assert!(neighbours.ask(&fake.url, "x").await.unwrap_err().contains("no JSON"));
    let long = json!({ "parts": [{ "text": "x".repeat(1 << 20) }] });
    assert!(ask(vec![result(long)]).await.0.unwrap_err().contains("longer than 1048576 bytes"));
    let fits = json!({ "parts": [{ "text": "x".repeat((1 << 20) - 100) }] });
    assert_eq!(ask(vec![result(fits)]).await.0.unwrap().len(), (1 << 20) - 100);
}
