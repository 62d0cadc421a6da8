//! JSON with comments and trailing commas into a tree.

use std::collections::HashSet;

use jsonc_parser::ast::{Object, Value as Json};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, parse_to_ast};

use super::Bad;
use crate::manifest::tree::{Entry, Node, Spot, Value};

pub(super) fn parse(text: &str, source: usize) -> Result<Node, Vec<Bad>> {
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
