//! The mock model: says what a script says, and calls what it calls. It asks nobody and needs no key. Where it stands in
//! its script follows from the conversation alone, so a resumed one goes on where it was.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::script::{Script, ScriptedTurn};
use super::template::{self, Known};
use super::{ChatModel, Say, Turn, names};
use crate::conversation::{Conversation, Message, ToolCall};
use crate::failure::Failure;
use crate::tools::{Tool, own_name};

/// Between a result's name and what makes a call's id unlike any other. Providers take letters, digits, `_` and `-`.
const MARK: &str = "--";

/// A model without a mind.
#[derive(Debug, Default)]
pub struct Mock {
    script: Option<Script>,
}

impl Mock {
    /// With a script; without one it calls a tool that the user names, and else says so.
    pub fn new(script: Option<Script>) -> Self {
        Self { script }
    }

    fn next(&self, so_far: &Conversation, tools: &[Tool]) -> Result<Turn, String> {
        let Some(script) = &self.script else { return unscripted(so_far, tools) };
        let turn = place(script, so_far)?;
        let known = known(so_far, tools);
        let number = so_far.messages.len();
        let calls = turn.calls.iter().enumerate().map(|(index, call)| {
            let name = call.id.as_deref().unwrap_or_else(|| own_name(&call.tool));
            let arguments = template::value(&Value::Object(call.arguments.clone()), &known)?;
            Ok(ToolCall {
                id: format!("{}{MARK}{number}-{index}", names::legal_one(name)),
                tool: call.tool.clone(),
                arguments,
            })
        });
        Ok(Turn { text: template::text(&turn.say, &known)?, calls: calls.collect::<Result<_, String>>()? })
    }
}

#[async_trait]
impl ChatModel for Mock {
    async fn turn(&self, so_far: &Conversation, tools: &[Tool], say: Say<'_>) -> Result<Turn, Failure> {
        let turn =
            self.next(so_far, tools).map_err(|cause| Failure::Failed(format!("the mock model: {cause}")))?;
        let pace = self.script.as_ref().map_or(Duration::ZERO, |script| script.pace);
        for word in turn.text.split_inclusive(' ') {
            say(word);
            if pace.is_zero() {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(pace).await;
            }
        }
        Ok(turn)
    }
}

/// The turn of the script that is next.
fn place<'a>(script: &'a Script, so_far: &Conversation) -> Result<&'a ScriptedTurn, String> {
    let fits = |text: &str| {
        let text = text.to_lowercase();
        script.answers.iter().find(|answer| text.contains(&answer.when.to_lowercase()))
    };
    // Turns that were said in order, and turns since the last message of the user.
    let (mut in_order, mut since, mut answer) = (0, 0, None);
    for message in &so_far.messages {
        match message {
            Message::User { text } => (since, answer) = (0, fits(text)),
            Message::Assistant { .. } => {
                since += 1;
                in_order += usize::from(answer.is_none());
            }
            Message::Tool { .. } => {}
        }
    }
    let (turns, at) = match answer {
        Some(answer) => (&answer.turns, since),
        None => (&script.turns, in_order),
    };
    turns.get(at).ok_or_else(|| match answer {
        Some(answer) => {
            format!("the script's answer to {:?} has {at} turns, one more was asked for", answer.when)
        }
        None => format!("the script has {at} turns, one more was asked for by {:?}", so_far.prompt()),
    })
}

/// What templates may name.
fn known(so_far: &Conversation, tools: &[Tool]) -> Known {
    let mut known = Known::new();
    known.insert("prompt".to_owned(), so_far.prompt().into());
    known.insert("tools".to_owned(), tools.len().into());
    for message in &so_far.messages {
        if let Message::Tool { call, result, .. } = message {
            let name = call.rsplit_once(MARK).map_or(call.as_str(), |(name, _)| name);
            known.insert(name.to_owned(), result.clone());
            known.insert("last".to_owned(), result.clone());
        }
    }
    known
}

/// Without a script: `call TOOL {arguments}` calls it, and its result is told.
fn unscripted(so_far: &Conversation, tools: &[Tool]) -> Result<Turn, String> {
    if let Some(Message::Tool { result, .. }) = so_far.messages.last() {
        let text = result.as_str().map_or_else(|| result.to_string(), str::to_owned);
        return Ok(Turn { text: format!("It answered: {text}"), calls: Vec::new() });
    }
    let Some(wish) = so_far.prompt().trim().strip_prefix("call ") else {
        let text = format!(
            "I am a mock and understand one thing: call TOOL {{\"argument\": \"value\"}}. I have {} tools; /tools lists them.",
            tools.len()
        );
        return Ok(Turn { text, calls: Vec::new() });
    };
    let (tool, arguments) = wish.trim().split_once(char::is_whitespace).unwrap_or((wish.trim(), "{}"));
    let arguments: Value =
        serde_json::from_str(arguments).map_err(|error| format!("the arguments are no JSON: {error}"))?;
    let id = format!("{}{MARK}{}", names::legal_one(own_name(tool)), so_far.messages.len());
    let call = ToolCall { id, tool: tool.to_owned(), arguments };
    Ok(Turn { text: format!("I call {tool}."), calls: vec![call] })
}
