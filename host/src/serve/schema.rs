//! Arguments against a tool's `inputSchema`: compiled once per definition, kept within a bound.
//!
//! A schema that we cannot use is the plugin's fault, not the caller's: it is logged once, and the plugin checks alone. So
//! it is with one that could hold a thread for long: what it may cost is told before it is compiled.

mod cost;
mod plain;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use wharf_core::Code;
use wharf_core::PluginId;
use wharf_core::catalog::Tool;

use self::cost::Cost;
use self::plain::Plain;
use crate::route::{Failure, FieldError};
use crate::tasks::{Tasks, on_bytes};

/// Compiled schemas kept; over it, all are forgotten and made anew as they are needed.
const KEPT: usize = 4096;
/// A longer definition is not compiled.
const LONGEST: usize = 256 * 1024;
/// Problems told of one body.
const TOLD: usize = 32;

/// Arguments up to this length, and checks up to this many steps, are done on the spot.
const SMALL: usize = 64 * 1024;
const LIGHT: u64 = 1_000_000;
/// How long a call waits for its check.
const DEADLINE: Duration = Duration::from_secs(2);
/// Checks off the spot at a time; no schema can take more threads than these.
const ROOM: usize = 4;

/// The compiled schemas.
#[derive(Debug)]
pub(crate) struct Schemas {
    kept: Mutex<Kept>,
    room: Arc<Semaphore>,
}

impl Default for Schemas {
    fn default() -> Self {
        Self { kept: Mutex::default(), room: Arc::new(Semaphore::new(ROOM)) }
    }
}

/// By plugin and tool, so that both are looked up as they are.
#[derive(Debug, Default)]
struct Kept {
    by_plugin: HashMap<PluginId, HashMap<String, Arc<Compiled>>>,
    count: usize,
}

#[derive(Debug)]
struct Compiled {
    /// What it was made of. Another definition of the same tool is another schema.
    tool: Arc<Tool>,
    /// `None`: there is no usable schema.
    schema: Option<Schema>,
}

#[derive(Debug)]
struct Schema {
    validator: Validator,
    cost: Cost,
    plain: Option<Plain>,
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
    /// Checks the arguments of a call, raw. Absent ones count as `{}`. Large checks leave the runtime's threads alone; one
    /// that does not come to its end in time leaves the arguments to the plugin.
    pub(crate) async fn check(
        self: &Arc<Self>,
        tasks: &Tasks,
        tool: &Arc<Tool>,
        arguments: Option<&RawValue>,
    ) -> Result<(), Box<Failure>> {
        let text = arguments.map_or("{}", RawValue::get);
        let known = self.known(tool);
        if let Some(schema) = known.as_ref().and_then(|compiled| compiled.schema.as_ref())
            && let Some((plain, given)) = schema.plain.as_ref().zip(arguments)
            && on_bytes(text.len(), || plain.admits(given))
        {
            return Ok(());
        }
        if let Some(compiled) = known.filter(|_| text.len() <= SMALL) {
            let Some(schema) = &compiled.schema else { return Ok(()) };
            let value = parse(text)?;
            match schema.cost.work(&value) {
                Some(work) if work <= LIGHT => return schema.errors(tool, &value),
                Some(_) => {}
                None => {
                    left_to_the_plugin(tool, "the arguments are too large for its inputSchema");
                    return Ok(());
                }
            }
        }
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            left_to_the_plugin(
                tool,
                "too many others are checked at the moment that are large, costly, or the first of their tool",
            );
            return Ok(());
        };
        let (schemas, owned, text) = (Arc::clone(self), Arc::clone(tool), text.to_owned());
        let work = tasks.blocking(move || {
            // Until the work ends, and not until its caller stops waiting.
            let _room = room;
            schemas.check_here(&owned, &text)
        });
        if let Ok(Ok(checked)) = tokio::time::timeout(DEADLINE, work).await {
            return checked;
        }
        left_to_the_plugin(tool, "its inputSchema took too long");
        Ok(())
    }

    /// Checks on this thread, however long it takes.
    fn check_here(&self, tool: &Arc<Tool>, text: &str) -> Result<(), Box<Failure>> {
        let compiled = self.known(tool).unwrap_or_else(|| self.keep(tool));
        let Some(schema) = &compiled.schema else { return Ok(()) };
        let value = parse(text)?;
        if schema.cost.work(&value).is_none() {
            left_to_the_plugin(tool, "the arguments are too large for its inputSchema");
            return Ok(());
        }
        schema.errors(tool, &value)
    }

    fn known(&self, tool: &Arc<Tool>) -> Option<Arc<Compiled>> {
        // Nearly every call finds it with its tool.
        if let Some(compiled) = tool.made.get() {
            return Some(compiled);
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.by_plugin.get(&tool.plugin).and_then(|tools| tools.get(&tool.name));
        let known = known.filter(|compiled| same(&compiled.tool, tool))?;
        tool.made.put(known);
        Some(Arc::clone(known))
    }

    fn keep(&self, tool: &Arc<Tool>) -> Arc<Compiled> {
        // Outside of the lock: a large schema must not hold up the calls of other tools.
        let compiled = Arc::new(Compiled { tool: Arc::clone(tool), schema: compile(tool) });
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.count >= KEPT {
            *kept = Kept::default();
        }
        let of_plugin = kept.by_plugin.entry(tool.plugin.clone()).or_default();
        if let Some(known) = of_plugin.get(&tool.name).filter(|known| same(&known.tool, tool)) {
            // Of another call at the same time: only the first one's is found with the tool.
            return Arc::clone(known);
        }
        let is_new = of_plugin.insert(tool.name.clone(), Arc::clone(&compiled)).is_none();
        kept.count += usize::from(is_new);
        tool.made.put(&compiled);
        compiled
    }
}

