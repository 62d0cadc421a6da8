//! The agent: asks the model, calls the tools that it wants, tells it the results, until it wants none or has had its
//! turns. Dropping the future of an answer ends it; [`Agent::interrupted`] then makes the conversation whole again.

use std::time::Instant;

use serde_json::Value;

use crate::a2a::{self, Neighbours};
use crate::conversation::{Conversation, Message, ToolCall};
use crate::counts::Counts;
use crate::failure::Failure;
use crate::mcp::{Outcome, Server};
use crate::model::{ChatModel, Turn};
use crate::screen::Screen;
use crate::tools::{Allowed, Tool};

/// A model, a server and what was said.
pub struct Agent {
    /// What thinks.
    pub model: Box<dyn ChatModel>,
    /// What has the tools.
    pub server: Server,
    /// The other agents that the model may write to; none without `--a2a`.
    pub neighbours: Option<Neighbours>,
    /// The namespaces that the model may use.
    pub allowed: Allowed,
    /// So far.
    pub conversation: Conversation,
    /// How often the model may speak for one message of the user.
    pub max_turns: usize,
    /// Of the calls that this agent made.
    pub counts: Counts,
    /// What the model has said of a message that is not complete.
    pub unfinished: String,
}

impl Agent {
    /// Answers a message of the user.
    ///
    /// # Errors
    /// If the model fails, the server is gone, or the model still wants tools in its last turn. What was said until then
    /// stays in the conversation.
    pub async fn answer(&mut self, prompt: &str, screen: &mut Screen) -> Result<(), Failure> {
        self.conversation.messages.push(Message::User { text: prompt.to_owned() });
        for _ in 0..self.max_turns {
            if self.server.refresh().await? {
                screen.note(&format!("   The tools changed: {} now", self.server.tools().len()));
            }
            let turn = self.think(screen).await?;
            screen.end_line();
            self.conversation
                .messages
                .push(Message::Assistant { text: turn.text, calls: turn.calls.clone() });
            if turn.calls.is_empty() {
                return Ok(());
            }
            for call in turn.calls {
                self.perform(call, screen).await;
            }
        }
        let limit = self.max_turns;
        Err(Failure::Failed(format!(
            "no answer after {limit} turns of the model; allow more with --max-turns"
        )))
    }

    /// Ends an answer whose future was dropped.
    pub fn interrupted(&mut self) {
        let text = std::mem::take(&mut self.unfinished);
        if !text.is_empty() {
            self.conversation.messages.push(Message::Assistant { text, calls: Vec::new() });
        }
        self.conversation.close("the user ended the turn before this was answered");
    }

    /// The tools that the model is told of.
    pub fn tools(&self) -> Vec<Tool> {
        let mut tools = self.allowed.of(self.server.tools());
        tools.extend(self.neighbours.as_ref().map(|_| a2a::tool()));
        tools
    }

    async fn think(&mut self, screen: &mut Screen) -> Result<Turn, Failure> {
        let tools = self.tools();
        self.unfinished.clear();
        let unfinished = &mut self.unfinished;
        let mut say = |piece: &str| {
            unfinished.push_str(piece);
            screen.say(piece);
        };
        let turn = self.model.turn(&self.conversation, &tools, &mut say).await;
        self.unfinished.clear();
        turn
    }

    async fn perform(&mut self, call: ToolCall, screen: &mut Screen) {
        screen.call(&call.tool, &call.arguments);
        let began = Instant::now();
        let Outcome { failed, result } = self.outcome(&call).await;
        let took = began.elapsed();
        screen.result(failed, &result, took);
        self.counts.count(&call.tool, failed, took);
        self.conversation.messages.push(Message::Tool { call: call.id, tool: call.tool, failed, result });
    }

    async fn outcome(&self, call: &ToolCall) -> Outcome {
        let arguments = match &call.arguments {
            Value::Object(fields) => fields.clone(),
            Value::Null => serde_json::Map::new(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Outcome::failure("the arguments must be an object");
            }
        };
        match &self.neighbours {
            Some(neighbours) if call.tool == a2a::TOOL => {
                neighbours.send(&self.server, &self.allowed, &arguments).await
            }
            _ if !self.allowed.has(&call.tool) => {
                Outcome::failure(format!("{} is in a namespace that the user did not allow", call.tool))
            }
            _ => self.server.call(&call.tool, arguments).await,
        }
    }
}
