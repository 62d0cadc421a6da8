//! Other agents: found by their id in an agent registry, which is an MCP server among the others, and written to by A2A
//! (JSON-RPC over HTTP, of 0.3 and of 1.0). The model gets one tool for it.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::failure::chain;
use crate::mcp::{Outcome, Server};
use crate::net;
use crate::tools::{Allowed, Tool, own_name};

/// The name of the model's tool.
pub const TOOL: &str = "send_to_agent";

/// The registry's tool that tells where an agent is.
const LOOK_UP: &str = "get_agent";

/// Where a registry's record of an agent has its address.
const ADDRESS: [&str; 4] = ["agent_url", "url", "endpoint", "api_url"];

/// The longest answer of an agent, in bytes.
const LONGEST: usize = 1 << 20;

/// JSON-RPC's "no such method".
const NO_METHOD: i64 = -32601;

/// Agents that can be written to.
#[derive(Clone, Debug)]
pub struct Neighbours {
    /// How long one may take to answer.
    pub timeout: Duration,
}

/// The tool, as the model is told of it.
pub fn tool() -> Tool {
    let text = |description: &str| json!({ "type": "string", "description": description });
    Tool {
        name: TOOL.to_owned(),
        description: "Sends a message to another agent of the registry and returns its answer.".to_owned(),
        schema: json!({
            "type": "object",
            "properties": { "agent_id": text("The agent's id in the registry"), "message": text("What to tell it") },
            "required": ["agent_id", "message"],
        }),
    }
}

impl Neighbours {
    /// Looks the agent up with a tool that may be used, sends it the message and waits for the answer.
    pub async fn send(
        &self,
        registry: &Server,
        allowed: &Allowed,
        arguments: &Map<String, Value>,
    ) -> Outcome {
        let text = |key: &str| arguments.get(key).and_then(Value::as_str);
        let (Some(agent), Some(message)) = (text("agent_id"), text("message")) else {
            return Outcome::failure("agent_id and message are needed, both texts");
        };
        let answer = match address(registry, allowed, agent).await {
            Ok(url) => {
                self.ask(&url, message).await.map_err(|cause| format!("agent {agent} at {url}: {cause}"))
            }
            Err(cause) => Err(cause),
        };
        match answer {
            Ok(text) => Outcome { failed: false, result: text.into() },
            Err(cause) => Outcome::failure(cause),
        }
    }

    /// Sends a message to the agent at an address; what it answers.
    ///
    /// # Errors
    /// What went wrong, for the model.
    pub async fn ask(&self, url: &str, message: &str) -> Result<String, String> {
        let first = self.post(url, "message/send", message_of("user", message)).await?;
        let unknown = first.pointer("/error/code").and_then(Value::as_i64) == Some(NO_METHOD);
        let answer = if unknown {
            self.post(url, "SendMessage", message_of("ROLE_USER", message)).await?
        } else {
            first
        };
        if let Some(error) = answer.get("error") {
            return Err(error
                .get("message")
                .and_then(Value::as_str)
                .unwrap_or("an error without words")
                .to_owned());
        }
        let said = texts(answer.get("result").unwrap_or(&Value::Null));
        if said.is_empty() {
            Err(format!("it answered without a text: {answer}"))
        } else {
            Ok(said.join("\n"))
        }
    }

    async fn post(&self, url: &str, method: &str, message: Value) -> Result<Value, String> {
        let http = net::client(url).map_err(|error| error.to_string())?;
        let version = if method == "SendMessage" { "1.0" } else { "0.3" };
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": { "message": message } });
        let request = http.post(url).header("a2a-version", version).timeout(self.timeout).json(&body);
        let answer = request.send().await.map_err(|error| chain(&error))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("it answered {status}"));
        }
        read(answer).await
    }
}

