//! The tools of one plugin: whether each definition is usable, and whether those that only read answer.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use wharf_core::manifest::Canary;

use super::arguments;
use super::report::Report;
use crate::cli::client::{Client, parse};
use crate::cli::exit::Complaint;

/// A longer definition is not looked into.
const LONGEST: usize = 256 * 1024;
/// What the command line waits on top of the call's own time.
const SLACK: Duration = Duration::from_secs(10);
/// The longest part of what a tool says that is shown.
const SHOWN: usize = 120;

/// A tool of the catalog.
#[derive(Debug, Deserialize)]
pub(super) struct Tool {
    pub(super) plugin: String,
    pub(super) name: String,
    #[serde(default)]
    definition: Value,
}

/// A call that is safe to make, any number of times.
#[derive(Clone, Debug)]
pub(super) struct Safe {
    plugin: String,
    tool: String,
    arguments: Value,
    /// The manifest's own canary: it has to succeed.
    must: bool,
}

/// What came of a call.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) instance: u64,
    pub(super) took: f64,
    result: Value,
}

/// Looks at a tool. Gives the call that was made, if it was answered.
pub(super) async fn examine(
    tool: &Tool,
    canary: Option<&Canary>,
    host: &Client,
    timeout: Duration,
    report: &mut Report,
) -> Option<Safe> {
    let subject = format!("{}/{}", tool.plugin, tool.name);
    if let Err(fault) = definition(&tool.definition) {
        report.failed("tool", &subject, fault);
        return None;
    }
    let call = match safe(tool, canary) {
        Ok(call) => call,
        Err(why) => {
            report.skipped("tool", &subject, format!("its schema is valid; not called: {why}"));
            return None;
        }
    };
    match call.make(host, timeout).await {
        Ok(answer) => {
            judge(&call, &answer, &tool.definition, &subject, report);
            Some(call)
        }
        Err(complaint) => {
            let detail = [vec![complaint.title], complaint.details].concat().join(": ");
            // The plugin's own word on arguments that were made up.
            if detail.contains("the plugin refused the request") && !call.must {
                report.warning(
                    "tool",
                    &subject,
                    cut(&format!("answered {} with an error: {detail}", call.arguments)),
                );
            } else {
                report.failed("tool", &subject, cut(&detail));
                report.remedy(complaint.remedy.as_deref());
            }
            None
        }
    }
}

/// Whether a definition is one that clients can use.
fn definition(definition: &Value) -> Result<(), String> {
    if definition.to_string().len() > LONGEST {
        return Err(format!("its definition is longer than {LONGEST} bytes"));
    }
    let input = definition.get("inputSchema").ok_or("it has no `inputSchema`")?;
    if input.get("type").is_some_and(|kind| kind != "object") || !input.is_object() {
        return Err("its `inputSchema` is not of an object".to_owned());
    }
    for (name, schema) in [("inputSchema", Some(input)), ("outputSchema", definition.get("outputSchema"))] {
        if let Some(Err(error)) = schema.map(jsonschema::validator_for) {
            return Err(cut(&format!("its `{name}` is no valid schema: {error}")));
        }
    }
    Ok(())
}

/// The call to make of a tool that changes nothing, or why there is none.
fn safe(tool: &Tool, canary: Option<&Canary>) -> Result<Safe, &'static str> {
    let call = |arguments, must| {
        let (plugin, tool) = (tool.plugin.clone(), tool.name.clone());
        Ok(Safe { plugin, tool, arguments, must })
    };
    // The manifest names tools as the plugin does.
    let upstream = tool.definition.get("name").and_then(Value::as_str).unwrap_or(&tool.name);
    if let Some(canary) = canary.filter(|canary| canary.tool == upstream) {
        return call(Value::Object(canary.args.clone()), true);
    }
    let hint = |name: &str| tool.definition.pointer(&format!("/annotations/{name}"));
    if hint("readOnlyHint") != Some(&Value::Bool(true)) {
        return Err("it does not say that it only reads (readOnlyHint)");
    }
    if hint("destructiveHint") == Some(&Value::Bool(true)) {
        return Err("it says that it only reads, and that it destroys");
    }
    let schema = tool.definition.get("inputSchema").unwrap_or(&Value::Null);
    let made = arguments::least(schema).filter(|made| made.is_object() && jsonschema::is_valid(schema, made));
    made.map_or(Err("no arguments that it takes can be told from its schema"), |made| call(made, false))
}

