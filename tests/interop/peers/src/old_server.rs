//! A stdio server on rmcp 0.10, of which many are in use. What makes it worth testing against: it ends when its first
//! message is not `initialize`, so a client that probes for the modern era finds a dead process.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use rmcp_old::model::{
    Annotated, CallToolRequestParam, CallToolResult, Content, CreateMessageRequestParam, Implementation,
    JsonObject, ListToolsResult, PaginatedRequestParam, ProgressNotificationParam, RawContent, Role,
    SamplingMessage, ServerCapabilities, ServerInfo, Tool,
};
use rmcp_old::service::{RequestContext, RoleServer};
use rmcp_old::{ErrorData, ServerHandler, ServiceExt as _};
use serde_json::{Value, json};

struct Old;

impl ServerHandler for Old {
    fn get_info(&self) -> ServerInfo {
        ServerInfo {
            capabilities: ServerCapabilities::builder().enable_tools().build(),
            server_info: Implementation { name: "rmcp-old".to_owned(), ..Implementation::default() },
            ..ServerInfo::default()
        }
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParam>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let number = json!({ "type": "integer" });
        let tools = vec![
            tool("add", "Adds two numbers", json!({ "a": number, "b": number })),
            tool("count", "Counts up and tells the progress", json!({ "to": number })),
            tool("ask", "Asks the client's model", json!({ "question": { "type": "string" } })),
        ];
        Ok(ListToolsResult { tools, ..ListToolsResult::default() })
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParam,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let arguments = call.arguments.unwrap_or_default();
        let text = match &*call.name {
            "add" => (number(&arguments, "a")? + number(&arguments, "b")?).to_string(),
            "count" => count(number(&arguments, "to")?, &context).await?,
            "ask" => {
                ask(arguments.get("question").and_then(Value::as_str).unwrap_or_default(), &context).await?
            }
            other => return Err(ErrorData::invalid_params(format!("no tool {other}"), None)),
        };
        Ok(CallToolResult::success(vec![Content::text(text)]))
    }
}

async fn count(to: i64, context: &RequestContext<RoleServer>) -> Result<String, ErrorData> {
    for step in 1..=to.clamp(0, 100) {
        if let Some(progress_token) = context.meta.get_progress_token() {
            let (progress, total) = (as_float(step), Some(as_float(to)));
            let event = ProgressNotificationParam { progress_token, progress, total, message: None };
            context.peer.notify_progress(event).await.map_err(internal)?;
            // Counting takes its time: a client that reads everything in one piece drops what stands before the answer.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(format!("counted to {to}"))
}

async fn ask(question: &str, context: &RequestContext<RoleServer>) -> Result<String, ErrorData> {
    let question = SamplingMessage { role: Role::User, content: Content::text(question) };
    let request = CreateMessageRequestParam {
        messages: vec![question],
        model_preferences: None,
        system_prompt: None,
        include_context: None,
        temperature: None,
        max_tokens: 100,
        stop_sequences: None,
        metadata: None,
    };
    let answer = context.peer.create_message(request).await.map_err(internal)?;
    match answer.message.content {
        Annotated { raw: RawContent::Text(text), .. } => Ok(format!("it says: {}", text.text)),
        other => Err(internal(format!("an odd answer: {other:?}"))),
    }
}

fn tool(name: &'static str, description: &'static str, properties: Value) -> Tool {
    let schema =
        JsonObject::from_iter([("type".to_owned(), json!("object")), ("properties".to_owned(), properties)]);
    Tool::new(Cow::Borrowed(name), description, Arc::new(schema))
}

fn number(arguments: &JsonObject, name: &str) -> Result<i64, ErrorData> {
    let value = arguments.get(name).and_then(Value::as_i64);
    value.ok_or_else(|| ErrorData::invalid_params(format!("{name} is no integer"), None))
}

fn as_float(step: i64) -> f64 {
    f64::from(i32::try_from(step).unwrap_or(i32::MAX))
}

fn internal(error: impl ToString) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    Old.serve(rmcp_old::transport::stdio()).await?.waiting().await?;
    Ok(())
}
