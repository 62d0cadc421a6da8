//! Templates of a script: `{{path}}` stands for a part of what is known. Pure.

use serde_json::{Map, Value};

/// What a template may name: the first element of each path.
pub(crate) type Known = Map<String, Value>;

/// The text with each `{{path}}` replaced.
///
/// # Errors
/// Names a path that leads nowhere.
pub(crate) fn text(template: &str, known: &Known) -> Result<String, String> {
    let mut said = String::new();
    let mut rest = template;
    while let Some((before, path, after)) = next(rest) {
        said.push_str(before);
        match look_up(path, known)? {
            Value::String(text) => said.push_str(&text),
            json @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                said.push_str(&json.to_string());
            }
        }
        rest = after;
    }
    said.push_str(rest);
    Ok(said)
}

/// The value with each text in it replaced; a text that is one path alone becomes what the path leads to.
///
/// # Errors
/// Names a path that leads nowhere.
pub(crate) fn value(template: &Value, known: &Known) -> Result<Value, String> {
    Ok(match template {
        Value::String(template) => match next(template) {
            Some(("", path, "")) => look_up(path, known)?,
            _ => Value::String(text(template, known)?),
        },
        Value::Array(items) => items.iter().map(|item| value(item, known)).collect::<Result<_, _>>()?,
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, field)| Ok((key.clone(), value(field, known)?)));
            Value::Object(fields.collect::<Result<_, String>>()?)
        }
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain.clone(),
    })
}

/// What stands before the first path, the path, and what stands after it.
fn next(template: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = template.split_once("{{")?;
    let (path, after) = rest.split_once("}}")?;
    Some((before, path.trim(), after))
}

fn look_up(path: &str, known: &Known) -> Result<Value, String> {
    let mut steps = path.split('.');
    let first = steps.next().unwrap_or_default();
    let lost = |step: &str, there: String| format!("{{{{{path}}}}}: there is no {step:?}, only {there}");
    let mut at = known.get(first).cloned().ok_or_else(|| lost(first, keys(known)))?;
    for step in steps {
        // Some servers answer JSON in a string of JSON.
        if let Value::String(text) = &at
            && let Ok(inner) = serde_json::from_str(text)
        {
            at = inner;
        }
        let inner = match &at {
            Value::Object(fields) => fields.get(step).ok_or_else(|| lost(step, keys(fields))),
            Value::Array(items) => step
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get(index))
                .ok_or_else(|| lost(step, format!("{} items", items.len()))),
            plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                Err(lost(step, crate::failure::short(plain, 60)))
            }
        };
        at = inner?.clone();
    }
    Ok(at)
}

fn keys(fields: &Map<String, Value>) -> String {
    let keys: Vec<_> = fields.keys().map(String::as_str).collect();
    if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use serde_json::{Value, json};

    use super::{Known, text, value};

    fn known() -> Known {
        let known = json!({
            "prompt": "hi", "n": { "list": [1, { "deep": true }] }, "packed": { "result": "{\"a\": {\"b\": 7}}" },
        });
        let Value::Object(known) = known else { unreachable!() };
        known
    }

    #[test]
    fn a_path_leads_into_objects_lists_and_packed_json() {
        assert_eq!(
            text("{{ prompt }}: {{n.list.0}} {{n.list.1}}!", &known()).unwrap(),
            "hi: 1 {\"deep\":true}!"
        );
        assert_eq!(text("{{packed.result.a.b}}", &known()).unwrap(), "7");
        assert_eq!(text("no path, }} and {{", &known()).unwrap(), "no path, }} and {{");
    }

    #[test]
    fn a_path_alone_keeps_its_type() {
        let template = json!({ "a": "{{n.list.0}}", "b": ["x {{n.list.0}}"], "c": null });
        assert_eq!(value(&template, &known()).unwrap(), json!({ "a": 1, "b": ["x 1"], "c": null }));
    }

    #[test]
    fn a_path_that_leads_nowhere_says_what_there_is() {
        assert_eq!(
            text("{{m.x}}", &known()).unwrap_err(),
            r#"{{m.x}}: there is no "m", only prompt, n, packed"#
        );
        assert_eq!(text("{{n.x}}", &known()).unwrap_err(), r#"{{n.x}}: there is no "x", only list"#);
        assert_eq!(
            text("{{n.list.7}}", &known()).unwrap_err(),
            r#"{{n.list.7}}: there is no "7", only 2 items"#
        );
        assert_eq!(
            text("{{prompt.x}}", &known()).unwrap_err(),
            r#"{{prompt.x}}: there is no "x", only "hi""#
        );
    }
}
