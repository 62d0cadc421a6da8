//! The agent with each provider, over a host, against fakes of the paid services.

use serde_json::{Value, json};

use super::program;
use crate::support::{TestHost, mock};

#[path = "../../../examples/agent/tests/providers/fake.rs"]
#[allow(dead_code, reason = "shared with the agent's own tests, which use all of it")]
mod fake;

use fake::{Answer, Fake};

/// A text in one event, and its end.
fn openai(text: &str) -> Answer {
    let chunk = json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": "stop" }] });
    Answer::sse([chunk, Value::String("[DONE]".to_owned())])
}

#[tokio::test]
async fn a_model_of_openai_calls_a_tool_of_the_host() {
    let host = TestHost::with([("a", mock())]).await;
    host.until_state("a", "ready").await;
    let call = json!([{ "index": 0, "id": "c1", "type": "function",
        "function": { "name": "a__add", "arguments": "{\"a\": 2, \"b\": 3}" } }]);
    let wish = json!({ "choices": [{ "index": 0, "delta": { "tool_calls": call }, "finish_reason": "tool_calls" }] });
    let fake =
        Fake::start(vec![Answer::sse([wish, Value::String("[DONE]".to_owned())]), openai("Five.")]).await;
    let skill = host.scratch("skill.md");
    std::fs::write(&skill, "Count in words.").unwrap();
    let skill = skill.to_str().unwrap();

    let args = ["--provider", "openai", "--base-url", &fake.url, "--instructions", skill, "two and three?"];
    let outcome = program::once(&host, &args).await.expect(0);
    assert_eq!(outcome.stdout, "Five.\n");
    assert!(
        outcome.stderr.contains("Calling: a__add({\"a\":2,\"b\":3})\n   ✓ Result: {\"sum\":5}"),
        "{outcome:?}"
    );

    let [first, second] = fake.requests();
    let told = first.body["messages"][0]["content"].as_str().unwrap();
    assert!(told.ends_with("\n\nCount in words."), "{told}");
    let tools = first.body["tools"].as_array().unwrap();
    assert!(tools.iter().any(|tool| tool["function"]["name"] == "a__add"), "{tools:#?}");
    assert_eq!(second.body["messages"][3]["content"], r#"{"sum":5}"#);
}

#[tokio::test]
async fn each_provider_is_found_by_its_environment() {
    let host = TestHost::with([("a", mock())]).await;
    host.until_state("a", "ready").await;
    let anthropic = [
        json!({ "type": "message_start", "message": { "id": "m", "usage": { "input_tokens": 1, "output_tokens": 1 } } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "Clear." } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_stop" }),
    ];
    let bedrock = json!({ "output": { "message": { "role": "assistant", "content": [{ "text": "Clear." }] } },
        "stopReason": "end_turn", "usage": { "inputTokens": 1, "outputTokens": 1, "totalTokens": 2 } });
    let answers = vec![openai("Clear."), Answer::sse(anthropic), Answer::json(bedrock)];
    let fake = Fake::start(answers).await;

    let (url, token) = (format!("{}/mcp", host.base), host.token.as_str());
    let with_version = format!("{}/v1", fake.url);
    let env = [
        ("OPENAI_BASE_URL", &*with_version),
        ("OPENAI_API_KEY", "key-o"),
        ("ANTHROPIC_BASE_URL", &fake.url),
        ("ANTHROPIC_API_KEY", "key-a"),
        ("BEDROCK_BASE_URL", &fake.url),
        ("AWS_BEARER_TOKEN_BEDROCK", "key-b"),
        ("WHARF_TOKEN", token),
    ];
    for provider in ["openai", "anthropic", "bedrock"] {
        let args = ["--server-url", &url, "--provider", provider, "--model", "m1", "Weather?"];
        let outcome = program::run(&args, &env).await.end().await.expect(0);
        assert_eq!(outcome.stdout, "Clear.\n", "{provider}");
    }
    let [openai, anthropic, bedrock] = fake.requests();
    assert_eq!((&*openai.path, openai.header("authorization")), ("/v1/chat/completions", "Bearer key-o"));
    assert_eq!((&*anthropic.path, anthropic.header("x-api-key")), ("/v1/messages", "key-a"));
    assert_eq!((&*bedrock.path, bedrock.header("authorization")), ("/model/m1/converse", "Bearer key-b"));
    assert_eq!((&openai.body["model"], &anthropic.body["model"]), (&json!("m1"), &json!("m1")));
}
