//! `wharf call P/T key=value ..`: calls a tool; values get the types that the tool's schema asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::client::{Client, parse};
use super::exit::{Complaint, Exit};
use super::{out, tools};

/// What the host needs beyond the call's own time to answer.
const SLACK: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// PLUGIN/TOOL
    tool: String,
    /// key=value (typed by the tool's schema) or key:=JSON
    #[arg(value_name = "KEY=VALUE")]
    pairs: Vec<String>,
    /// The arguments as one JSON object; pairs are put on top
    #[arg(long, value_name = "JSON")]
    json: Option<String>,
    /// How long the call may take; within the manifest's bound
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Print the host's whole answer as it came
    #[arg(long)]
    raw: bool,
}

#[derive(Serialize)]
struct Body {
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    result: &'a RawValue,
}

#[derive(Deserialize)]
struct ToolResult {
    #[serde(default)]
    content: Vec<Value>,
    #[serde(rename = "structuredContent")]
    structured: Option<Value>,
    #[serde(default, rename = "isError")]
    is_error: Option<bool>,
}

pub(super) async fn run(args: &Args, host: &Client) -> Result<(), Complaint> {
    let (plugin, tool) = tools::split(&args.tool)?;
    let schema = if args.pairs.is_empty() {
        Value::Null
    } else {
        let found = tools::fetch(host, plugin, tool).await?;
        found.definition.get("inputSchema").cloned().unwrap_or_default()
    };
    let body = Body {
        arguments: arguments(args.json.as_deref(), &args.pairs, &schema)?,
        timeout_ms: args.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
    };
    let body = serde_json::to_vec(&body).map_err(|error| {
        Complaint::new(Exit::Failure, "the call cannot be written").detail(error.to_string())
    })?;
    let url = host.path(&["api", "v1", "plugins", plugin, "tools", tool, "call"]);
    // Without a time of the user's the host's own ends the call: the manifest may allow any.
    let bound = args.timeout.map(|timeout| timeout.saturating_add(SLACK));
    let answer = host.post(url, Some(body), bound).await?;
    show(args.raw, &answer)
}

fn show(raw: bool, answer: &[u8]) -> Result<(), Complaint> {
    let parsed: Answer<'_> =
        serde_json::from_slice(answer).map_err(|_| parse::<Value>(answer).err().unwrap_or_else(odd))?;
    let result: ToolResult = parse(parsed.result.get().as_bytes())?;
    let text = text(&result);
    if raw {
        out::foreign(&String::from_utf8_lossy(answer))?;
    }
    if result.is_error == Some(true) {
        let complaint = Complaint::new(Exit::ToolError, "the tool answered with an error");
        return Err(if text.is_empty() { complaint } else { complaint.detail(text) });
    }
    if raw || text.is_empty() { Ok(()) } else { out::foreign(&text) }
}

fn odd() -> Complaint {
    Complaint::new(Exit::Failure, "the host's answer has no result")
}

/// The text of a result: its text blocks as they are, any other block as JSON, else the structured value.
fn text(result: &ToolResult) -> String {
    let blocks = result.content.iter().map(|block| match (block.get("type"), block.get("text")) {
        (Some(Value::String(kind)), Some(Value::String(text))) if kind == "text" => text.clone(),
        _ => block.to_string(),
    });
    let text = blocks.collect::<Vec<_>>().join("\n");
    match (&result.structured, text.is_empty()) {
        (Some(structured), true) => format!("{structured:#}"),
        _ => text,
    }
}

/// The arguments of a call; `None` if the user gave none at all. What is JSON stays as it was written: a number may be
/// longer than any that we could hold.
fn arguments(
    json: Option<&str>,
    pairs: &[String],
    schema: &Value,
) -> Result<Option<Box<RawValue>>, Complaint> {
    let given = match json.map(serde_json::from_str::<Box<RawValue>>) {
        None if pairs.is_empty() => return Ok(None),
        None => None,
        Some(Ok(object)) if object.get().starts_with('{') => Some(object),
        Some(Ok(_)) => {
            return Err(
                Complaint::new(Exit::Usage, "--json is not an object").remedy("write it as '{\"key\": ..}'")
            );
        }
        Some(Err(error)) => {
            return Err(Complaint::new(Exit::Usage, "--json is not JSON").detail(error.to_string()));
        }
    };
    if pairs.is_empty() {
        return Ok(given);
    }
    let odd = |error: serde_json::Error| {
        Complaint::new(Exit::Usage, "the arguments are not JSON").detail(error.to_string())
    };
    let mut all: BTreeMap<String, Box<RawValue>> = given
        .map_or_else(|| Ok(BTreeMap::new()), |object| serde_json::from_str(object.get()))
        .map_err(odd)?;
    for pair in pairs {
        let (key, value) = pair_value(pair, schema)?;
        all.insert(key, value);
    }
    to_raw_value(&all).map(Some).map_err(odd)
}

fn pair_value(pair: &str, schema: &Value) -> Result<(String, Box<RawValue>), Complaint> {
    let bad = |why: String| Complaint::new(Exit::Usage, format!("{pair:?} is no argument: {why}"));
    let (key, text) =
        pair.split_once('=').ok_or_else(|| bad("write it as key=value or key:=JSON".to_owned()))?;
    if let Some(key) = key.strip_suffix(':') {
        let value = serde_json::from_str(text)
            .map_err(|error| bad(format!("what follows := is not JSON: {error}")))?;
        return Ok((key.to_owned(), value));
    }
    let kinds = kinds(schema.get("properties").and_then(|properties| properties.get(key)));
    let value =
        typed(text, &kinds).ok_or_else(|| bad(format!("the tool wants {} here", kinds.join(" or "))))?;
    Ok((key.to_owned(), value))
}

