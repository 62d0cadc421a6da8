//! Calls over REST of a tool that asks: answered by asking, gone on with by answers, refused where none can be given.

use std::sync::Arc;

use axum::Extension;
use axum::body::to_bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use wharf_core::ask::{Capability, Declared};

use super::{CLIENT, payload};
use crate::mcp::modern::testkit::Kit;
use crate::route::Payload;
use crate::serve::auth::Principal;
use crate::serve::body::JsonBody;
use crate::serve::rest::calls::tests::{tool, wanted};
use crate::serve::rest::params::Names;
use crate::serve::rest::room::Room;
use crate::serve::rest::tries::Tries;
use crate::serve::rest::{Edge, calls, values};
use crate::tasks::Tasks;

#[test]
fn everything_can_be_asked() {
    let declared = CLIENT.with(|client| Declared::of(&client.capabilities));
    for capability in [
        Capability::Roots,
        Capability::Sampling,
        Capability::SamplingTools,
        Capability::ElicitationForm,
        Capability::ElicitationUrl,
    ] {
        assert!(declared.has(capability), "{capability:?}");
    }
}

#[test]
fn answers_go_along_as_they_came_and_nothing_does_without_them() {
    let plain = br#"{"arguments":{ "a":1.0}}"#;
    let arguments = wanted(plain).arguments.map(|raw| raw.to_owned().into());
    assert!(matches!(
        payload(&tool(), &wanted(plain), (arguments, None)),
        Ok(Payload::Call { arguments: Some(_), meta: None })
    ));
    let body =
        br#"{"arguments":{ "a":1.0},"meta":{"x":1},"inputResponses":{"k" : 1.0},"requestState":"s\""}"#;
    let written = payload(&tool(), &wanted(body), (None, wanted(body).meta));
    let Ok(Payload::Params(Some(params))) = written else { panic!() };
    let expected = r#"{"name":"t","arguments":{ "a":1.0},"_meta":{"x":1},"inputResponses":{"k" : 1.0},"requestState":"s\""}"#;
    assert_eq!(params.get(), expected);
}

fn edge(kit: &Kit) -> Edge {
    Edge { host: kit.host.clone(), mcp: kit.mcp.clone(), schemas: Arc::default(), tasks: Tasks::default() }
}

async fn read(answer: Response) -> (StatusCode, String) {
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn posted(
    kit: &Kit,
    tool: [&str; 2],
    body: &Value,
    accept: &'static str,
    who: &str,
) -> (StatusCode, String) {
    let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
    let names = Names((tool[0].to_owned(), tool[1].to_owned()));
    let body = JsonBody(Some(body.to_string().into()));
    let who = Extension(Principal(who.into()));
    let answer =
        calls::call(State(edge(kit)), who, names, None, (Tries::default(), Room), headers, body).await;
    read(answer.into_response()).await
}

async fn call(kit: &Kit, tool: [&str; 2], body: &Value) -> (StatusCode, Value) {
    let (status, body) = posted(kit, tool, body, "application/json", "me").await;
    (status, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn a_question_is_the_answer_and_answers_go_on_with_the_call() {
    let kit = Kit::new().await;
    let (status, asked) = call(&kit, ["old", "ask"], &json!({})).await;
    assert_eq!((status, &asked["plugin"]), (StatusCode::OK, &json!("old")));
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    assert_eq!(asked["result"]["inputRequests"]["1"]["method"], "elicitation/create");
    let mut retry = json!({
        "inputResponses": {"1": {"action": "accept", "content": {"n": 1}}},
        "requestState": asked["result"]["requestState"],
    });
    let mut others = retry.clone();
    others["arguments"] = json!({"region": "elsewhere"});
    assert_eq!(call(&kit, ["old", "ask"], &others).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(posted(&kit, ["old", "ask"], &retry, "*/*", "another").await.0, StatusCode::BAD_REQUEST);
    let (status, done) = call(&kit, ["old", "ask"], &retry).await;
    assert_eq!(status, StatusCode::OK, "{done}");
    assert_eq!(done["result"]["structuredContent"]["answer"]["content"]["n"], 1);
    assert!(done["call_id"].is_string() && done["instance"] == 0);
    assert_eq!(call(&kit, ["old", "ask"], &retry).await.0, StatusCode::BAD_REQUEST, "a token is good once");
    retry["requestState"] = json!("w1.0");
    assert_eq!(call(&kit, ["old", "ask"], &retry).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_stream_ends_with_the_question_and_the_next_with_the_result() {
    let kit = Kit::new().await;
    let stream = "text/event-stream";
    let (_, frames) = posted(&kit, ["old", "ask"], &json!({}), stream, "me").await;
    let result = |frames: &str| -> Value {
        let (_, data) = frames.split_once("event: result\ndata: ").unwrap();
        serde_json::from_str(data.trim()).unwrap()
    };
    assert!(frames.starts_with("event: accepted\n"), "{frames}");
    let state = result(&frames)["result"]["requestState"].clone();
    let retry = json!({"inputResponses": {"1": {"action": "decline"}}, "requestState": state});
    let (_, frames) = posted(&kit, ["old", "ask"], &retry, stream, "me").await;
    assert_eq!(result(&frames)["result"]["structuredContent"]["answer"]["action"], "decline");
}

#[tokio::test]
async fn a_modern_plugin_gets_what_came() {
    let kit = Kit::new().await;
    let body = json!({"inputResponses": {"k": {}}, "requestState": "theirs"});
    let (_, answer) = call(&kit, ["new", "echo"], &body).await;
    let seen = &answer["result"]["structuredContent"];
    assert_eq!(
        seen["params"],
        json!({"name": "echo", "inputResponses": {"k": {}}, "requestState": "theirs"})
    );
    assert!(seen["capabilities"]["elicitation"]["url"].is_object());
    let (_, answer) = call(&kit, ["old", "echo"], &json!({"inputResponses": {"k": {}}})).await;
    assert_eq!(answer["result"]["structuredContent"]["params"], json!({"name": "echo"}));
}

#[tokio::test]
async fn where_nobody_can_be_asked_no_call_is_left_waiting() {
    let kit = Kit::new().await;
    for tool in ["ask", "lack"] {
        let names = Names(("old".to_owned(), tool.to_owned()));
        let value = values::call(
            State(edge(&kit)),
            Extension(Principal("me".into())),
            names,
            HeaderMap::new(),
            (Tries::default(), Room),
            JsonBody(None),
        );
        let (status, body) = read(value.await.into_response()).await;
        assert_eq!(status, StatusCode::CONFLICT, "{body}");
        assert!(body.contains("\"code\":\"input_required\""), "{body}");
    }
    assert_eq!(kit.mcp.park().waiting(), 0);
}
