//! What a tool says of itself: its name, its arguments, its hints.

use serde_json::{Map, Value, json};

/// A tool's description. Arguments are required unless [`Tool::optional`] follows.
#[derive(Clone, Debug)]
pub struct Tool {
    pub(super) name: String,
    pub(super) problems: Vec<String>,
    description: String,
    title: Option<String>,
    properties: Map<String, Value>,
    required: Vec<String>,
    last: Option<String>,
    input: Option<Value>,
    output: Option<Value>,
    hints: Map<String, Value>,
}

impl Tool {
    /// A tool without arguments.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        let name = name.into();
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
        let problems = if name.is_empty() || name.len() > 128 || !name.chars().all(legal) {
            vec![format!("the tool name {name:?} is not 1 to 128 of A-Z a-z 0-9 _ - . /")]
        } else {
            Vec::new()
        };
        Self {
            name,
            problems,
            description: description.into(),
            title: None,
            properties: Map::new(),
            required: Vec::new(),
            last: None,
            input: None,
            output: None,
            hints: Map::new(),
        }
    }

    /// A name for people.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// A string argument.
    #[must_use]
    pub fn text(self, name: &str, description: &str) -> Self {
        self.typed(name, "string", description)
    }

    /// An argument that is one of these strings.
    #[must_use]
    pub fn choice(self, name: &str, description: &str, of: &[&str]) -> Self {
        self.argument(name, json!({"type": "string", "enum": of, "description": description}))
    }

    /// An integer argument.
    #[must_use]
    pub fn integer(self, name: &str, description: &str) -> Self {
        self.typed(name, "integer", description)
    }

    /// A number argument.
    #[must_use]
    pub fn number(self, name: &str, description: &str) -> Self {
        self.typed(name, "number", description)
    }

    /// A boolean argument.
    #[must_use]
    pub fn flag(self, name: &str, description: &str) -> Self {
        self.typed(name, "boolean", description)
    }

    /// An argument that is a list of strings.
    #[must_use]
    pub fn texts(self, name: &str, description: &str) -> Self {
        self.argument(name, json!({"type": "array", "items": {"type": "string"}, "description": description}))
    }

    /// An argument with a JSON Schema of its own.
    #[must_use]
    pub fn argument(mut self, name: &str, schema: Value) -> Self {
        if self.properties.insert(name.to_owned(), schema).is_some() {
            self.problems.push(format!("the tool {:?} has the argument {name:?} twice", self.name));
        }
        self.required.push(name.to_owned());
        self.last = Some(name.to_owned());
        self
    }

    /// The argument before this may be left out.
    #[must_use]
    pub fn optional(mut self) -> Self {
        match self.last.take() {
            Some(last) => self.required.retain(|name| *name != last),
            None => self
                .problems
                .push(format!("the tool {:?} has `optional` without an argument before it", self.name)),
        }
        self
    }

    /// The whole JSON Schema of the arguments, instead of one built from single arguments.
    #[must_use]
    pub fn schema(mut self, json: &str) -> Self {
        self.input = self.object(json, "schema");
        self
    }

    /// The JSON Schema of the structured answer.
    #[must_use]
    pub fn output_schema(mut self, json: &str) -> Self {
        self.output = self.object(json, "output schema");
        self
    }

    /// A hint: it changes nothing.
    #[must_use]
    pub fn read_only(self) -> Self {
        self.hint("readOnlyHint", true)
    }

    /// A hint: the same call twice is as good as once.
    #[must_use]
    pub fn idempotent(self) -> Self {
        self.hint("idempotentHint", true)
    }

    /// A hint: whether it may destroy something. Clients assume so unless told otherwise.
    #[must_use]
    pub fn destructive(self, destructive: bool) -> Self {
        self.hint("destructiveHint", destructive)
    }

    /// What an argument is for, in the author's words.
    pub(super) fn purpose(&self, argument: &str) -> Option<&str> {
        self.properties.get(argument)?.get("description")?.as_str().filter(|text| !text.is_empty())
    }

    /// The tool as it stands in `tools/list`.
    pub(super) fn definition(&self) -> Value {
        let built = || json!({"type": "object", "properties": self.properties, "required": self.required});
        let mut out = Map::new();
        out.insert("name".into(), self.name.as_str().into());
        if let Some(title) = &self.title {
            out.insert("title".into(), title.as_str().into());
        }
        out.insert("description".into(), self.description.as_str().into());
        out.insert("inputSchema".into(), self.input.clone().unwrap_or_else(built));
        if let Some(output) = &self.output {
            out.insert("outputSchema".into(), output.clone());
        }
        if !self.hints.is_empty() {
            out.insert("annotations".into(), Value::Object(self.hints.clone()));
        }
        Value::Object(out)
    }

    fn typed(self, name: &str, kind: &str, description: &str) -> Self {
        self.argument(name, json!({"type": kind, "description": description}))
    }

    fn hint(mut self, name: &str, value: bool) -> Self {
        self.hints.insert(name.to_owned(), value.into());
        self
    }

    /// MCP wants `"type": "object"` in both schemas.
    fn object(&mut self, json: &str, what: &str) -> Option<Value> {
        let problem = match serde_json::from_str::<Value>(json) {
            Ok(schema) if schema.get("type").and_then(Value::as_str) == Some("object") => {
                return Some(schema);
            }
            Ok(_) => "it needs \"type\": \"object\"".to_owned(),
            Err(error) => error.to_string(),
        };
        self.problems.push(format!("the {what} of the tool {:?} is not usable: {problem}", self.name));
        None
    }
}
