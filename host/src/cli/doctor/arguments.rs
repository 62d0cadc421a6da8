//! The least arguments that a tool's schema takes. Pure: what is made is checked against the schema by whoever calls.

use serde_json::{Map, Value, json};

/// How deep schemas may lie in one another.
const DEEPEST: usize = 16;
/// The longest text or list that is made.
const LONGEST: u64 = 256;
/// How many schemas are looked at and values copied. Depth bounds neither: options and items multiply at each level.
const STEPS: usize = 10_000;
/// So many bytes of text count as one more step.
const PIECE: usize = 256;

/// What is left to be done for one schema. A plugin writes the schema: it must not choose the work and the memory.
struct Steps(usize);

/// A value for the schema; `None` where none can be told from it.
pub(super) fn least(schema: &Value) -> Option<Value> {
    value(schema, schema, 0, &mut Steps(STEPS))
}

fn value(root: &Value, schema: &Value, depth: usize, steps: &mut Steps) -> Option<Value> {
    // Counted before all else: an option that lies too deep is work, too.
    steps.take(1)?;
    if depth > DEEPEST {
        return None;
    }
    let Some(keys) = schema.as_object() else {
        return (schema != &Value::Bool(false)).then_some(Value::Null);
    };
    if let Some(reference) = keys.get("$ref").and_then(Value::as_str) {
        steps.take(pieces(reference))?;
        return value(root, root.pointer(reference.strip_prefix('#')?)?, depth + 1, steps);
    }
    let first = |key: &str| keys.get(key)?.as_array()?.first();
    if let Some(given) = keys.get("const").or_else(|| keys.get("default")).or_else(|| first("examples")) {
        return steps.copy(given);
    }
    if let Some(word) = first("enum") {
        return steps.copy(word);
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(options) = keys.get(key).and_then(Value::as_array)
            && !keys.contains_key("properties")
        {
            return options.iter().find_map(|option| value(root, option, depth + 1, steps));
        }
    }
    let kind = match keys.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => kinds.first()?.as_str()?,
        _ if keys.contains_key("properties") => "object",
        _ => "string",
    };
    Some(match kind {
        "object" => object(root, keys, depth, steps)?,
        "array" => {
            let count = keys.get("minItems").and_then(Value::as_u64).unwrap_or(0);
            let item = keys.get("items").unwrap_or(&Value::Bool(true));
            let items = (0..count.min(LONGEST)).map(|_| value(root, item, depth + 1, steps));
            Value::Array(items.collect::<Option<_>>()?)
        }
        "integer" | "number" => number(keys),
        "boolean" => Value::Bool(false),
        "null" => Value::Null,
        _ => text(keys),
    })
}

/// What is required, and nothing else.
fn object(root: &Value, keys: &Map<String, Value>, depth: usize, steps: &mut Steps) -> Option<Value> {
    let needed = keys.get("required").and_then(Value::as_array).into_iter().flatten();
    let any = Value::Bool(true);
    let mut made = Map::new();
    for name in needed {
        steps.take(1)?;
        let Some(name) = name.as_str() else { continue };
        steps.take(pieces(name))?;
        let schema = keys.get("properties").and_then(|all| all.get(name)).unwrap_or(&any);
        made.insert(name.to_owned(), value(root, schema, depth + 1, steps)?);
    }
    Some(Value::Object(made))
}

fn number(keys: &Map<String, Value>) -> Value {
    if let Some(least) = keys.get("minimum").filter(|least| least.is_number()) {
        return least.clone();
    }
    let above = keys.get("exclusiveMinimum").and_then(Value::as_i64).map(|least| least.saturating_add(1));
    let most = keys.get("maximum").and_then(Value::as_i64).filter(|most| *most < 0);
    json!(above.or(most).unwrap_or(0))
}

