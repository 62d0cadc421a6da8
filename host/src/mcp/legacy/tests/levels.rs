//! How much a session is told of.

use serde_json::json;
use wharf_plugin_api::Id;

use super::{LEGACY, MODERN, ask, call, stage, whole};
use crate::mcp::testkit::of_request;

#[tokio::test(start_paused = true)]
async fn log_messages_of_a_call_pass_at_the_level_of_the_session() {
    let stage = stage(LEGACY).await;
    let client = stage.client("{}").await;
    let log = || whole(client.request(Id::number(1), "tools/call", of_request(r#"{"name":"p__log"}"#)));
    assert_eq!(log().await.0.len(), 2, "info and error");
    for (level, many) in [("debug", 3), ("error", 1), ("emergency", 0)] {
        ask(&client, "logging/setLevel", &json!({ "level": level }).to_string()).await;
        assert_eq!(log().await.0.len(), many, "{level}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_level_is_set_when_the_plugin_knows_it() {
    let stage = stage(LEGACY).await;
    let client = stage.client("{}").await;
    let mut expected = Vec::new();
    for level in ["debug", "info", "debug"] {
        ask(&client, "logging/setLevel", &json!({ "level": level }).to_string()).await;
        expected.push(json!({ "level": level }).to_string());
        assert_eq!(stage.actor.got("logging/setLevel"), expected);
    }
    ask(&client, "logging/setLevel", r#"{"level":"error"}"#).await;
    expected.push(json!({ "level": "info" }).to_string());
    assert_eq!(stage.actor.got("logging/setLevel"), expected, "others hear of it from info up");
}

#[tokio::test(start_paused = true)]
async fn a_modern_plugin_is_told_the_level_of_the_session_with_each_call() {
    let stage = stage(MODERN).await;
    let (client, other) = (stage.client("{}").await, stage.client("{}").await);
    assert_eq!(call(&client, "level").await["result"], json!({ "level": "info" }), "none was set");
    for level in ["debug", "error", "emergency", "debug"] {
        ask(&client, "logging/setLevel", &json!({ "level": level }).to_string()).await;
        assert_eq!(call(&client, "level").await["result"], json!({ "level": level }));
        assert_eq!(call(&other, "level").await["result"], json!({ "level": "info" }), "it is another's");
    }
    assert_eq!(stage.actor.got("logging/setLevel"), Vec::<String>::new(), "it knows no such method");
}
