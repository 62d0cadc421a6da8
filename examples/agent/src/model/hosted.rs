//! Models of a provider, asked through the crate `genai`: OpenAI and what is compatible with it, Anthropic, and AWS
//! Bedrock, which is asked by its Converse call and so says each message in one piece.

use async_trait::async_trait;
use futures_util::StreamExt as _;
use genai::adapter::AdapterKind;
use genai::chat::{
    ChatMessage, ChatOptions, ChatRequest, ChatStreamEvent, ContentPart, MessageContent, ToolResponse,
};
use genai::resolver::{AuthData, Endpoint};
use genai::{Client, ModelIden, ServiceTarget};
use serde_json::{Value, json};

use super::{ChatModel, Say, Turn, names};
use crate::conversation::{Conversation, Message, ToolCall};
use crate::failure::{Failure, chain, short};
use crate::net;
use crate::tools::Tool;

/// The longest result of a tool that a model is shown, in bytes; it would pay for more.
const RESULT: usize = 64 << 10;

/// Which protocol a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// Chat completions, streamed.
    OpenAi,
    /// Messages, streamed.
    Anthropic,
    /// Converse, in one piece.
    Bedrock,
}

/// A model of a provider.
pub struct Hosted {
    client: Client,
    target: ServiceTarget,
    speech: Speech,
    instructions: String,
}

impl Hosted {
    /// A model at an address, which is the part of the URL before `chat/completions`, `messages` or `model`.
    ///
    /// # Errors
    /// If the address is no URL.
    pub fn new(
        speech: Speech,
        url: &str,
        key: String,
        model: &str,
        instructions: String,
    ) -> Result<Self, Failure> {
        let kind = match speech {
            Speech::OpenAi => AdapterKind::OpenAI,
            Speech::Anthropic => AdapterKind::Anthropic,
            Speech::Bedrock => AdapterKind::BedrockApi,
        };
        let client = Client::builder().with_reqwest(net::client(url)?).build();
        let client = client.map_err(|error| Failure::Failed(error.to_string()))?;
        let target = ServiceTarget {
            endpoint: Endpoint::from_owned(format!("{}/", url.trim_end_matches('/'))),
            auth: AuthData::from_single(key),
            model: ModelIden::new(kind, model),
        };
        Ok(Self { client, target, speech, instructions })
    }

    fn request(&self, so_far: &Conversation, tools: &[Tool], names: &[String]) -> ChatRequest {
        let named = |tool: &str| {
            let place = tools.iter().position(|known| known.name == tool);
            place.and_then(|place| names.get(place)).cloned().unwrap_or_else(|| names::legal_one(tool))
        };
        let messages = so_far.messages.iter().map(|message| match message {
            Message::User { text } => ChatMessage::user(text.as_str()),
            Message::Assistant { text, calls } => {
                let text = (!text.is_empty()).then(|| ContentPart::from_text(text));
                let calls = calls.iter().map(|call| ContentPart::ToolCall(told(call, named(&call.tool))));
                ChatMessage::assistant(MessageContent::from_parts(
                    text.into_iter().chain(calls).collect::<Vec<_>>(),
                ))
            }
            Message::Tool { call, tool, failed, result } => {
                let content = shown(*failed, result);
                ChatMessage::from(ToolResponse::new(call, content).with_fn_name(named(tool)))
            }
        });
        let request = ChatRequest::new(messages.collect()).with_system(self.instructions.as_str());
        let tools = tools.iter().zip(names).map(|(tool, name)| {
            genai::chat::Tool::new(name.as_str())
                .with_description(tool.description.as_str())
                .with_schema(tool.schema.clone())
        });
        request.with_tools(tools.collect::<Vec<_>>())
    }

    async fn whole(&self, request: ChatRequest, say: Say<'_>) -> Result<MessageContent, Failure> {
        let answer = self.client.exec_chat(self.target.clone(), request, None).await;
        let content = answer.map_err(|error| self.failure(&error))?.content;
        content.texts().into_iter().for_each(say);
        Ok(content)
    }

    async fn streamed(&self, request: ChatRequest, say: Say<'_>) -> Result<MessageContent, Failure> {
        let options = ChatOptions::default().with_capture_content(true).with_capture_tool_calls(true);
        let answer = self.client.exec_chat_stream(self.target.clone(), request, Some(&options)).await;
        let mut events = answer.map_err(|error| self.failure(&error))?.stream;
        while let Some(event) = events.next().await {
            match event.map_err(|error| self.failure(&error))? {
                ChatStreamEvent::Chunk(chunk) => say(&chunk.content),
                ChatStreamEvent::End(end) => return Ok(end.captured_content.unwrap_or_default()),
                ChatStreamEvent::Start
                | ChatStreamEvent::ReasoningChunk(_)
                | ChatStreamEvent::ThoughtSignatureChunk(_)
                | ChatStreamEvent::ToolCallChunk(_)
                | ChatStreamEvent::Heartbeat => {}
            }
        }
        Err(Failure::Failed("the provider's answer broke off".to_owned()))
    }

    fn failure(&self, error: &genai::Error) -> Failure {
        let cause = short(chain(error), 600);
        let model = &*self.target.model.model_name;
        let refused = [Some(401), Some(403)].contains(&error.status().map(|status| status.as_u16()));
        if refused || cause.contains("401 Unauthorized") || cause.contains("403 Forbidden") {
            return Failure::NotAuthorised(format!("the provider refuses the key for {model}: {cause}"));
        }
        Failure::Failed(format!("the provider of {model}: {cause}"))
    }
}

#[async_trait]
impl ChatModel for Hosted {
    async fn turn(&self, so_far: &Conversation, tools: &[Tool], say: Say<'_>) -> Result<Turn, Failure> {
        let names = names::legal(tools);
        let request = self.request(so_far, tools, &names);
        let content = match self.speech {
            Speech::OpenAi | Speech::Anthropic => self.streamed(request, say).await?,
            Speech::Bedrock => self.whole(request, say).await?,
        };
        let text = content.texts().concat();
        let calls = content.into_tool_calls().into_iter().map(|call| {
            let tool = names.iter().position(|name| *name == call.fn_name).and_then(|place| tools.get(place));
            let tool = tool.map_or(call.fn_name, |tool| tool.name.clone());
            ToolCall { id: call.call_id, tool, arguments: call.fn_arguments }
        });
        Ok(Turn { text, calls: calls.collect() })
    }
}

/// A call, as the model is reminded of it. Providers take objects only as arguments.
fn told(call: &ToolCall, name: String) -> genai::chat::ToolCall {
    let arguments = if call.arguments.is_object() { call.arguments.clone() } else { json!({}) };
    genai::chat::ToolCall {
        call_id: call.id.clone(),
        fn_name: name,
        fn_arguments: arguments,
        thought_signatures: None,
    }
}

/// A result, as the model is shown it.
fn shown(failed: bool, result: &Value) -> String {
    let mut text = result.as_str().map_or_else(|| result.to_string(), str::to_owned);
    if text.len() > RESULT {
        let end = (0..=RESULT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        let whole = text.len();
        text.truncate(end);
        text.push_str(&format!("\n[cut: {end} of {whole} bytes]"));
    }
    if failed { format!("Error: {text}") } else { text }
}
