//! The reference of a manifest's keys as a Markdown table, generated from the schema.

use std::fmt::Write as _;

use serde_json::Value;

use super::schema::{resolve, shared, words};

/// One row per key: key, type, default, meaning.
#[must_use]
pub fn reference_markdown() -> String {
    let mut out = "| key | type | default | meaning |\n|---|---|---|---|\n".to_owned();
    rows(shared(), "", None, &mut out);
    out
}

fn rows(table: &Value, prefix: &str, defaults: Option<&Value>, out: &mut String) {
    let Some(properties) = table.get("properties").and_then(Value::as_object) else { return };
    for (key, part) in properties {
        let whole = resolve(part);
        let default = defaults.and_then(|d| d.get(key)).or_else(|| part.get("default"));
        let path = format!("{prefix}{key}");
        if whole.get("properties").is_some() {
            rows(whole, &format!("{path}."), default, out);
        } else {
            let meaning =
                part.get("description").or_else(|| whole.get("description")).and_then(Value::as_str);
            let default = default.filter(|d| !is_empty(d)).map(|d| format!("`{d}`")).unwrap_or_default();
            // A String takes all that is written.
            writeln!(
                out,
                "| `{path}` | {} | {} | {} |",
                kind(part),
                cell(&default),
                cell(meaning.unwrap_or_default())
            )
            .ok();
            if let Some(entry) = table_of(whole) {
                rows(entry, &format!("{path}[]."), None, out);
            }
        }
    }
}

/// What each entry of a list of tables looks like.
fn table_of(list: &Value) -> Option<&Value> {
    list.get("items").map(resolve).filter(|items| items.get("properties").is_some())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn kind(part: &Value) -> String {
    let whole = resolve(part);
    let name = part.get("$ref").and_then(Value::as_str).and_then(|r| r.rsplit('/').next());
    let words = words(whole);
    if !words.is_empty() {
        let number = whole.get("anyOf").is_some().then_some("number");
        return words
            .iter()
            .map(|w| format!("`{w}`"))
            .chain(number.map(str::to_owned))
            .collect::<Vec<_>>()
            .join(", ");
    }
    match (name, whole.get("type").and_then(Value::as_str)) {
        (Some("Duration"), _) => "duration".to_owned(),
        (Some("Size"), _) => "size".to_owned(),
        (_, Some("array")) if table_of(whole).is_some() => "list of tables".to_owned(),
        (_, Some("array")) => {
            let items = whole.get("items").and_then(|items| resolve(items).get("type"));
            let of = if items.and_then(Value::as_str) == Some("integer") { "integers" } else { "strings" };
            format!("list of {of}")
        }
        (_, Some("object")) if whole.get("additionalProperties").is_some_and(Value::is_object) => {
            "table of strings".to_owned()
        }
        (_, Some("object")) => "table".to_owned(),
        (_, Some(kind)) => kind.to_owned(),
        (_, None) => String::new(),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::reference_markdown;

    #[test]
    fn the_readme_holds_the_reference() {
        let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
        let generated = readme.split("<!-- generated from the schema: ").nth(1).unwrap();
        let table = generated.trim_start_matches("begin -->\n");
        assert_eq!(table, reference_markdown(), "put in what `wharf schema reference` prints");
    }
}
