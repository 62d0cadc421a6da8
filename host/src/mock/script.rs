//! The script: what the mock offers and answers, read from JSON or TOML. All problems are told together, each with its
//! path. Knows nothing of running.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};
use wharf_plugin_api::RpcError;

use super::tools::{Act, Builtin, Outcome, Tool};

/// What a server offers.
pub(crate) struct Script {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) instructions: Option<String>,
    pub(crate) page_size: usize,
    pub(crate) list_forever: bool,
    pub(crate) tools: Vec<Tool>,
    pub(crate) resources: Vec<Item>,
    pub(crate) prompts: Vec<Item>,
}

/// A resource or a prompt: what the list shows, and what asking for it gives.
pub(crate) struct Item {
    pub(crate) key: String,
    pub(crate) definition: Map<String, Value>,
    pub(crate) result: Value,
}

/// What a scripted tool answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) delay: Duration,
    pub(crate) progress: u64,
    pub(crate) outcome: Outcome,
}

/// Why there is no script.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScriptError {
    #[error("cannot read {path}: {error}")]
    Read { path: String, error: std::io::Error },
    #[error("{path} is no {format}: {error}")]
    Syntax { path: String, format: &'static str, error: String },
    #[error("{path} is no script:\n{}", .problems.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n"))]
    Problems { path: String, problems: Vec<String> },
}

/// The most tools that `generate_tools` makes.
const GENERATE_CAP: u64 = 1_000_000;

impl Default for Script {
    fn default() -> Self {
        let readme =
            json!({"contents": [{"uri": "mock://readme", "mimeType": "text/plain", "text": "A mock."}]});
        let greet =
            json!({"messages": [{"role": "user", "content": {"type": "text", "text": "Say hello."}}]});
        let item = |key: &str, definition: Value, result| Item {
            key: key.to_owned(),
            definition: object(definition),
            result,
        };
        Self {
            tools: Builtin::ALL.map(Tool::builtin).into(),
            resources: vec![item(
                "mock://readme",
                json!({"uri": "mock://readme", "name": "readme", "mimeType": "text/plain"}),
                readme,
            )],
            prompts: vec![item(
                "greet",
                json!({"name": "greet", "description": "Asks for a greeting"}),
                greet,
            )],
            ..Self::bare()
        }
    }
}

impl Script {
    fn bare() -> Self {
        Self {
            name: "wharf-mock".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instructions: None,
            page_size: usize::MAX,
            list_forever: false,
            tools: Vec::new(),
            resources: Vec::new(),
            prompts: Vec::new(),
        }
    }

    /// Reads a file: TOML if it is called so, else JSON.
    pub(crate) fn load(path: &Path) -> Result<Self, ScriptError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ScriptError::Read { path: shown.clone(), error })?;
        let syntax = |format, error: String| ScriptError::Syntax { path: shown.clone(), format, error };
        let value: Value = if path.extension().is_some_and(|e| e == "toml") {
            toml::from_str(&text).map_err(|e| syntax("TOML", e.to_string()))?
        } else {
            serde_json::from_str(&text).map_err(|e| syntax("JSON", e.to_string()))?
        };
        Self::check(value).map_err(|problems| ScriptError::Problems { path: shown, problems })
    }

    /// Makes a script of a value, or tells everything that is wrong with it.
    pub(crate) fn check(value: Value) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut script = Self::bare();
        let mut top = Fields::new(String::new(), value, &mut problems);
        script.name = top.text("name").unwrap_or(script.name);
        script.version = top.text("version").unwrap_or(script.version);
        script.instructions = top.text("instructions");
        if let Some(size) = top.number("page_size", 1, u64::MAX) {
            script.page_size = usize::try_from(size).unwrap_or(usize::MAX);
        }
        script.list_forever = top.flag("list_forever");
        if top.flag("default_tools") {
            script.tools = Builtin::ALL.map(Tool::builtin).into();
        }
        let generate = top.number("generate_tools", 0, GENERATE_CAP).unwrap_or(0);
        let (tools, resources, prompts) = (top.list("tools"), top.list("resources"), top.list("prompts"));
        top.end("name, version, instructions, page_size, list_forever, default_tools, generate_tools, tools, resources, prompts");
        script.tools.extend((0..generate).map(generated));
        script.tools.extend(each("tools", tools, &mut problems, tool));
        script.resources.extend(each("resources", resources, &mut problems, resource));
        script.prompts.extend(each("prompts", prompts, &mut problems, prompt));
        unique("tools", script.tools.iter().map(Tool::name), &mut problems);
        unique("resources", script.resources.iter().map(|r| r.key.as_str()), &mut problems);
        unique("prompts", script.prompts.iter().map(|p| p.key.as_str()), &mut problems);
        if problems.is_empty() { Ok(script) } else { Err(problems) }
    }
}

