//! What `POST /tools/{plugin}/{tool}` makes of a tool's result: the value alone, without MCP around it.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;
use wharf_core::splice;

/// Longest text of a tool's error that is told, bytes.
const LONGEST: usize = 64 * 1024;

/// A result without its wrapping.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unwrapped {
    /// The value, as JSON.
    Value(Bytes),
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

/// Where a value stands.
enum Place {
    /// In the result, as it is sent.
    Part(Range<usize>),
    /// In a text that was without its escapes.
    Text(Bytes),
}

/// Unwraps a result. A value that stands in it as it is sent is not copied.
///
/// # Errors
/// If it is not the result of a tool; the text says why.
pub(crate) fn unwrap(result: Box<RawValue>) -> Result<Unwrapped, String> {
    match plain(&result) {
        Some(Place::Part(part)) => {
            Ok(Unwrapped::Value(Bytes::from(Box::<str>::from(result).into_boxed_bytes()).slice(part)))
        }
        Some(Place::Text(json)) => Ok(Unwrapped::Value(json)),
        None => strictly(&result),
    }
}

/// The value of the results that nearly every tool has: done, with one text and perhaps a structured value. They are looked
/// through, and not read again. `None`: the strict reader has to say what it is.
fn plain(result: &RawValue) -> Option<Place> {
    let keys = ["structuredContent", "content", "isError", "resultType"];
    let [structured, content, is_error, kind] = splice::plain_fields(result, keys)?;
    let is_done = is_error.is_none_or(|said| said.get() == "false")
        && kind.is_none_or(|kind| kind.get() == "\"complete\"");
    let text = only_text(content?).filter(|_| is_done)?;
    match structured.filter(|value| value.get() != "null") {
        Some(value) => Some(Place::Part(place(result, value.get()))),
        None => of_text(result, text),
    }
}

/// The text of content that is one text and nothing else.
fn only_text(content: &RawValue) -> Option<&RawValue> {
    // Known to be JSON: it is not read for that once more, for a text may be long.
    let [kind, text] = splice::plain_fields(splice::only_item(content)?, ["type", "text"])?;
    let text = text.filter(|text| text.get().starts_with('"'))?;
    // Half a pair of surrogates would be no text.
    let is_sure = memmem::find(text.get().as_bytes(), br"\u").is_none();
    (is_sure && kind?.get() == "\"text\"").then_some(text)
}

/// JSON as it is; any other text as the JSON string that it stands there as.
fn of_text(result: &RawValue, text: &RawValue) -> Option<Place> {
    let as_it_is = || Place::Part(place(result, text.get()));
    if !may_say_json(text) {
        return Some(as_it_is());
    }
    let said = splice::text(text)?;
    let Ok(json) = serde_json::from_str::<&RawValue>(&said) else { return Some(as_it_is()) };
    Some(match &said {
        Cow::Borrowed(_) => Place::Part(place(result, json.get())),
        Cow::Owned(_) => {
            let part = range(&said, json.get());
            Place::Text(Bytes::from(said.into_owned()).slice(part))
        }
    })
}

/// Whether what a string says may be JSON, by how it begins. False is certain.
fn may_say_json(text: &RawValue) -> bool {
    let said = text.get().trim_start_matches('"').trim_start_matches(' ');
    said.starts_with(|c: char| matches!(c, '{' | '[' | '-' | '0'..='9' | 't' | 'f' | 'n' | '\\'))
}

fn place(result: &RawValue, part: &str) -> Range<usize> {
    range(result.get(), part)
}

