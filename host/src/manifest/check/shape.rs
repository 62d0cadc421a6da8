//! The schema's objections, in words that help: unknown keys with what was probably meant, wrong types, wrong words.
//!
//! No message repeats a value, for it may be a secret, except where a closed list of words is expected.

use std::sync::OnceLock;

use jsonschema::Validator;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

use super::findings::Findings;
use super::later;
use crate::manifest::schema;

/// Tells everything that does not fit the schema.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "not our enum: it names every keyword of JSON Schema, of which our schema has few"
)]
pub(super) fn check(instance: &Value, findings: &mut Findings<'_>) {
    let Some(validator) = validator() else {
        // Cannot happen: a test builds it. But nothing may pass unchecked.
        findings.error("", "the schema of manifests is broken; this is a bug of wharf");
        return;
    };
    for error in validator.iter_errors(instance) {
        let pointer = error.instance_path().as_str().to_owned();
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                unexpected.iter().for_each(|key| unknown_key(&pointer, key, findings));
            }
            ValidationErrorKind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                findings.error(&pointer, format!("`{}` is missing", dotted(&format!("{pointer}/{key}"))));
            }
            ValidationErrorKind::AnyOf { .. } if pointer.is_empty() => {
                let problem = findings.error("", "nothing to run");
                problem.place = None;
                problem.help = Some(
                    "write `command` (a program), `url` or `targets` (a remote server) or `library` (a native plugin)"
                        .to_owned(),
                );
            }
            ValidationErrorKind::Type { kind } => wrong_type(&pointer, kind, findings),
            ValidationErrorKind::Minimum { limit } => bound(&pointer, "at least", limit, findings),
            ValidationErrorKind::Maximum { limit } => bound(&pointer, "at most", limit, findings),
            // The schema has few other keywords: lists of words, and patterns.
            other => wrong_word(&pointer, other.keyword(), findings),
        }
    }
}

fn validator() -> Option<&'static Validator> {
    static VALIDATOR: OnceLock<Option<Validator>> = OnceLock::new();
    VALIDATOR.get_or_init(|| jsonschema::validator_for(schema::shared()).ok()).as_ref()
}

fn unknown_key(table: &str, key: &str, findings: &mut Findings<'_>) {
    let pointer = format!("{table}/{key}");
    let name = dotted(&pointer);
    if let Some(help) = later::help(&pointer) {
        let problem =
            findings.error_at_key(table, key, format!("`{name}` is not supported by this version of wharf"));
        problem.help = Some(help.to_owned());
        return;
    }
    let known = schema::keys_at(table);
    let other = OTHER_NAMES
        .iter()
        .find(|(name, _)| table.is_empty() && *name == key)
        .map(|(_, ours)| (*ours).to_owned());
    let meant = other.or_else(|| closest(key, &known).map(str::to_owned)).or_else(|| elsewhere(key));
    findings.error_at_key(table, key, format!("unknown key `{name}`")).help = Some(match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("known keys: {}", known.join(", ")),
    });
}

/// What other programs call things.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("cmd", "command"),
    ("disabled", "enabled"),
    ("endpoint", "url"),
    ("environment", "env"),
    ("instances", "replicas"),
    ("start_timeout", "health.start_timeout"),
    ("startup_timeout", "health.start_timeout"),
    ("timeout", "limits.call_timeout"),
    ("transport", "dialect"),
    ("type", "dialect"),
    ("working_dir", "cwd"),
];

/// A key that is near, but in another table.
fn elsewhere(key: &str) -> Option<String> {
    let tables = schema::keys_at("");
    let near = |table: &&&str| {
        closest(key, &schema::keys_at(&format!("/{table}"))).map(|key| format!("{table}.{key}"))
    };
    let exact = |table: &&&str| {
        schema::keys_at(&format!("/{table}")).contains(&key).then(|| format!("{table}.{key}"))
    };
    tables
        .iter()
        .find_map(|table| exact(&table))
        .or_else(|| tables.contains(&key).then(|| key.to_owned()))
        .or_else(|| tables.iter().find_map(|table| near(&table)))
}

fn wrong_type(pointer: &str, kind: &TypeKind, findings: &mut Findings<'_>) {
    let expected = match kind {
        TypeKind::Single(kind) => kind.to_string(),
        TypeKind::Multiple(_) => "another type".to_owned(),
    };
    let expected = match expected.as_str() {
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        "object" => "a table",
        other => other,
    };
    let node = findings.document.root.at(pointer);
    let found = node.map_or("nothing", crate::manifest::tree::Node::kind);
    let scalar = node.is_some_and(|node| {
        node.table().is_none() && !matches!(node.value, crate::manifest::tree::Value::List(_))
    });
    let part = schema::part_at(pointer);
    let is = |key: &str, name: &str| {
        part.and_then(|p| p.get(key)).and_then(Value::as_str).is_some_and(|v| v.ends_with(name))
    };
    let help = match expected {
        "a string" if is("$ref", "/Duration") => {
            Some("write a whole number and a unit in quotes: \"500ms\", \"10s\", \"5m\", \"1h\"")
        }
        "a string" if is("$ref", "/Size") => {
            Some("write a whole number and a unit in quotes: \"64KiB\", \"16MiB\"")
        }
        "a string" if scalar => Some("write it in quotes"),
        "a list" if scalar => Some("write it in brackets: [\"..\"]"),
        _ => None,
    };
    findings.error(pointer, format!("`{}` must be {expected}, not {found}", dotted(pointer))).help =
        help.map(str::to_owned);
}

fn bound(pointer: &str, which: &str, limit: &Value, findings: &mut Findings<'_>) {
    findings.error(pointer, format!("`{}` must be {which} {limit}", dotted(pointer)));
}

fn wrong_word(pointer: &str, keyword: &str, findings: &mut Findings<'_>) {
    let name = dotted(pointer);
    let part = schema::part_at(pointer);
    let words = part.map(schema::words).unwrap_or_default();
    let found =
        findings.document.root.at(pointer).and_then(crate::manifest::tree::Node::str).map(str::to_owned);
    if !words.is_empty() {
        let listed = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let number = if pointer == "/port" { ", or a number from 1 to 65535" } else { "" };
        let help = found
            .as_deref()
            .and_then(|word| closest(word, &words))
            .map(|meant| format!("did you mean `{meant}`?"));
        findings.error(pointer, format!("`{name}` must be one of {listed}{number}")).help = help;
    } else {
        let told = part.map(schema::resolve).and_then(|p| p.get("description")).and_then(Value::as_str);
        let help = told.map(str::to_owned);
        findings.error(pointer, format!("`{name}` does not have the right form ({keyword})")).help = help;
    }
}

/// The known word that is nearest, if it is near.
pub(crate) fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
    let near = known
        .iter()
        .map(|&k| (strsim::jaro_winkler(&plain(word), &plain(k)), k))
        .filter(|(likeness, _)| *likeness >= 0.82);
    near.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

/// A pointer as TOML writes it.
pub(super) fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~")
}
