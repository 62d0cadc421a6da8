//! The mock model and its scripts, alone.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "this is all test code; a panic is a failure"
)]

use serde_json::{Value, json};
use wharf_agent::conversation::{Conversation, Message};
use wharf_agent::failure::Failure;
use wharf_agent::model::ChatModel as _;
use wharf_agent::model::mock::Mock;
use wharf_agent::model::script::Script;

fn mock(script: &str) -> Mock {
    Mock::new(Some(Script::from_toml(script).unwrap()))
}

/// Lets the model speak until it calls nothing; each call is answered with its own arguments. What it said.
async fn answer(mock: &Mock, conversation: &mut Conversation, prompt: &str) -> Result<Vec<String>, Failure> {
    conversation.messages.push(Message::User { text: prompt.to_owned() });
    let mut said = Vec::new();
    loop {
        let mut pieces = String::new();
        let turn = mock.turn(conversation, &[], &mut |piece| pieces.push_str(piece)).await?;
        assert_eq!(pieces, turn.text, "what is said is what is there");
        said.push(turn.text.clone());
        conversation.messages.push(Message::Assistant { text: turn.text, calls: turn.calls.clone() });
        if turn.calls.is_empty() {
            return Ok(said);
        }
        for call in turn.calls {
            let (call, tool, result) = (call.id, call.tool, call.arguments);
            conversation.messages.push(Message::Tool { call, tool, failed: false, result });
        }
    }
}

const SCRIPT: &str = r#"
    [[turns]]
    say = "First."
    calls = [{ tool = "a__t", id = "x", arguments = { n = 1 } }, { tool = "a__t", arguments = { n = 2 } }]
    [[turns]]
    say = "{{x.n}} {{t.n}} {{last.n}}"
    [[turns]]
    say = "{{prompt}} again, {{x.n}}"
    [[answers]]
    when = "Help"
    turns = [{ calls = [{ tool = "h" }] }, { say = "helped" }]
"#;

#[tokio::test]
async fn turns_go_on_through_the_conversation_and_answers_begin_anew() {
    let (mock, mut conversation) = (mock(SCRIPT), Conversation::default());
    assert_eq!(answer(&mock, &mut conversation, "go").await.unwrap(), ["First.", "1 2 2"]);
    assert_eq!(answer(&mock, &mut conversation, "please help").await.unwrap(), ["", "helped"]);
    assert_eq!(answer(&mock, &mut conversation, "HELP").await.unwrap(), ["", "helped"]);
    assert_eq!(answer(&mock, &mut conversation, "on").await.unwrap(), ["on again, 1"]);
    let over = answer(&mock, &mut conversation, "and on").await.unwrap_err().to_string();
    assert_eq!(over, r#"the mock model: the script has 3 turns, one more was asked for by "and on""#);
}

#[tokio::test]
async fn ids_of_calls_are_different_and_such_as_providers_take() {
    let (mock, mut conversation) = (mock(SCRIPT), Conversation::default());
    answer(&mock, &mut conversation, "go").await.unwrap();
    answer(&mock, &mut conversation, "help").await.unwrap();
    let ids = conversation.messages.iter().filter_map(|message| match message {
        Message::Tool { call, .. } => Some(call.clone()),
        Message::User { .. } | Message::Assistant { .. } => None,
    });
    let ids: Vec<_> = ids.collect();
    let legal = |id: &String| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    assert!(ids.iter().all(legal), "{ids:?}");
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 3, "{ids:?}");
}

#[tokio::test]
async fn a_template_that_leads_nowhere_ends_the_answer() {
    let mock = mock("[[turns]]\nsay = \"{{nobody.home}}\"\n");
    let lost = answer(&mock, &mut Conversation::default(), "go").await.unwrap_err();
    assert_eq!((lost.code(), lost.to_string().contains("there is no \"nobody\"")), (1, true), "{lost}");
}

#[test]
fn a_wrong_script_is_told_of_with_its_place() {
    let wrong = |text: &str| Script::from_toml(text).unwrap_err();
    assert!(wrong("").contains("it has no turns"));
    assert!(wrong("[[turns]]\nsays = \"x\"\n").contains("line 2"), "{}", wrong("[[turns]]\nsays = \"x\"\n"));
    assert!(wrong("[[answers]]\nwhen = \"x\"\nturns = []\n").contains("the answer to \"x\" has no turns"));
    assert!(wrong("pace = \"soon\"\n[[turns]]\n").contains("pace"));
}

#[test]
fn a_script_may_be_json() {
    let path = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    let script = json!({ "turns": [{ "say": "hi", "calls": [{ "tool": "t", "arguments": { "a": [1] } }] }] });
    std::fs::write(path.path(), script.to_string()).unwrap();
    let script = Script::load(path.path()).unwrap();
    assert_eq!(script.turns[0].calls[0].arguments["a"], json!([1]));
}

#[test]
fn calls_without_an_end_are_closed() {
    let mut conversation: Conversation = serde_json::from_value(json!({ "messages": [
        { "role": "user", "text": "go" },
        { "role": "assistant", "text": "", "calls": [
            { "id": "1", "tool": "t", "arguments": {} }, { "id": "2", "tool": "t", "arguments": {} },
        ] },
        { "role": "tool", "call": "1", "tool": "t", "result": 7 },
    ] }))
    .unwrap();
    conversation.close("stopped");
    let closed =
        Message::Tool { call: "2".into(), tool: "t".into(), failed: true, result: Value::from("stopped") };
    assert_eq!(conversation.messages[3..], [closed]);
    let before = conversation.clone();
    conversation.close("stopped");
    assert_eq!(conversation, before);
}