fn judge(call: &Safe, answer: &Answered, definition: &Value, subject: &str, report: &mut Report) {
    let result = &answer.result;
    if result.get("resultType").is_some_and(|kind| kind == "input_required") {
        return report.ok("tool", subject, "answered, and asks for input that nobody is here to give");
    }
    if result.get("isError") == Some(&Value::Bool(true)) {
        let said = result.pointer("/content/0/text").and_then(Value::as_str).unwrap_or("nothing");
        let detail = cut(&format!("answered {} with an error of its own: {said}", call.arguments));
        if call.must {
            return report.failed("tool", subject, detail);
        }
        return report.warning("tool", subject, detail);
    }
    let promised = definition.get("outputSchema").filter(|schema| schema.is_object());
    if let Some(schema) = promised {
        let given = result.get("structuredContent").unwrap_or(&Value::Null);
        if !jsonschema::is_valid(schema, given) {
            return report.failed("tool", subject, "its `structuredContent` does not fit its `outputSchema`");
        }
    }
    report.ok("tool", subject, format!("answered {} in {:.0} ms", call.arguments, answer.took));
}

impl Safe {
    /// Makes the call.
    ///
    /// # Errors
    /// What the host says if it was not answered.
    pub(super) async fn make(&self, host: &Client, timeout: Duration) -> Result<Answered, Complaint> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        let body = json!({ "arguments": self.arguments, "timeout_ms": timeout_ms }).to_string().into_bytes();
        let url = host.path(&["api", "v1", "plugins", &self.plugin, "tools", &self.tool, "call"]);
        let mut answer: Value = parse(&host.post(url, Some(body), Some(timeout + SLACK)).await?)?;
        let number = |name: &str| answer.get(name).and_then(Value::as_f64).unwrap_or_default();
        let took = number("duration_ms");
        let instance = answer.get("instance").and_then(Value::as_u64).unwrap_or_default();
        let result = answer.get_mut("result").map(Value::take).unwrap_or_default();
        Ok(Answered { instance, took, result })
    }

    /// A call of a tool that is known.
    pub(super) fn of(plugin: &str, tool: &str) -> Self {
        Self { plugin: plugin.to_owned(), tool: tool.to_owned(), arguments: json!({}), must: true }
    }

    /// Its tool.
    pub(super) fn tool(&self) -> &str {
        &self.tool
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain("..".chars()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wharf_core::manifest::Canary;

    use super::super::report::{Grade, Report};
    use super::{Answered, Safe, Tool, definition, judge, safe};

    fn tool(annotations: &Value) -> Tool {
        let definition = json!({"name": "up", "inputSchema": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}, "annotations": annotations});
        Tool { plugin: "p".into(), name: "offered".into(), definition }
    }

    #[test]
    fn only_what_says_that_it_reads_is_called_and_the_canary() {
        let called = safe(&tool(&json!({"readOnlyHint": true})), None).unwrap();
        assert_eq!(
            (called.tool.as_str(), &called.arguments, called.must),
            ("offered", &json!({"n": 0}), false)
        );
        for annotations in [
            json!(null),
            json!({}),
            json!({"readOnlyHint": false}),
            json!({"readOnlyHint": "true"}),
            json!({"idempotentHint": true}),
            json!({"readOnlyHint": true, "destructiveHint": true}),
        ] {
            assert!(safe(&tool(&annotations), None).is_err(), "{annotations}");
        }
        let args = json!({"n": 5}).as_object().unwrap().clone();
        let canary = Canary { tool: "up".into(), args };
        let called = safe(&tool(&json!({})), Some(&canary)).unwrap();
        assert_eq!((&called.arguments, called.must), (&json!({"n": 5}), true));
        let other = Canary { tool: "other".into(), args: serde_json::Map::new() };
        assert!(safe(&tool(&json!({})), Some(&other)).is_err());
    }

    #[test]
    fn definitions_that_no_client_can_use_are_told() {
        assert!(definition(&tool(&json!({})).definition).is_ok());
        for wrong in [
            json!({}),
            json!({"inputSchema": {"type": "string"}}),
            json!({"inputSchema": {"type": "object", "properties": {"a": {"type": "nonsense"}}}}),
            json!({"inputSchema": {"type": "object"}, "outputSchema": {"type": 7}}),
        ] {
            assert!(definition(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_is_judged_by_what_was_promised() {
        let promised = json!({"outputSchema": {"type": "object", "required": ["sum"]}});
        for (must, definition, result, grade) in [
            (false, json!({}), json!({"content": []}), Grade::Ok),
            (false, json!({}), json!({"isError": true}), Grade::Warning),
            (true, json!({}), json!({"isError": true}), Grade::Failed),
            (false, promised.clone(), json!({"structuredContent": {"sum": 1}}), Grade::Ok),
            (false, promised, json!({"content": []}), Grade::Failed),
            (false, json!({}), json!({"resultType": "input_required"}), Grade::Ok),
        ] {
            let call = Safe { must, ..Safe::of("p", "t") };
            let mut report = Report::default();
            let answer = Answered { instance: 0, took: 1.0, result };
            judge(&call, &answer, &definition, "p/t", &mut report);
            assert_eq!(report.all()[0].2, grade, "{answer:?}");
        }
    }
}