/// The body of an answer, which another agent makes as long as it likes.
async fn read(mut answer: reqwest::Response) -> Result<Value, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| chain(&error))? {
        if body.len() + chunk.len() > LONGEST {
            return Err(format!("its answer is longer than {LONGEST} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|error| format!("its answer is no JSON: {error}"))
}

/// The tool that tells where an agent is: the one that may be used.
fn look_up<'a>(tools: &'a [Tool], allowed: &Allowed) -> Result<&'a str, String> {
    let names = tools.iter().map(|tool| tool.name.as_str());
    let found: Vec<&'a str> = names.filter(|name| own_name(name) == LOOK_UP && allowed.has(name)).collect();
    match found.as_slice() {
        [] => Err(format!("no server that may be used has a tool {LOOK_UP}, so agents cannot be found")),
        [one] => Ok(*one),
        several => Err(format!(
            "there are several registries of agents, with {}: the user must allow the namespace of one only",
            several.join(" and ")
        )),
    }
}

/// Asks the registry where an agent is.
async fn address(registry: &Server, allowed: &Allowed, agent: &str) -> Result<String, String> {
    let look_up = look_up(registry.tools(), allowed)?;
    let mut arguments = Map::new();
    arguments.insert("agent_id".to_owned(), agent.into());
    let Outcome { failed, result } = registry.call(look_up, arguments).await;
    let record = result.get("agent").unwrap_or(&result);
    let url = ADDRESS.iter().find_map(|key| record.get(key).and_then(Value::as_str));
    match url {
        Some(url) if !failed => Ok(url.to_owned()),
        _ => Err(format!(
            "the registry tells no address of agent {agent}: {}",
            crate::failure::short(&result, 200)
        )),
    }
}

/// A message, as 0.3 has it (from `user`, with kinds) or as 1.0 has it.
fn message_of(role: &str, text: &str) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let id = format!("{}-{}", std::process::id(), now.as_nanos());
    if role == "user" {
        let parts = json!([{ "kind": "text", "text": text }]);
        return json!({ "kind": "message", "role": role, "messageId": id, "parts": parts });
    }
    json!({ "role": role, "messageId": id, "parts": [{ "text": text }] })
}

/// The texts of an answer: of a message, or of a task's artifacts, or of what the task's state says.
fn texts(result: &Value) -> Vec<&str> {
    let inner = result.get("message").or_else(|| result.get("task")).unwrap_or(result);
    let own = inner.get("parts").into_iter();
    let artifacts = inner.get("artifacts").and_then(Value::as_array).into_iter().flatten();
    let mut lists: Vec<&Value> = own.chain(artifacts.filter_map(|artifact| artifact.get("parts"))).collect();
    if lists.is_empty() {
        lists.extend(inner.pointer("/status/message/parts"));
    }
    let all = lists.into_iter().filter_map(Value::as_array).flatten();
    all.filter_map(|part| part.get("text").and_then(Value::as_str)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Allowed, Tool, look_up};

    fn tools(names: &[&str]) -> Vec<Tool> {
        let tool = |name: &&str| Tool {
            name: (*name).to_owned(),
            description: String::new(),
            schema: json!({ "type": "object" }),
        };
        names.iter().map(tool).collect()
    }

    #[test]
    fn an_agent_is_looked_up_in_the_one_registry_that_may_be_used() {
        let all = Allowed::default();
        let only_b = Allowed::only(["b".to_owned()]);
        let both = tools(&["a__get_agent", "b__get_agent", "b__list_agents"]);
        assert_eq!(look_up(&both, &only_b), Ok("b__get_agent"));
        assert_eq!(look_up(&tools(&["list_agents", "get_agent"]), &all), Ok("get_agent"));
        let several = look_up(&both, &all).expect_err("it is not known which is meant");
        assert!(several.contains("a__get_agent and b__get_agent"), "{several}");
        for (tools, allowed) in [(tools(&["a__get_agent"]), &only_b), (tools(&["a__list_agents"]), &all)] {
            let none = look_up(&tools, allowed).expect_err("there is none");
            assert!(none.contains("agents cannot be found"), "{none}");
        }
    }
}
