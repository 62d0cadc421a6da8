//! JSON with comments and trailing commas into a tree.

use std::collections::HashSet;

use jsonc_parser::ast::{Object, Value as Json};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, parse_to_ast};

use super::Bad;
use crate::manifest::tree::{Entry, Node, Spot, Value};

pub(super) fn parse(text: &str, source: usize) -> Result<Node, Vec<Bad>> {
    // The parser recurses, further than a thread's stack may reach.
    if let Some(at) = too_deep(text) {
        return Err(vec![Bad {
            range: at..at + 1,
            message: format!("nested more than {} deep", super::MAX_DEPTH),
        }]);
    }
    let collect = CollectOptions { comments: CommentCollectionStrategy::Off, tokens: false };
    let parsed = parse_to_ast(text, &collect, &options())
        .map_err(|error| vec![Bad { range: range(error.range()), message: error.kind().to_string() }])?;
    let Some(value) = parsed.value else {
        return Err(vec![Bad { range: 0..0, message: "there is nothing but comments".to_owned() }]);
    };
    let mut bad = Vec::new();
    let node = node(&value, source, &mut bad);
    if bad.is_empty() { Ok(node) } else { Err(bad) }
}

/// What the clients' own files may hold, and no more.
fn options() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

fn node(value: &Json<'_>, source: usize, bad: &mut Vec<Bad>) -> Node {
    let read = match value {
        Json::NullKeyword(_) => Value::Null,
        Json::BooleanLit(truth) => Value::Bool(truth.value),
        Json::StringLit(text) => Value::Str(text.value.to_string()),
        Json::NumberLit(number) => match (number.value.parse::<i64>(), number.value.parse::<f64>()) {
            (Ok(whole), _) => Value::Int(whole),
            (Err(_), Ok(float)) if float.is_finite() => Value::Float(float),
            (Err(_), Ok(_) | Err(_)) => {
                bad.push(Bad { range: range(number.range), message: "the number is too large".to_owned() });
                Value::Null
            }
        },
        Json::Array(array) => {
            Value::List(array.elements.iter().map(|item| node(item, source, bad)).collect())
        }
        Json::Object(object) => table(object, source, bad),
    };
    Node::new(read, Spot::new(source, range(value.range())))
}

fn table(object: &Object<'_>, source: usize, bad: &mut Vec<Bad>) -> Value {
    let mut seen = HashSet::new();
    let mut entries = Vec::with_capacity(object.properties.len());
    for property in &object.properties {
        let key = property.name.as_str();
        let place = range(property.name.range());
        if !seen.insert(key) {
            bad.push(Bad { range: place.clone(), message: "duplicate key".to_owned() });
        }
        let node = node(&property.value, source, bad);
        entries.push(Entry { key: key.to_owned(), key_spot: Spot::new(source, place), node });
    }
    Value::Table(entries)
}

fn range(range: jsonc_parser::common::Range) -> std::ops::Range<usize> {
    range.start..range.end
}

/// Where the first bracket stands that lies too deep.
fn too_deep(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                while bytes.next().is_some_and(|(_, b)| b != b'"' && (b != b'\\' || bytes.next().is_some())) {
                }
            }
            b'/' if bytes.peek().is_some_and(|&(_, b)| b == b'/') => {
                while bytes.next().is_some_and(|(_, b)| b != b'\n') {}
            }
            b'/' if bytes.peek().is_some_and(|&(_, b)| b == b'*') => {
                let end = text.get(at + 2..)?.find("*/")? + at + 4;
                while bytes.peek().is_some_and(|&(at, _)| at < end) {
                    bytes.next();
                }
            }
            _ => {}
        }
        if depth > super::MAX_DEPTH + 1 {
            return Some(at);
        }
    }
    None
}