fn text(keys: &Map<String, Value>) -> Value {
    let shortest = keys.get("minLength").and_then(Value::as_u64).unwrap_or(1).clamp(1, LONGEST);
    json!(match keys.get("format").and_then(Value::as_str) {
        Some("date-time") => "2026-01-01T00:00:00Z".to_owned(),
        Some("date") => "2026-01-01".to_owned(),
        Some("time") => "00:00:00Z".to_owned(),
        Some("uri" | "url" | "iri") => "http://127.0.0.1/".to_owned(),
        Some("email") => "nobody@example.com".to_owned(),
        Some("uuid") => "00000000-0000-4000-8000-000000000000".to_owned(),
        Some("ipv4") => "127.0.0.1".to_owned(),
        _ => "x".repeat(usize::try_from(shortest).unwrap_or(1)),
    })
}

/// The steps that copying a value counts as.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(text) => 1 + pieces(text),
        Value::Array(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::Object(pairs) => {
            1 + pairs.iter().map(|(name, value)| pieces(name) + weight(value)).sum::<usize>()
        }
    }
}

/// The steps that a text counts as beyond the one of its value.
fn pieces(text: &str) -> usize {
    text.len() / PIECE
}

// === impl Steps ===

impl Steps {
    /// Counts so many steps. With too few left none are left, so that all that is still open ends.
    fn take(&mut self, count: usize) -> Option<()> {
        let left = self.0.checked_sub(count);
        self.0 = left.unwrap_or(0);
        left.and(Some(()))
    }

    /// A value that the schema gives.
    fn copy(&mut self, given: &Value) -> Option<Value> {
        self.take(weight(given))?;
        Some(given.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::least;

    #[test]
    fn what_is_made_fits() {
        for schema in [
            json!({}),
            json!({"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "string", "minLength": 3}, "b": {"type": "integer", "minimum": 7}}}),
            json!({"type": "object", "required": ["k"], "properties": {"k": {"enum": ["one", "two"]}, "free": {"type": "string"}}}),
            json!({"type": "object", "required": ["p"], "properties": {"p": {"$ref": "#/$defs/p"}}, "$defs": {"p": {"type": "array", "minItems": 2, "items": {"type": "boolean"}}}}),
            json!({"type": "object", "required": ["x"], "properties": {"x": {"anyOf": [{"type": "null"}, {"type": "string"}]}}}),
            json!({"type": "object", "required": ["n", "m"], "properties": {"n": {"type": "number", "exclusiveMinimum": 4}, "m": {"type": "integer", "maximum": -2}}}),
            json!({"type": "object", "required": ["t"], "properties": {"t": {"type": ["string", "null"], "default": "d"}}}),
        ] {
            let made = least(&schema).unwrap();
            assert!(jsonschema::is_valid(&schema, &made), "{made} for {schema}");
        }
        let only = least(&json!({"type": "object", "properties": {"free": {"type": "string"}}}));
        assert_eq!(only, Some(json!({})), "nothing that is not required");
    }

    #[test]
    fn a_schema_without_end_and_one_that_nothing_fits_end() {
        let endless = json!({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}});
        assert_eq!(least(&endless), None);
        assert_eq!(least(&json!({"type": "object", "required": ["a"], "properties": {"a": false}})), None);
        assert_eq!(least(&json!({"$ref": "http://elsewhere/x"})), None);
    }

    #[test]
    fn options_that_multiply_at_each_level_end() {
        let again = vec![json!({"$ref": "#"}); 50];
        assert_eq!(least(&json!({"anyOf": again})), None);
        assert_eq!(least(&json!({"oneOf": again})), None);
    }

    #[test]
    fn lists_and_copies_that_multiply_at_each_level_end() {
        let list = |items: Value| json!({"type": "array", "minItems": 256, "items": items});
        let row = list(json!({"type": "boolean"}));
        assert_eq!(least(&row).and_then(|made| made.as_array().map(Vec::len)), Some(256), "one is made");
        assert_eq!(least(&list(list(list(row)))), None);
        let long = json!({"default": "x".repeat(100_000)});
        assert!(least(&long).is_some(), "one is made");
        assert_eq!(least(&list(long)), None, "many of it are no small value");
        let wide = json!({"default": vec![0; 1_000]});
        assert_eq!(least(&list(wide)), None);
        let named = json!({"type": "object", "required": ["k".repeat(100_000)]});
        assert_eq!(least(&list(named)), None);
    }
}