fn each<T>(
    key: &str,
    list: Vec<Value>,
    problems: &mut Vec<String>,
    read: fn(Fields<'_>) -> Option<T>,
) -> Vec<T> {
    let read = |(i, value)| read(Fields::new(format!("{key}[{i}]"), value, problems));
    list.into_iter().enumerate().filter_map(read).collect()
}

fn unique<'a>(key: &str, names: impl Iterator<Item = &'a str>, problems: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    problems.extend(names.filter(|n| !seen.insert(*n)).map(|n| format!("{key}: {n:?} stands twice")));
}

fn generated(n: u64) -> Tool {
    let definition = object(json!({"name": format!("t{n}"), "inputSchema": {"type": "object"}}));
    let outcome = Ok(super::tools::text(&n.to_string()));
    Tool { definition, act: Act::Scripted(Answer { delay: Duration::ZERO, progress: 0, outcome }) }
}

fn tool(mut fields: Fields<'_>) -> Option<Tool> {
    let name = fields.needed_text("name");
    let answer = fields.map.remove("answer");
    let mut definition = fields.keep(&[
        "title",
        "description",
        "inputSchema",
        "outputSchema",
        "annotations",
        "icons",
        "execution",
        "_meta",
    ]);
    for key in ["inputSchema", "outputSchema", "annotations", "_meta"] {
        if definition.get(key).is_some_and(|v| !v.is_object()) {
            fields.problem(key, "must be an object");
        }
    }
    let path = fields.path.clone();
    let problems = fields.end(
        "name, title, description, inputSchema, outputSchema, annotations, icons, execution, _meta, answer",
    );
    let answer = answer.unwrap_or_else(|| json!({"text": ""}));
    let answer = read_answer(Fields::new(format!("{path}.answer"), answer, problems));
    definition.entry("inputSchema").or_insert_with(|| json!({"type": "object"}));
    definition.insert("name".to_owned(), name?.into());
    Some(Tool { definition, act: Act::Scripted(answer?) })
}

fn read_answer(mut fields: Fields<'_>) -> Option<Answer> {
    let delay = fields.duration("delay");
    let progress = fields.number("progress", 0, u64::MAX).unwrap_or(0);
    let text = fields.text("text");
    let error = fields.map.remove("error");
    let mut result = fields.keep(&["content", "structuredContent", "isError", "_meta"]);
    if result.get("content").is_some_and(|c| !c.is_array()) {
        fields.problem("content", "must be an array");
    }
    if result.get("isError").is_some_and(|c| !c.is_boolean()) {
        fields.problem("isError", "must be a boolean");
    }
    if error.is_some() && (text.is_some() || !result.is_empty()) {
        fields.problem("error", "excludes text, content, structuredContent and isError");
    }
    if text.is_some() && result.contains_key("content") {
        fields.problem("text", "is short for content; only one of them can stand");
    }
    let path = fields.path.clone();
    let problems = fields.end("text, content, structuredContent, isError, _meta, error, delay, progress");
    let outcome = match error {
        Some(error) => Err(read_error(Fields::new(format!("{path}.error"), error, problems))?),
        None => {
            let shown = text.or_else(|| result.get("structuredContent").map(Value::to_string));
            if let (Some(text), false) = (shown, result.contains_key("content")) {
                result.insert("content".to_owned(), json!([{"type": "text", "text": text}]));
            }
            result.entry("content").or_insert_with(|| json!([]));
            Ok(Value::Object(result))
        }
    };
    Some(Answer { delay, progress, outcome })
}

fn read_error(mut fields: Fields<'_>) -> Option<RpcError> {
    let code = fields.map.remove("code").and_then(|c| c.as_i64());
    if code.is_none() {
        fields.problem("code", "must be an integer");
    }
    let message = fields.text("message").unwrap_or_else(|| "an error as scripted".to_owned());
    let data = fields.map.remove("data").and_then(|d| serde_json::value::to_raw_value(&d).ok());
    fields.end("code, message, data");
    Some(RpcError { data, ..RpcError::new(code?, message) })
}

