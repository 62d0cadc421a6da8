//! What `POST /tools/{plugin}/{tool}` makes of a tool's result: the value alone, without MCP around it.

use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest text of a tool's error that is told, bytes.
const LONGEST: usize = 64 * 1024;

/// A result without its wrapping.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unwrapped {
    /// The value, as JSON.
    Value(String),
    /// The tool says that it failed, with its text.
    ToolError(String),
    /// The tool wants input before it goes on.
    InputRequired,
}

#[derive(Deserialize)]
struct ToolResult<'a> {
    #[serde(borrow, rename = "structuredContent")]
    structured: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(default, rename = "isError")]
    is_error: Option<bool>,
    #[serde(default, rename = "resultType")]
    result_type: Option<String>,
}

#[derive(Deserialize)]
struct Block {
    r#type: String,
    text: Option<String>,
}

/// Unwraps a result.
///
/// # Errors
/// If it is not the result of a tool; the text says why.
pub(crate) fn unwrap(result: &RawValue) -> Result<Unwrapped, String> {
    let bad = |error: serde_json::Error| format!("the plugin's answer is not the result of a tool: {error}");
    let parsed: ToolResult<'_> = serde_json::from_str(result.get()).map_err(bad)?;
    if parsed.result_type.as_deref() == Some("input_required") {
        return Ok(Unwrapped::InputRequired);
    }
    let content = parsed.content.map_or("[]", RawValue::get);
    let blocks: Vec<Block> = serde_json::from_str(content).map_err(bad)?;
    if parsed.is_error == Some(true) {
        return Ok(Unwrapped::ToolError(error_text(&blocks, parsed.structured)));
    }
    if let Some(structured) = parsed.structured {
        return Ok(Unwrapped::Value(structured.get().to_owned()));
    }
    Ok(Unwrapped::Value(match blocks.as_slice() {
        [Block { r#type, text: Some(text) }] if r#type == "text" => text_value(text),
        _ => content.to_owned(),
    }))
}

/// JSON as it is; any other text as a JSON string, so that the body is JSON in every case.
fn text_value(text: &str) -> String {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(json) => json.get().to_owned(),
        // A string always serializes.
        Err(_) => serde_json::to_string(text).unwrap_or_default(),
    }
}

fn error_text(blocks: &[Block], structured: Option<&RawValue>) -> String {
    let texts: Vec<&str> = blocks.iter().filter_map(|block| block.text.as_deref()).collect();
    let mut text = match (texts.is_empty(), structured) {
        (true, Some(structured)) => structured.get().to_owned(),
        (true, None) => "the tool failed without saying why".to_owned(),
        (false, _) => texts.join("\n"),
    };
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::{Unwrapped, unwrap};

    fn of(result: &str) -> Result<Unwrapped, String> {
        unwrap(&RawValue::from_string(result.to_owned()).unwrap())
    }

    fn value(result: &str) -> String {
        match of(result) {
            Ok(Unwrapped::Value(json)) => json,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_value_comes_alone() {
        let table = [
            (r#"{"content":[],"structuredContent":{ "a" : 1.0 }}"#, r#"{ "a" : 1.0 }"#),
            (r#"{"content":[{"type":"text","text":"{\"a\": 1}"}]}"#, r#"{"a": 1}"#),
            (r#"{"content":[{"type":"text","text":" 12 "}]}"#, "12"),
            (r#"{"content":[{"type":"text","text":"hello"}]}"#, r#""hello""#),
            (r#"{"content":[{"type":"text","text":""}]}"#, r#""""#),
            (r#"{"content":[{"type":"text","text":"hello"}],"structuredContent":null}"#, r#""hello""#),
            (r#"{"content":[{"type":"image","data":"x"}]}"#, r#"[{"type":"image","data":"x"}]"#),
            (
                r#"{"content":[{"type":"text","text":"1"}, {"type":"text","text":"2"}]}"#,
                r#"[{"type":"text","text":"1"}, {"type":"text","text":"2"}]"#,
            ),
            (r#"{"content":[]}"#, "[]"),
            (r"{}", "[]"),
            (r#"{"isError":false,"resultType":"complete","content":[{"type":"text","text":"x"}]}"#, r#""x""#),
        ];
        for (result, expected) in table {
            assert_eq!(value(result), expected, "{result}");
        }
    }

    #[test]
    fn a_tools_error_is_told_with_its_text() {
        let both = r#"{"isError":true,"content":[{"type":"text","text":"no"},{"type":"image"},{"type":"text","text":"way"}]}"#;
        assert_eq!(of(both), Ok(Unwrapped::ToolError("no\nway".into())));
        let structured = r#"{"isError":true,"structuredContent":{"why":1}}"#;
        assert_eq!(of(structured), Ok(Unwrapped::ToolError(r#"{"why":1}"#.into())));
        let silent = of(r#"{"isError":true,"content":[]}"#);
        assert_eq!(silent, Ok(Unwrapped::ToolError("the tool failed without saying why".into())));
    }

    #[test]
    fn a_long_error_is_cut_at_a_character() {
        let text = "ä".repeat(super::LONGEST);
        let Ok(Unwrapped::ToolError(cut)) =
            of(&format!(r#"{{"isError":true,"content":[{{"type":"text","text":"{text}"}}]}}"#))
        else {
            panic!()
        };
        assert!(cut.len() <= super::LONGEST + 3 && cut.ends_with('…'));
    }

    #[test]
    fn what_is_no_result_is_an_error() {
        for bad in ["1", "[]", r#"{"content":1}"#, r#"{"content":[1]}"#, r#"{"isError":"yes"}"#] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert_eq!(of(r#"{"resultType":"input_required","inputRequests":{}}"#), Ok(Unwrapped::InputRequired));
    }
}
