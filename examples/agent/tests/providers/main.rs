//! The models of providers, against fakes of them on this machine that stream as they do: OpenAI, Anthropic and AWS
//! Bedrock (its JSON Converse call) are paid services.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "this is all test code; a panic is a failure"
)]

mod fake;

use fake::{Answer, Fake};
use serde_json::{Value, json};
use wharf_agent::conversation::{Conversation, Message, ToolCall};
use wharf_agent::failure::Failure;
use wharf_agent::model::hosted::{Hosted, Speech};
use wharf_agent::model::{ChatModel as _, Turn};
use wharf_agent::tools::Tool;

fn tools() -> [Tool; 2] {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    ["geo.v1__weather", "other__tool"].map(|name| Tool {
        name: name.to_owned(),
        description: "Tells the weather".to_owned(),
        schema: schema.clone(),
    })
}

fn model(speech: Speech, fake: &Fake) -> Hosted {
    Hosted::new(speech, &fake.url, "the-key".to_owned(), "the-model", "Be brief.".to_owned()).unwrap()
}

fn asked() -> Conversation {
    Conversation { messages: vec![Message::User { text: "Weather in Oslo?".to_owned() }] }
}

/// What the model wants, and what came of it.
fn answered(turn: &Turn) -> Conversation {
    let mut conversation = asked();
    let Turn { text, calls } = turn.clone();
    let call = calls[0].clone();
    conversation.messages.push(Message::Assistant { text, calls });
    let result = json!({ "sky": "clear" });
    conversation.messages.push(Message::Tool { call: call.id, tool: call.tool, failed: false, result });
    conversation
}

/// One turn, and the pieces in which it was said.
async fn turn(model: &Hosted, so_far: &Conversation) -> (Result<Turn, Failure>, Vec<String>) {
    let mut pieces = Vec::new();
    let turn = model.turn(so_far, &tools(), &mut |piece| pieces.push(piece.to_owned())).await;
    (turn, pieces)
}

fn wish(id: &str) -> Turn {
    let call = ToolCall {
        id: id.to_owned(),
        tool: "geo.v1__weather".to_owned(),
        arguments: json!({ "city": "Oslo" }),
    };
    Turn { text: "I look it up.".to_owned(), calls: vec![call] }
}

fn pointer<'a>(request: &'a Value, path: &str) -> &'a Value {
    request.pointer(path).unwrap_or_else(|| panic!("no {path} in {request:#}"))
}