impl Schema {
    fn errors(&self, tool: &Tool, value: &Value) -> Result<(), Box<Failure>> {
        // Arguments are right nearly always, and to find that out costs less than to list what is wrong.
        if self.validator.is_valid(value) {
            return Ok(());
        }
        let errors: Vec<FieldError> = self
            .validator
            .iter_errors(value)
            .take(TOLD)
            // Masked: an answer must not repeat megabytes, or a secret, of the question.
            .map(|e| FieldError { pointer: e.instance_path().to_string(), detail: e.masked().to_string() })
            .collect();
        let Some(first) = errors.first() else { return Ok(()) };
        let detail = format!("{}: {}", first.pointer, first.detail);
        Err(Box::new(Failure {
            plugin: Some(tool.plugin.as_str().into()),
            tool: Some(tool.name.as_str().into()),
            errors,
            ..Failure::new(Code::InvalidArguments, detail.trim_start_matches(": "))
        }))
    }
}

fn parse(text: &str) -> Result<Value, Box<Failure>> {
    serde_json::from_str(text).map_err(|error| {
        Box::new(Failure::new(Code::BadRequest, format!("the arguments are not JSON: {error}")))
    })
}

fn left_to_the_plugin(tool: &Tool, why: &str) {
    tracing::warn!(plugin = %tool.plugin, tool = %tool.name, why, "the arguments of a call were not checked; the plugin checks alone");
}

fn same(one: &Arc<Tool>, other: &Arc<Tool>) -> bool {
    Arc::ptr_eq(one, other) || one.definition.get() == other.definition.get()
}