fn resource(mut fields: Fields<'_>) -> Option<Item> {
    let uri = fields.needed_text("uri");
    let (text, blob) = (fields.text("text"), fields.text("blob"));
    let mut definition =
        fields.keep(&["name", "title", "description", "mimeType", "size", "annotations", "icons", "_meta"]);
    fields.end("uri, name, title, description, mimeType, size, annotations, icons, _meta, text, blob");
    let uri = uri?;
    definition.insert("uri".to_owned(), uri.clone().into());
    definition.entry("name").or_insert_with(|| uri.clone().into());
    let mut content = object(json!({"uri": uri}));
    content.extend(definition.get("mimeType").map(|m| ("mimeType".to_owned(), m.clone())));
    match blob {
        Some(blob) => content.insert("blob".to_owned(), blob.into()),
        None => content.insert("text".to_owned(), text.unwrap_or_default().into()),
    };
    Some(Item { key: uri, definition, result: json!({"contents": [content]}) })
}

fn prompt(mut fields: Fields<'_>) -> Option<Item> {
    let name = fields.needed_text("name");
    let text = fields.text("text");
    let messages = fields.list("messages");
    let mut definition = fields.keep(&["title", "description", "arguments", "icons", "_meta"]);
    fields.end("name, title, description, arguments, icons, _meta, text, messages");
    let name = name?;
    definition.insert("name".to_owned(), name.clone().into());
    let said = text.map(|text| json!({"role": "user", "content": {"type": "text", "text": text}}));
    let messages: Vec<Value> = messages.into_iter().chain(said).collect();
    Some(Item { key: name, definition, result: json!({"messages": messages}) })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// The keys of one object, taken one by one; what is left at the end is unknown.
struct Fields<'a> {
    path: String,
    map: Map<String, Value>,
    problems: &'a mut Vec<String>,
}

impl<'a> Fields<'a> {
    fn new(path: String, value: Value, problems: &'a mut Vec<String>) -> Self {
        if !value.is_object() {
            problems
                .push(format!("{}: must be an object", if path.is_empty() { "the script" } else { &path }));
        }
        Self { path, map: object(value), problems }
    }

    fn problem(&mut self, key: &str, what: &str) {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.problems.push(format!("{}{dot}{key}: {what}", self.path));
    }

    fn taken<T>(&mut self, key: &str, what: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let value = self.map.remove(key)?;
        let read = read(&value);
        if read.is_none() {
            self.problem(key, &format!("must be {what}"));
        }
        read
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.taken(key, "a string", |v| v.as_str().map(str::to_owned))
    }

    fn needed_text(&mut self, key: &str) -> Option<String> {
        if !self.map.contains_key(key) {
            self.problem(key, "is missing");
        }
        self.text(key)
    }

    fn flag(&mut self, key: &str) -> bool {
        self.taken(key, "a boolean", Value::as_bool).unwrap_or(false)
    }

    fn number(&mut self, key: &str, min: u64, max: u64) -> Option<u64> {
        let what = if max == u64::MAX {
            format!("an integer from {min}")
        } else {
            format!("an integer from {min} to {max}")
        };
        self.taken(key, &what, |v| v.as_u64().filter(|n| (min..=max).contains(n)))
    }

    /// Milliseconds, or a text like `1s 500ms`.
    fn duration(&mut self, key: &str) -> Duration {
        let read = |v: &Value| match v.as_str() {
            Some(text) => humantime::parse_duration(text).ok(),
            None => v.as_u64().map(Duration::from_millis),
        };
        self.taken(key, "milliseconds or a text like \"100ms\"", read).unwrap_or_default()
    }

    fn list(&mut self, key: &str) -> Vec<Value> {
        self.taken(key, "an array", |v| v.as_array().cloned()).unwrap_or_default()
    }

    /// Takes these keys as they stand.
    fn keep(&mut self, keys: &[&str]) -> Map<String, Value> {
        keys.iter().filter_map(|k| self.map.remove_entry(*k)).collect()
    }

    /// Whatever is left is a problem.
    fn end(self, known: &str) -> &'a mut Vec<String> {
        let dot = if self.path.is_empty() { "" } else { "." };
        for key in self.map.keys() {
            self.problems.push(format!("{}{dot}{key}: unknown key; known are {known}", self.path));
        }
        self.problems
    }
}

#[cfg(test)]
mod tests;