#[tokio::test]
async fn openai_is_streamed_and_told_results() {
    let chunk = |delta: Value, end: Value| {
        json!({ "id": "1", "object": "chat.completion.chunk", "model": "the-model",
            "choices": [{ "index": 0, "delta": delta, "finish_reason": end }] })
    };
    let call = |id: Value, name: Value, part: &str| json!({ "tool_calls": [{ "index": 0, "id": id, "type": "function", "function": { "name": name, "arguments": part } }] });
    let fake = Fake::start(vec![
        Answer::sse([
            chunk(json!({ "role": "assistant", "content": "I look " }), Value::Null),
            chunk(json!({ "content": "it up." }), Value::Null),
            chunk(call("call_1".into(), "geo_v1__weather".into(), "{\"city\":"), Value::Null),
            chunk(call(Value::Null, Value::Null, "\"Oslo\"}"), Value::Null),
            chunk(json!({}), "tool_calls".into()),
            Value::String("[DONE]".to_owned()),
        ]),
        Answer::sse([
            chunk(json!({ "content": "Clear." }), Value::Null),
            chunk(json!({}), "stop".into()),
            Value::String("[DONE]".to_owned()),
        ]),
    ])
    .await;
    let model = model(Speech::OpenAi, &fake);

    let (first, pieces) = turn(&model, &asked()).await;
    assert_eq!(first.as_ref().unwrap(), &wish("call_1"));
    assert_eq!(pieces, ["I look ", "it up."]);
    let (second, _) = turn(&model, &answered(&first.unwrap())).await;
    assert_eq!(second.unwrap(), Turn { text: "Clear.".to_owned(), calls: Vec::new() });

    let [first, second] = fake.requests();
    assert_eq!((first.path.as_str(), first.header("authorization")), ("/chat/completions", "Bearer the-key"));
    assert_eq!(pointer(&first.body, "/stream"), true);
    assert_eq!(pointer(&first.body, "/messages/0"), &json!({ "role": "system", "content": "Be brief." }));
    assert_eq!(pointer(&first.body, "/tools/0/function/name"), "geo_v1__weather");
    assert_eq!(pointer(&second.body, "/messages/2/tool_calls/0/id"), "call_1");
    assert_eq!(pointer(&second.body, "/messages/3/tool_call_id"), "call_1");
    assert_eq!(pointer(&second.body, "/messages/3/content"), r#"{"sky":"clear"}"#);
}

#[tokio::test]
async fn anthropic_is_streamed_and_told_results() {
    let delta =
        |index: usize, delta: Value| json!({ "type": "content_block_delta", "index": index, "delta": delta });
    let begin = |index: usize, block: Value| json!({ "type": "content_block_start", "index": index, "content_block": block });
    let head = json!({ "type": "message_start", "message": { "id": "m", "type": "message", "role": "assistant",
        "model": "the-model", "content": [], "usage": { "input_tokens": 1, "output_tokens": 1 } } });
    let end = |why: &str| {
        [
            json!({ "type": "message_delta", "delta": { "stop_reason": why }, "usage": { "output_tokens": 9 } }),
            json!({ "type": "message_stop" }),
        ]
    };
    let mut wishes = vec![
        head.clone(),
        begin(0, json!({ "type": "text", "text": "" })),
        delta(0, json!({ "type": "text_delta", "text": "I look " })),
        delta(0, json!({ "type": "text_delta", "text": "it up." })),
        json!({ "type": "content_block_stop", "index": 0 }),
        begin(1, json!({ "type": "tool_use", "id": "toolu_1", "name": "geo_v1__weather", "input": {} })),
        delta(1, json!({ "type": "input_json_delta", "partial_json": "{\"city\": " })),
        delta(1, json!({ "type": "input_json_delta", "partial_json": "\"Oslo\"}" })),
        json!({ "type": "content_block_stop", "index": 1 }),
    ];
    wishes.extend(end("tool_use"));
    let mut says = vec![
        head,
        begin(0, json!({ "type": "text", "text": "" })),
        delta(0, json!({ "type": "text_delta", "text": "Clear." })),
        json!({ "type": "content_block_stop", "index": 0 }),
    ];
    says.extend(end("end_turn"));
    let fake = Fake::start(vec![Answer::sse(wishes), Answer::sse(says)]).await;
    let model = model(Speech::Anthropic, &fake);

    let (first, pieces) = turn(&model, &asked()).await;
    assert_eq!(first.as_ref().unwrap(), &wish("toolu_1"));
    assert_eq!(pieces, ["I look ", "it up."]);
    let (second, _) = turn(&model, &answered(&first.unwrap())).await;
    assert_eq!(second.unwrap(), Turn { text: "Clear.".to_owned(), calls: Vec::new() });

    let [first, second] = fake.requests();
    assert_eq!((first.path.as_str(), first.header("x-api-key")), ("/messages", "the-key"));
    assert_eq!(pointer(&first.body, "/stream"), true);
    assert_eq!(pointer(&first.body, "/tools/0/name"), "geo_v1__weather");
    assert_eq!(pointer(&second.body, "/messages/1/content/1/id"), "toolu_1");
    assert_eq!(pointer(&second.body, "/messages/2/content/0/tool_use_id"), "toolu_1");
}

#[tokio::test]
async fn bedrock_is_asked_by_converse() {
    let answer = |content: Value, why: &str| {
        Answer::json(json!({ "output": { "message": { "role": "assistant", "content": content } },
            "stopReason": why, "usage": { "inputTokens": 1, "outputTokens": 1, "totalTokens": 2 } }))
    };
    let call = json!({ "toolUseId": "t1", "name": "geo_v1__weather", "input": { "city": "Oslo" } });
    let fake = Fake::start(vec![
        answer(json!([{ "text": "I look it up." }, { "toolUse": call }]), "tool_use"),
        answer(json!([{ "text": "Clear." }]), "end_turn"),
    ])
    .await;
    let model = model(Speech::Bedrock, &fake);

    let (first, pieces) = turn(&model, &asked()).await;
    assert_eq!(first.as_ref().unwrap(), &wish("t1"));
    assert_eq!(pieces, ["I look it up."]);
    let (second, _) = turn(&model, &answered(&first.unwrap())).await;
    assert_eq!(second.unwrap(), Turn { text: "Clear.".to_owned(), calls: Vec::new() });

    let [first, second] = fake.requests();
    assert_eq!(
        (first.path.as_str(), first.header("authorization")),
        ("/model/the-model/converse", "Bearer the-key")
    );
    assert_eq!(pointer(&first.body, "/toolConfig/tools/0/toolSpec/name"), "geo_v1__weather");
    assert_eq!(pointer(&second.body, "/messages/2/content/0/toolResult/toolUseId"), "t1");
}

#[tokio::test]
async fn pieces_are_said_before_the_rest_is_there() {
    let chunk = |text: &str| json!({ "choices": [{ "index": 0, "delta": { "content": text } }] });
    let (answer, gate) = Answer::gated([chunk("now ")], [chunk("later"), Value::String("[DONE]".to_owned())]);
    let fake = Fake::start(vec![answer]).await;
    let mut gate = Some(gate);
    let mut pieces = Vec::new();
    // The fake sends the rest only once the first piece was said.
    let mut say = |piece: &str| {
        pieces.push(piece.to_owned());
        gate.take().map(|gate| gate.send(()));
    };
    let turn = model(Speech::OpenAi, &fake).turn(&asked(), &[], &mut say).await;
    assert_eq!(turn.unwrap().text, "now later");
    assert_eq!(pieces, ["now ", "later"]);
}

#[tokio::test]
async fn what_goes_wrong_is_told() {
    for speech in [Speech::OpenAi, Speech::Anthropic, Speech::Bedrock] {
        let refusals = vec![
            Answer::status(401, json!({ "error": { "message": "bad key" } })),
            Answer::status(529, json!({ "error": { "message": "overloaded just now" } })),
        ];
        let fake = Fake::start(refusals).await;
        let model = model(speech, &fake);
        let (refused, _) = turn(&model, &asked()).await;
        assert!(
            matches!(&refused, Err(Failure::NotAuthorised(text)) if text.contains("bad key")),
            "{refused:?}"
        );
        let (busy, _) = turn(&model, &asked()).await;
        assert!(
            matches!(&busy, Err(Failure::Failed(text)) if text.contains("overloaded just now")),
            "{busy:?}"
        );
    }
}

#[tokio::test]
async fn a_long_result_is_cut_and_a_failed_one_says_so() {
    let chunk = json!({ "choices": [{ "index": 0, "delta": { "content": "ok" }, "finish_reason": "stop" }] });
    let fake = Fake::start(vec![Answer::sse([chunk, Value::String("[DONE]".to_owned())])]).await;
    let mut conversation = answered(&wish("call_1"));
    if let Some(Message::Tool { failed, result, .. }) = conversation.messages.last_mut() {
        (*failed, *result) = (true, "é".repeat(40_000).into());
    }
    turn(&model(Speech::OpenAi, &fake), &conversation).await.0.unwrap();
    let [request] = fake.requests();
    let told = pointer(&request.body, "/messages/3/content").as_str().unwrap();
    assert!(
        told.starts_with("Error: éé") && told.ends_with("é\n[cut: 65536 of 80000 bytes]"),
        "{} bytes",
        told.len()
    );
}