/// The JSON types that a property may have; none if the schema does not say.
fn kinds(property: Option<&Value>) -> Vec<String> {
    match property.and_then(|property| property.get("type")) {
        Some(Value::String(kind)) => vec![kind.clone()],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// The text as the first type that it fits; a string where nothing else is asked for.
fn typed(text: &str, kinds: &[String]) -> Option<Box<RawValue>> {
    let string = || to_raw_value(text).ok();
    if kinds.is_empty() {
        return string();
    }
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    let fits = |kind: &str| match (kind, &parsed) {
        ("integer", Some(Value::Number(n))) => {
            n.is_i64() || n.is_u64() || n.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        ("number", Some(Value::Number(_)))
        | ("boolean", Some(Value::Bool(_)))
        | ("null", Some(Value::Null))
        | ("object", Some(Value::Object(_)))
        | ("array", Some(Value::Array(_))) => true,
        _ => false,
    };
    if kinds.iter().any(|kind| fits(kind)) {
        return serde_json::from_str(text).ok();
    }
    kinds.iter().any(|kind| kind == "string").then(string).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Exit, arguments, show, text};

    fn schema() -> Value {
        json!({"properties": {
            "s": {"type": "string"}, "n": {"type": "number"}, "i": {"type": "integer"}, "b": {"type": "boolean"},
            "a": {"type": "array"}, "o": {"type": "object"}, "sn": {"type": ["string", "null"]}, "any": {}
        }})
    }

    fn of(json: Option<&str>, pairs: &[&str]) -> Result<Option<Value>, Exit> {
        let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
        raw(json, &pairs).map(|made| made.map(|made| serde_json::from_str(&made).unwrap()))
    }

    fn raw(json: Option<&str>, pairs: &[String]) -> Result<Option<String>, Exit> {
        let made = arguments(json, pairs, &schema()).map_err(|complaint| complaint.exit)?;
        Ok(made.map(|made| made.get().to_owned()))
    }

    #[test]
    fn json_arrives_as_it_was_written() {
        let long = r#"{ "n": 12345678901234567890123, "x":1.50e+3 }"#;
        assert_eq!(raw(Some(long), &[]), Ok(Some(long.to_owned())));
        let pairs = ["m:=12345678901234567890124", "i=12345678901234567890125", "n=1.50"].map(str::to_owned);
        let expected = r#"{"i":12345678901234567890125,"m":12345678901234567890124,"n":1.50,"x":1.50e+3}"#;
        assert_eq!(raw(Some(long), &pairs), Ok(Some(expected.to_owned())));
    }

    #[test]
    fn values_get_the_types_of_the_schema() {
        let table = [
            ("s=12", json!({"s": "12"})),
            ("s=", json!({"s": ""})),
            ("s=a=b", json!({"s": "a=b"})),
            ("n=1.5", json!({"n": 1.5})),
            ("i=-3", json!({"i": -3})),
            ("b=true", json!({"b": true})),
            ("a=[1]", json!({"a": [1]})),
            ("o={\"x\":1}", json!({"o": {"x": 1}})),
            ("sn=null", json!({"sn": null})),
            ("sn=nil", json!({"sn": "nil"})),
            ("any=1", json!({"any": "1"})),
            ("unknown=true", json!({"unknown": "true"})),
            ("s:=12", json!({"s": 12})),
            ("unknown:=[true]", json!({"unknown": [true]})),
        ];
        for (pair, expected) in table {
            assert_eq!(of(None, &[pair]), Ok(Some(expected)), "{pair}");
        }
    }

    #[test]
    fn what_does_not_fit_is_a_usage_error() {
        for pair in ["i=1.5", "i=x", "n=", "b=yes", "a={}", "novalue", "s:={", ""] {
            assert_eq!(of(None, &[pair]), Err(Exit::Usage), "{pair}");
        }
        for json in ["[]", "1", "{", ""] {
            assert_eq!(of(Some(json), &[]), Err(Exit::Usage), "{json}");
        }
    }

    #[test]
    fn json_and_pairs_are_put_together_and_nothing_stays_nothing() {
        assert_eq!(of(None, &[]), Ok(None));
        assert_eq!(of(Some("{}"), &[]), Ok(Some(json!({}))));
        assert_eq!(of(Some(r#"{"s":"a","x":1}"#), &["s=b"]), Ok(Some(json!({"s": "b", "x": 1}))));
    }

    #[test]
    fn a_result_is_shown_as_its_text() {
        let of = |result: Value| text(&serde_json::from_value(result).unwrap());
        let two = json!({"content": [{"type": "text", "text": "a"}, {"type": "image", "data": "x"}]});
        assert_eq!(of(two), "a\n{\"type\":\"image\",\"data\":\"x\"}");
        assert_eq!(of(json!({"content": [], "structuredContent": {"a": 1}})), "{\n  \"a\": 1\n}");
        assert_eq!(
            of(json!({"content": [{"type": "text", "text": "a"}], "structuredContent": {"a": 1}})),
            "a"
        );
    }

    #[test]
    fn a_tools_error_has_its_own_exit_code() {
        let body = br#"{"call_id":"c","result":{"isError":true,"content":[{"type":"text","text":"no"}]}}"#;
        let complaint = show(false, body).unwrap_err();
        assert_eq!(
            (complaint.exit, complaint.details.as_slice()),
            (Exit::ToolError, ["no".to_owned()].as_slice())
        );
        assert_eq!(show(false, b"{}").unwrap_err().exit, Exit::Failure);
        assert_eq!(show(false, b"<").unwrap_err().exit, Exit::Failure);
    }
}
