//! The paid providers, by stand-ins: what is asked, what is answered, what it costs, and how each failure is told.

use serde_json::{Value, json};

use super::bedrock::{self, Bedrock};
use super::checkout::both;
use super::openai::{self, OpenAi};
use super::streams::{host, over_rest, with_bedrock, with_openai};
use crate::support::TestHost;
use crate::support::answer::text_of;

async fn ask(host: &TestHost, model: Option<&str>) -> Value {
    let mut reply =
        host.call("server-a", "send_message", json!({ "message": "How much?", "model": model })).await;
    assert_ne!(reply["isError"], true, "{reply}");
    reply["structuredContent"].take()
}

/// What went wrong with a stream.
async fn failure(host: &TestHost, message: &str) -> String {
    let last = over_rest(host, message).await.all().await.pop().unwrap().json();
    assert_eq!(last["result"]["isError"], true, "{last}");
    text_of(&last["result"]).to_owned()
}

async fn health(host: &TestHost) -> Value {
    host.call("server-b", "health_check", json!({})).await["structuredContent"].take()
}

#[tokio::test]
async fn openai_answers_and_has_its_price() {
    let fake = OpenAi::start().await;
    let host = host(with_openai(&fake)).await;
    let reply = ask(&host, None).await;
    assert_eq!(reply["aiResponse"], openai::PIECES.concat(), "{reply}");
    assert_eq!((&reply["provider"], &reply["model"]), (&json!("openai"), &json!("gpt-4")));
    // 1,000 tokens at 30 dollars a million, and 500 at 60.
    let usage =
        json!({ "promptTokens": 1000, "completionTokens": 500, "totalTokens": 1500, "estimatedCost": 0.06 });
    assert_eq!(reply["usage"], usage);
    assert_eq!(fake.last()["messages"], json!([{ "role": "user", "content": "How much?" }]));
    let cheap = ask(&host, Some("gpt-3.5-turbo")).await;
    assert_eq!(cheap["usage"]["estimatedCost"], 0.00125, "{cheap}");
    assert_eq!(fake.last()["model"], "gpt-3.5-turbo");
    let unknown = ask(&host, Some("gpt-unheard-of")).await;
    assert_eq!(unknown["usage"]["estimatedCost"], Value::Null, "not known is not free: {unknown}");
    let models = host.call("server-a", "list_available_models", json!({})).await;
    let listed = json!(["gpt-4", "gpt-4-turbo", "gpt-4o", "gpt-3.5-turbo"]);
    assert_eq!(
        models["structuredContent"],
        json!({ "provider": "openai", "models": listed, "default": "gpt-4" })
    );
}

#[tokio::test]
async fn bedrock_answers_and_has_its_price() {
    let fake = Bedrock::start().await;
    let host = host(with_bedrock(&fake)).await;
    let sonnet = "anthropic.claude-3-5-sonnet-20241022-v2:0";
    for (model, id, cost) in [
        (None, sonnet, json!(0.021)),
        (Some("sonnet-v2"), sonnet, json!(0.021)),
        (Some("haiku"), "anthropic.claude-3-haiku-20240307-v1:0", json!(0.00175)),
        (Some("some.other-v1:0"), "some.other-v1:0", Value::Null),
    ] {
        let reply = ask(&host, model).await;
        assert_eq!(reply["aiResponse"], bedrock::PIECES.concat(), "{reply}");
        assert_eq!(reply["usage"]["estimatedCost"], cost, "{model:?}: {reply}");
        let (asked, body) = fake.last();
        assert_eq!(asked, id);
        assert_eq!(body["messages"], json!([{ "role": "user", "content": [{ "text": "How much?" }] }]));
    }
    let models = host.call("server-a", "list_available_models", json!({})).await;
    assert_eq!(models["structuredContent"]["models"], json!(["sonnet-v2", "opus", "haiku"]));
}

#[tokio::test]
async fn what_openai_refuses_is_told_and_heals() {
    let fake = OpenAi::start().await;
    let mut env = with_openai(&fake);
    env[2].1 = "sk-a-wrong-key-of-the-test".to_owned();
    let wrong = host(env).await;
    let refused = wrong.call("server-a", "send_message", json!({ "message": "x" })).await;
    assert_eq!(refused["isError"], true, "{refused}");
    let told = text_of(&refused);
    assert!(
        told.contains("Server B answered 502") && told.contains("401") && told.contains("Incorrect API key"),
        "{told}"
    );
    let streamed = failure(&wrong, "x").await;
    assert!(streamed.contains("openai: ") && streamed.contains("401"), "{streamed}");
    assert_eq!(health(&wrong).await["status"], "degraded");
    let log = wrong.get("/api/v1/plugins/server-b/logs").await.text();
    assert!(!log.is_empty() && !log.contains("sk-a-wrong-key"), "{log}");

    let right = host(with_openai(&fake)).await;
    fake.lets_go(1);
    let told = failure(&right, "break off").await;
    assert!(told.contains("openai: the stream broke off"), "{told}");
    let sick = health(&right).await;
    assert_eq!(
        (&sick["status"], &sick["error"]),
        (&json!("degraded"), &json!("openai: the stream broke off"))
    );
    ask(&right, None).await;
    assert_eq!(health(&right).await["status"], "healthy", "an answer heals");
}

#[tokio::test]
async fn what_bedrock_refuses_is_told() {
    let fake = Bedrock::start().await;
    let host = host(with_bedrock(&fake)).await;
    for (message, says) in [("break off", "bedrock: the stream broke off"), ("fail", "Too many tokens")] {
        fake.lets_go(1);
        let told = failure(&host, message).await;
        assert!(told.contains(says), "{told}");
    }
    let mut env = with_bedrock(&fake);
    env[3].1 = "AKIDOFSOMEBODY".to_owned();
    let wrong = super::streams::host(env).await;
    let refused = wrong.call("server-a", "send_message", json!({ "message": "x" })).await;
    assert!(text_of(&refused).contains("UnrecognizedClientException"), "{refused}");
}

/// What cannot heal by itself is fatal at once, and says why.
#[tokio::test]
async fn what_is_missing_is_told_at_the_start() {
    for (env, says) in [
        (("AI_PROVIDER", "opnai"), "write one of mock, openai, bedrock"),
        (("AI_PROVIDER", "openai"), "OPENAI_API_KEY"),
    ] {
        let host = both(&[env]).0.start().await;
        let view = host.until_state("server-b", "fatal").await;
        let exit = &view["instances"][0]["last_exit"];
        assert_eq!(exit["code"], 78, "{view}");
        assert!(exit["stderr_tail"].to_string().contains(says), "{view}");
        host.until_state("server-a", "ready").await;
    }
}
