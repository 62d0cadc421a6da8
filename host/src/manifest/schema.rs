//! The JSON Schema of a manifest: generated from the types, and what checks every file.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use wharf_core::manifest::PluginFile;

/// The schema, for editors and for `wharf schema plugin`.
#[must_use]
pub fn schema() -> Value {
    shared().clone()
}

pub(super) fn shared() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let mut schema = Value::from(schemars::schema_for!(PluginFile));
        without_null(&mut schema);
        if let Some(root) = schema.as_object_mut() {
            root.insert("title".to_owned(), json!("wharf plugin manifest"));
            // What no combination of keys can do without.
            let needed = ["command", "url", "targets", "library"].map(|key| json!({ "required": [key] }));
            root.insert("anyOf".to_owned(), Value::from(needed.to_vec()));
        }
        schema
    })
}

/// Says "may be left out" as a manifest does: by leaving the key out, never by writing `null`.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            flatten_option(map);
            if map.get("default") == Some(&Value::Null) {
                map.remove("default");
            }
            map.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn flatten_option(map: &mut Map<String, Value>) {
    let Some(Value::Array(options)) = map.get_mut("anyOf") else { return };
    options.retain(|option| option.get("type").is_none_or(|kind| kind != "null"));
    if let [Value::Object(only)] = options.as_slice() {
        let only = only.clone();
        map.remove("anyOf");
        for (key, value) in only {
            map.entry(key).or_insert(value);
        }
    }
}

/// A part of the schema, references followed.
pub(super) fn resolve(part: &Value) -> &Value {
    match part.get("$ref").and_then(Value::as_str).and_then(|to| shared().pointer(to.strip_prefix('#')?)) {
        Some(found) => found,
        None => part,
    }
}

/// The part of the schema that a place in a manifest must fit.
pub(super) fn part_at(pointer: &str) -> Option<&'static Value> {
    pointer.split('/').skip(1).try_fold(shared(), |part, step| {
        let part = resolve(part);
        let named = part.get("properties").and_then(|known| known.get(step));
        named
            .or_else(|| part.get("additionalProperties").filter(|part| part.is_object()))
            .or_else(|| part.get("items"))
    })
}

/// The keys that a table may have, if it is one with fixed keys.
pub(super) fn keys_at(pointer: &str) -> Vec<&'static str> {
    let part =
        part_at(pointer).map(resolve).and_then(|part| part.get("properties")).and_then(Value::as_object);
    part.map(|known| known.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// The words that a part of the schema allows; empty if it is not about words.
pub(super) fn words(part: &Value) -> Vec<&str> {
    let part = resolve(part);
    let mut words: Vec<&str> = part.get("const").and_then(Value::as_str).into_iter().collect();
    words.extend(part.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str));
    for key in ["oneOf", "anyOf"] {
        for option in part.get(key).and_then(Value::as_array).into_iter().flatten() {
            words.extend(self::words(option));
        }
    }
    words
}