/// Where a part of a text stands in it.
fn range(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

/// Whatever the result is.
fn strictly(result: &RawValue) -> Result<Unwrapped, String> {
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
        return Ok(Unwrapped::Value(structured.get().to_owned().into()));
    }
    let value = match blocks.as_slice() {
        [Block { r#type, text: Some(text) }] if r#type == "text" => text_value(text),
        _ => content.to_owned(),
    };
    Ok(Unwrapped::Value(value.into()))
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

    use super::{Unwrapped, plain, strictly, unwrap};

    fn raw(result: &str) -> Box<RawValue> {
        RawValue::from_string(result.to_owned()).unwrap()
    }

    fn of(result: &str) -> Result<Unwrapped, String> {
        unwrap(raw(result))
    }

    fn value(result: &str) -> String {
        match of(result) {
            Ok(Unwrapped::Value(json)) => String::from_utf8(json.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// A JSON value as everybody reads it.
    fn read(unwrapped: Result<Unwrapped, String>) -> Result<serde_json::Value, String> {
        match unwrapped? {
            Unwrapped::Value(json) => Ok(serde_json::from_slice(&json).unwrap()),
            other @ (Unwrapped::ToolError(_) | Unwrapped::InputRequired) => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn a_value_that_stands_in_the_result_is_not_copied() {
        for (result, stands) in [
            (r#"{"content":[{"type":"text","text":"a \"b\" \n c"}]}"#, r#""a \"b\" \n c""#),
            (r#"{"content":[{"type":"text","text":" [1,2] "}]}"#, "[1,2]"),
            (
                r#"{"structuredContent":{"a":1},"content":[{"text":"x","type":"text"}],"isError":false}"#,
                r#"{"a":1}"#,
            ),
        ] {
            let result = raw(result);
            let at = result.get().as_ptr().addr() + result.get().find(stands).unwrap();
            let Ok(Unwrapped::Value(value)) = unwrap(result) else { panic!() };
            assert_eq!((value.as_ptr().addr(), &value[..]), (at, stands.as_bytes()));
        }
    }

    /// What is looked through comes to the same as what is read strictly, and whatever may not is left to the strict reader.
    #[test]
    fn both_readers_find_the_same() {
        let texts = [
            "",
            "x",
            " x ",
            "12",
            " 12 ",
            "-",
            "true",
            "truth",
            "nulls",
            "{",
            "[1,2]",
            r#"{\"a\":\"b\"}"#,
            r#"\"x\""#,
            r"\n[1]\n",
            r"\n",
            r"\ud800",
            r"\u0041",
            r"\/",
            "ä",
            r"a\\u0041",
            r"{\u0022a\u0022:1}",
            "0x1",
            "1 2",
        ];
        let shapes = [
            r#"{"content":[{"type":"text","text":"%"}]}"#,
            r#"{"content":[{"text":"%","type":"text","annotations":{"text":1}}],"_meta":{}}"#,
            r#"{"content":[ {"type" : "text","text": "%" } ]}"#,
            r#"{"content":[{"type":"text","text":"%"}],"structuredContent":{"x":"%"}}"#,
            r#"{"content":[{"type":"text","text":"%"}],"structuredContent":null}"#,
            r#"{"content":[{"type":"text","text":"%","text":"%"}]}"#,
            r#"{"content":[{"type":"text","te\u0078t":"%"}]}"#,
            r#"{"content":[{"type":"te\u0078t","text":"%"}]}"#,
            r#"{"content":[{"type":"text","text":"%"}],"content":[]}"#,
            r#"{"content":[{"type":"text","text":"%"}],"isError":true}"#,
            r#"{"content":[{"type":"text","text":"%"}],"isError":null,"resultType":"complete"}"#,
            r#"{"content":[{"type":"text","text":"%"}],"resultType":"input_required"}"#,
            r#"{"content":[{"type":"text","text":"%"},{"type":"text","text":"%"}]}"#,
            r#"{"content":[{"type":"image","text":"%"}],"structuredContent":1}"#,
            r#"{"content":[{"text":"%"}],"structuredContent":1}"#,
            r#"{"content":[["%"]],"structuredContent":1}"#,
            r#"{"content":{"text":"%"}}"#,
        ];
        for (shape, text) in shapes.iter().flat_map(|shape| texts.iter().map(move |text| (shape, text))) {
            let result = raw(&shape.replace('%', text));
            assert_eq!(read(unwrap(result.clone())), read(strictly(&result)), "{result}");
        }
        for shape in &shapes[..5] {
            assert!(plain(&raw(&shape.replace('%', "x"))).is_some(), "{shape}");
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
