//! Arguments against a tool's `inputSchema`: compiled once per definition, kept within a bound.
//!
//! A schema that we cannot use is the plugin's fault, not the caller's: it is logged once, and the plugin checks alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use serde::Deserialize;
use serde_json::Value;
use wharf_core::Code;
use wharf_core::PluginId;
use wharf_core::catalog::Tool;

use crate::route::{Failure, FieldError};

/// Compiled schemas kept; over it, all are forgotten and made anew as they are needed.
const KEPT: usize = 4096;
/// A longer definition is not compiled.
const LONGEST: usize = 256 * 1024;
/// Problems told of one body.
const TOLD: usize = 32;

/// The compiled schemas.
#[derive(Debug, Default)]
pub(crate) struct Schemas(Mutex<HashMap<(PluginId, String), Compiled>>);

#[derive(Clone, Debug)]
struct Compiled {
    /// What it was made of. Another definition of the same tool is another schema.
    tool: Arc<Tool>,
    /// `None`: there is no usable schema.
    validator: Option<Arc<Validator>>,
}

#[derive(Deserialize)]
struct Definition {
    #[serde(rename = "inputSchema")]
    input_schema: Option<Value>,
}

/// A schema may not make us fetch anything.
struct NoRemote;

impl Retrieve for NoRemote {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("{uri} is outside of the schema; references to elsewhere are not followed").into())
    }
}

impl Schemas {
    /// Checks the arguments of a call, raw. Absent ones count as `{}`.
    pub(crate) fn check(&self, tool: &Arc<Tool>, arguments: Option<&str>) -> Result<(), Box<Failure>> {
        let Some(validator) = self.validator(tool) else { return Ok(()) };
        let bad = |errors: Vec<FieldError>| {
            let detail = errors.first().map_or_else(String::new, |e| format!("{}: {}", e.pointer, e.detail));
            Box::new(Failure {
                plugin: Some(tool.plugin.as_str().into()),
                tool: Some(tool.name.as_str().into()),
                errors,
                ..Failure::new(Code::InvalidArguments, detail.trim_start_matches(": "))
            })
        };
        let value: Value = serde_json::from_str(arguments.unwrap_or("{}")).map_err(|error| {
            Failure::new(Code::BadRequest, format!("the arguments are not JSON: {error}"))
        })?;
        let errors: Vec<FieldError> = validator
            .iter_errors(&value)
            .take(TOLD)
            // Masked: an answer must not repeat megabytes, or a secret, of the question.
            .map(|e| FieldError { pointer: e.instance_path().to_string(), detail: e.masked().to_string() })
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(bad(errors)) }
    }

    fn validator(&self, tool: &Arc<Tool>) -> Option<Arc<Validator>> {
        let key = (tool.plugin.clone(), tool.name.clone());
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(compiled) = known.filter(|compiled| same(&compiled.tool, tool)) {
            return compiled.validator;
        }
        // Outside of the lock: a large schema must not hold up the calls of other tools.
        let validator = compile(tool).map(Arc::new);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key, Compiled { tool: Arc::clone(tool), validator: validator.clone() });
        validator
    }
}

fn same(one: &Arc<Tool>, other: &Arc<Tool>) -> bool {
    Arc::ptr_eq(one, other) || one.definition.get() == other.definition.get()
}

fn compile(tool: &Tool) -> Option<Validator> {
    let warn = |why: &str| {
        tracing::warn!(plugin = %tool.plugin, tool = %tool.name, why, "the tool's inputSchema is not usable; arguments are not checked");
    };
    if tool.definition.get().len() > LONGEST {
        warn("it is too long");
        return None;
    }
    let definition: Definition =
        serde_json::from_str(tool.definition.get()).map_err(|e| warn(&e.to_string())).ok()?;
    // Linear regular expressions only: a plugin's pattern must not hold a thread of the host.
    jsonschema::options()
        .with_retriever(NoRemote)
        .with_pattern_options(PatternOptions::regex())
        .build(&definition.input_schema?)
        .map_err(|error| warn(&error.masked().to_string()))
        .ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use wharf_core::catalog::Tool;
    use wharf_core::{Code, PluginId};

    use super::Schemas;

    fn tool(schema: &Value) -> Arc<Tool> {
        Arc::new(Tool {
            plugin: PluginId::new("p").unwrap(),
            name: "t".into(),
            upstream: "t".into(),
            exposed: "p__t".into(),
            description: None,
            definition: serde_json::value::to_raw_value(&json!({"name": "t", "inputSchema": schema}))
                .unwrap()
                .into(),
        })
    }

    fn schema() -> Value {
        json!({
            "type": "object", "required": ["n"], "additionalProperties": false,
            "properties": {"n": {"type": "integer"}, "list": {"type": "array", "items": {"$ref": "#/$defs/s"}}},
            "$defs": {"s": {"type": "string"}}
        })
    }

    #[test]
    fn each_problem_has_its_place() {
        let schemas = Schemas::default();
        let tool = tool(&schema());
        assert!(schemas.check(&tool, Some("{\"n\": 1, \"list\": [\"a\"]}")).is_ok());
        let failure = schemas.check(&tool, Some("{\"n\": \"geheim\", \"list\": [\"a\", 2]}")).unwrap_err();
        assert_eq!(failure.code, Code::InvalidArguments);
        let mut places: Vec<_> = failure.errors.iter().map(|e| e.pointer.as_str()).collect();
        places.sort_unstable();
        assert_eq!(places, ["/list/1", "/n"]);
        assert!(failure.errors.iter().all(|e| !e.detail.contains("geheim")), "{:?}", failure.errors);
    }

    #[test]
    fn absent_arguments_are_checked_as_empty_ones() {
        let schemas = Schemas::default();
        let failure = schemas.check(&tool(&schema()), None).unwrap_err();
        assert!(failure.detail.contains("\"n\""), "{}", failure.detail);
        assert!(schemas.check(&tool(&json!({"type": "object"})), None).is_ok());
    }

    #[test]
    fn a_new_definition_is_a_new_schema() {
        let schemas = Schemas::default();
        assert!(schemas.check(&tool(&schema()), Some("{}")).is_err());
        assert!(schemas.check(&tool(&json!({"type": "object"})), Some("{}")).is_ok());
        assert!(schemas.check(&tool(&schema()), Some("{}")).is_err());
    }

    #[test]
    fn an_unusable_schema_lets_the_plugin_decide() {
        let schemas = Schemas::default();
        let unusable = [
            json!({"type": "nonsense"}),
            json!({"$ref": "http://127.0.0.1:1/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"properties": {"x": {"pattern": "(?=a)b"}}}),
            json!({"description": "x".repeat(300 * 1024), "required": ["n"]}),
        ];
        for schema in unusable {
            assert!(schemas.check(&tool(&schema), Some("{}")).is_ok(), "{schema}");
        }
    }

    #[test]
    fn the_problems_told_are_bounded() {
        let many = json!({"list": vec![1; 1000], "n": 1}).to_string();
        assert_eq!(
            Schemas::default().check(&tool(&schema()), Some(&many)).unwrap_err().errors.len(),
            super::TOLD
        );
    }
}
