//! Schemas of the plain kind, an object of texts, numbers and truths: most are. Whether arguments are right is told from their
//! raw text then, in a tenth of the time that a tree of them takes.
//!
//! Only a yes is certain. Whatever is not plainly right, and whatever reads in two ways, is for the validator, which also
//! says what is wrong.

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use wharf_core::splice;

/// Keywords that ask for nothing.
const NOTES: [&str; 6] = ["title", "description", "default", "examples", "deprecated", "$comment"];
/// Properties that are told apart: a bit each.
const MOST: usize = 64;
/// Digits of a number that every reader takes for the same.
const DIGITS: usize = 15;

/// What a plain schema asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plain {
    /// By name.
    properties: Vec<(String, Kind)>,
    /// Those that must be there: a bit each.
    required: u64,
}

/// What a property may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Truth,
    /// The validator knows.
    Other,
}

impl Plain {
    /// `None`: the schema is not plain.
    pub(super) fn of(schema: &Value) -> Option<Self> {
        let schema = schema.as_object()?;
        let known = ["type", "properties", "required", "additionalProperties"];
        if !has_only(schema, &known) || schema.get("type") != Some(&Value::from("object")) {
            return None;
        }
        let properties = match schema.get("properties") {
            None => Vec::new(),
            Some(all) => all.as_object()?.iter().map(|(name, one)| (name.clone(), Kind::of(one))).collect(),
        };
        if properties.len() > MOST {
            return None;
        }
        let mut required = 0;
        for name in schema.get("required").map_or(Some(&Vec::new()), Value::as_array)? {
            let at = properties.iter().position(|(own, _)| Some(own.as_str()) == name.as_str())?;
            required |= 1 << at;
        }
        Some(Self { properties, required })
    }

    /// Whether these arguments are surely right.
    pub(super) fn admits(&self, arguments: &RawValue) -> bool {
        let (mut fits, mut seen) = (true, 0_u64);
        let is_object = splice::each_member(arguments, |key, value| {
            // A key that is spelled with an escape is none of these.
            match self.properties.iter().position(|(name, _)| name == key) {
                Some(at) => {
                    seen |= 1 << at;
                    fits &= self.properties.get(at).is_some_and(|(_, kind)| kind.admits(value));
                }
                // One that is not declared may be forbidden, or go by a rule.
                None => fits = false,
            }
        });
        is_object && fits && seen & self.required == self.required
    }
}

impl Kind {
    fn of(schema: &Value) -> Self {
        let plain = schema.as_object().filter(|schema| has_only(schema, &["type"]));
        match plain.and_then(|schema| schema.get("type")).and_then(Value::as_str) {
            Some("string") => Self::Text,
            Some("number" | "integer") => Self::Number,
            Some("boolean") => Self::Truth,
            Some(_) | None => Self::Other,
        }
    }

    fn admits(self, json: &str) -> bool {
        match self {
            // An escape may spell what is no text.
            Self::Text => json.starts_with('"') && memchr::memchr(b'\\', json.as_bytes()).is_none(),
            Self::Number => {
                let digits = json.strip_prefix('-').unwrap_or(json);
                (1..=DIGITS).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
            }
            Self::Truth => matches!(json, "true" | "false"),
            Self::Other => false,
        }
    }
}

fn has_only(schema: &Map<String, Value>, known: &[&str]) -> bool {
    schema.keys().all(|key| known.contains(&key.as_str()) || NOTES.contains(&key.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::Plain;

    fn schema() -> Value {
        json!({
            "type": "object", "title": "t", "required": ["text"], "additionalProperties": false,
            "properties": {
                "text": {"type": "string", "description": "d"}, "n": {"type": "integer"}, "x": {"type": "number"},
                "yes": {"type": "boolean"}, "short": {"type": "string", "maxLength": 3}
            }
        })
    }

    fn admits(arguments: &str) -> bool {
        Plain::of(&schema()).unwrap().admits(&RawValue::from_string(arguments.to_owned()).unwrap())
    }

    #[test]
    fn what_it_admits_is_right() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        for arguments in [
            r#"{"text":"a"}"#,
            r#"{ "text" : "\u00e4" }"#.replace("\\u00e4", "\u{e4}").as_str(),
            r#"{"text":"a","n":-12,"x":0,"yes":true}"#,
        ] {
            assert!(admits(arguments), "{arguments}");
            assert!(validator.is_valid(&serde_json::from_str(arguments).unwrap()), "{arguments}");
        }
    }

    #[test]
    fn what_is_wrong_or_not_plain_is_for_the_validator() {
        for arguments in [
            "[]",
            "{}",
            r#"{"n":1}"#,
            r#"{"text":1}"#,
            r#"{"text":null}"#,
            r#"{"text":"a","text":1}"#,
            r#"{"text":"\ud800"}"#,
            r#"{"text":"a","n":1.5}"#,
            r#"{"text":"a","n":"1"}"#,
            r#"{"text":"a","n":1e999}"#,
            r#"{"text":"a","n":12345678901234567890}"#,
            r#"{"text":"a","yes":"true"}"#,
            r#"{"text":"a","short":"abcd"}"#,
            r#"{"text":"a","other":1}"#,
            r#"{"te\u0078t":"a"}"#,
        ] {
            assert!(!admits(arguments), "{arguments}");
        }
    }

    #[test]
    fn a_schema_that_says_more_is_not_plain() {
        for (key, value) in [
            ("type", json!(["object", "null"])),
            ("minProperties", json!(2)),
            ("$schema", json!("http://json-schema.org/draft-04/schema#")),
            ("required", json!(["elsewhere"])),
            ("patternProperties", json!({})),
            ("$ref", json!("#/x")),
        ] {
            let mut schema = schema();
            schema[key] = value;
            assert_eq!(Plain::of(&schema), None, "{key}");
        }
    }
}