fn compile(tool: &Tool) -> Option<Schema> {
    let warn = |why: &str| {
        tracing::warn!(plugin = %tool.plugin, tool = %tool.name, why, "the tool's inputSchema is not usable; arguments are not checked");
    };
    if tool.definition.get().len() > LONGEST {
        warn("it is too long");
        return None;
    }
    let definition: Definition =
        serde_json::from_str(tool.definition.get()).map_err(|e| warn(&e.to_string())).ok()?;
    let schema = definition.input_schema?;
    // Before it is compiled: that alone would follow each reference.
    let cost = cost::of(&schema).map_err(warn).ok()?;
    // Linear regular expressions only: a plugin's pattern must not hold a thread of the host.
    let validator = jsonschema::options()
        .with_retriever(NoRemote)
        .with_pattern_options(PatternOptions::regex())
        .build(&schema)
        .map_err(|error| warn(&error.masked().to_string()))
        .ok()?;
    Some(Schema { validator, cost, plain: Plain::of(&schema) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use serde_json::{Value, json};
    use wharf_core::catalog::Tool;
    use wharf_core::hints::Hints;
    use wharf_core::{Code, PluginId};

    use super::Schemas;

    fn tool(schema: &Value) -> Arc<Tool> {
        Arc::new(Tool {
            plugin: PluginId::new("p").unwrap(),
            meter: Arc::default(),
            name: "t".into(),
            upstream: "t".into(),
            exposed: "p__t".into(),
            description: None,
            definition: serde_json::value::to_raw_value(&json!({"name": "t", "inputSchema": schema}))
                .unwrap()
                .into(),
            hints: Hints::default(),
            made: wharf_core::catalog::Made::default(),
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
        assert!(schemas.check_here(&tool, "{\"n\": 1, \"list\": [\"a\"]}").is_ok());
        let failure = schemas.check_here(&tool, "{\"n\": \"geheim\", \"list\": [\"a\", 2]}").unwrap_err();
        assert_eq!(failure.code, Code::InvalidArguments);
        let mut places: Vec<_> = failure.errors.iter().map(|e| e.pointer.as_str()).collect();
        places.sort_unstable();
        assert_eq!(places, ["/list/1", "/n"]);
        assert!(failure.errors.iter().all(|e| !e.detail.contains("geheim")), "{:?}", failure.errors);
    }

    #[test]
    fn empty_arguments_are_checked() {
        let schemas = Schemas::default();
        let failure = schemas.check_here(&tool(&schema()), "{}").unwrap_err();
        assert!(failure.detail.contains("\"n\""), "{}", failure.detail);
        assert!(schemas.check_here(&tool(&json!({"type": "object"})), "{}").is_ok());
    }

    #[test]
    fn a_new_definition_is_a_new_schema() {
        let schemas = Schemas::default();
        assert!(schemas.check_here(&tool(&schema()), "{}").is_err());
        assert!(schemas.check_here(&tool(&json!({"type": "object"})), "{}").is_ok());
        assert!(schemas.check_here(&tool(&schema()), "{}").is_err());
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
            assert!(schemas.check_here(&tool(&schema), "{}").is_ok(), "{schema}");
        }
    }

    #[test]
    fn the_problems_told_are_bounded() {
        let many = json!({"list": vec![1; 1000], "n": 1}).to_string();
        assert_eq!(
            Schemas::default().check_here(&tool(&schema()), &many).unwrap_err().errors.len(),
            super::TOLD
        );
    }

    /// A schema of a kilobyte that takes 2^40 steps to follow.
    fn explosive() -> Value {
        let mut defs = serde_json::Map::new();
        defs.insert("a0".into(), json!({"type": "object"}));
        for n in 1..=40 {
            let before = json!({"$ref": format!("#/$defs/a{}", n - 1)});
            defs.insert(format!("a{n}"), json!({"allOf": [before, before]}));
        }
        json!({"$ref": "#/$defs/a40", "$defs": defs})
    }

    #[tokio::test]
    async fn a_schema_that_explodes_holds_nobody_up() {
        let schemas = Arc::new(Schemas::default());
        let tasks = crate::tasks::Tasks::default();
        for _ in 0..2 * super::ROOM {
            assert!(schemas.check(&tasks, &tool(&explosive()), None).await.is_ok());
        }
        assert_eq!(schemas.room.available_permits(), super::ROOM, "no thread is still at work");
    }

    #[tokio::test]
    async fn small_and_large_arguments_are_checked_alike_and_absent_ones_are_empty() {
        let schemas = Arc::new(Schemas::default());
        let tasks = crate::tasks::Tasks::default();
        let tool = tool(&schema());
        for count in [0, 10, 100_000] {
            let mut list = vec![json!("a"); count];
            let good = serde_json::value::to_raw_value(&json!({"n": 1, "list": list})).unwrap();
            assert!(schemas.check(&tasks, &tool, Some(&good)).await.is_ok(), "{count}");
            list.push(json!(2));
            let bad = serde_json::value::to_raw_value(&json!({"n": 1, "list": list})).unwrap();
            let failure = schemas.check(&tasks, &tool, Some(&bad)).await.unwrap_err();
            assert_eq!(failure.errors[0].pointer, format!("/list/{count}"));
        }
        assert_eq!(schemas.check(&tasks, &tool, None).await.unwrap_err().code, Code::InvalidArguments);
    }

    #[tokio::test]
    async fn large_arguments_that_are_plainly_right_wake_no_other_thread() {
        let schemas = Arc::new(Schemas::default());
        let tasks = crate::tasks::Tasks::default();
        let tool = tool(&json!({"type": "object", "properties": {"text": {"type": "string"}}}));
        let given = |text: &Value| serde_json::value::to_raw_value(&json!({ "text": text })).unwrap();
        assert!(schemas.check(&tasks, &tool, Some(&given(&json!("x")))).await.is_ok());
        assert!(tool.made.get::<super::Compiled>().is_some(), "it is found with its tool");
        let large = given(&json!("x".repeat(2 * super::SMALL)));
        assert!(
            schemas.check(&tasks, &tool, Some(&large)).now_or_never().is_some_and(|checked| checked.is_ok())
        );
        let wrong = given(&json!(vec![1; super::SMALL]));
        assert!(schemas.check(&tasks, &tool, Some(&wrong)).await.is_err());
    }
}
