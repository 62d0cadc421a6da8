//! What a tool's definition says about running it twice. It is the plugin's own word, and counts only where the manifest
//! trusts it (`retry.trust_hints`).

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::splice;

/// What a definition says, read once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    repeatable: bool,
}

/// A key that stands twice makes them unreadable: two readers could choose differently.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Annotations<'a> {
    #[serde(borrow, default)]
    read_only_hint: Option<&'a RawValue>,
    #[serde(borrow, default)]
    idempotent_hint: Option<&'a RawValue>,
    #[serde(borrow, default)]
    destructive_hint: Option<&'a RawValue>,
}

impl Hints {
    /// Reads a tool's definition. What cannot be read, or contradicts itself, says nothing.
    #[must_use]
    pub fn of(definition: &RawValue) -> Self {
        let annotations = splice::field(definition, "annotations").filter(|all| all.get().starts_with('{'));
        let read = annotations.and_then(|all| serde_json::from_str::<Annotations<'_>>(all.get()).ok());
        Self { repeatable: read.is_some_and(|read| read.repeatable()) }
    }

    /// Whether running it again does what running it once does, as far as its plugin is believed: it reads only, or is
    /// idempotent.
    #[must_use]
    pub fn may_repeat(self) -> bool {
        self.repeatable
    }
}

impl Annotations<'_> {
    fn repeatable(&self) -> bool {
        let yes = |hint: Option<&RawValue>| hint.is_some_and(|hint| hint.get() == "true");
        // In the other direction: what is not a plain no may be a yes.
        let may_destroy = self.destructive_hint.is_some_and(|hint| !matches!(hint.get(), "false" | "null"));
        yes(self.idempotent_hint) || (yes(self.read_only_hint) && !may_destroy)
    }
}

/// Whether a method only reads, by what the protocol says it is for. What a plugin does behind it is its own matter: like a
/// hint, it counts only where the manifest trusts the plugin.
///
/// Not among them: `tools/call`, whose tool says it; the methods of tasks, for a task is at the one instance that began it;
/// and those that a vendor made.
#[must_use]
pub fn reads_only(method: &str) -> bool {
    matches!(method, "prompts/get" | "resources/read" | "completion/complete")
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::{Hints, reads_only};

    fn may_repeat(definition: &str) -> bool {
        Hints::of(&RawValue::from_string(definition.to_owned()).unwrap()).may_repeat()
    }

    #[test]
    fn a_tool_that_reads_or_is_idempotent_may_run_again_and_no_other() {
        for (annotations, expected) in [
            (r#"{"readOnlyHint":true}"#, true),
            (r#"{"idempotentHint":true}"#, true),
            (r#"{"idempotentHint":true,"destructiveHint":true}"#, true),
            (r#"{"readOnlyHint":true,"destructiveHint":false}"#, true),
            (r#"{"readOnlyHint":true,"destructiveHint":null}"#, true),
            (r#"{"readOnlyHint":true,"destructiveHint":true,"idempotentHint":true}"#, true),
            (r#"{"readOnly\u0048int":true}"#, true),
            // It contradicts itself.
            (r#"{"readOnlyHint":true,"destructiveHint":true}"#, false),
            (r#"{"readOnlyHint":true,"destructiveHint":"no"}"#, false),
            (r#"{"readOnlyHint":false,"destructiveHint":false}"#, false),
            (r#"{"readOnlyHint":"true","idempotentHint":1}"#, false),
            (r#"{"readOnlyHint":false,"readOnlyHint":true}"#, false),
            ("{}", false),
            ("null", false),
            ("[true]", false),
        ] {
            let definition = format!(r#"{{"name":"t","annotations":{annotations}}}"#);
            assert_eq!(may_repeat(&definition), expected, "{annotations}");
        }
        assert!(!may_repeat(r#"{"name":"t","readOnlyHint":true}"#));
    }

    #[test]
    fn methods_that_read_are_a_closed_list() {
        assert!(["prompts/get", "resources/read", "completion/complete"].into_iter().all(reads_only));
        for other in ["tools/call", "tasks/get", "tasks/result", "resources/subscribe", "vendor/read", ""] {
            assert!(!reads_only(other), "{other}");
        }
    }
}
