//! TOML into a tree.

use toml::de::{DeTable, DeValue};
use toml::{Spanned, de::DeInteger};

use super::Bad;
use crate::manifest::tree::{Entry, Node, Spot, Value};

pub(super) fn parse(text: &str, source: usize) -> Result<Node, Vec<Bad>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut bad: Vec<Bad> = errors
        .into_iter()
        .map(|error| Bad { range: error.span().unwrap_or(0..0), message: error.message().to_owned() })
        .collect();
    let node = Node::new(entries(table.get_ref(), source, &mut bad), Spot::new(source, 0..0));
    if bad.is_empty() { Ok(node) } else { Err(bad) }
}

fn entries(table: &DeTable<'_>, source: usize, bad: &mut Vec<Bad>) -> Value {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_spot: Spot::new(source, key.span()),
            node: node(value, source, bad),
        })
        .collect();
    // The map sorts by name; people read in the order of the file.
    entries.sort_by_key(|entry| entry.key_spot.start);
    Value::Table(entries)
}

fn node(value: &Spanned<DeValue<'_>>, source: usize, bad: &mut Vec<Bad>) -> Node {
    let mut wrong = |message: &str| {
        bad.push(Bad { range: value.span(), message: message.to_owned() });
        Value::Null
    };
    let read = match value.get_ref() {
        DeValue::String(text) => Value::Str(text.to_string()),
        DeValue::Integer(digits) => {
            integer(digits).map_or_else(|| wrong("the number is too large"), Value::Int)
        }
        DeValue::Float(float) => match float.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Float(number),
            Ok(_) | Err(_) => wrong("a number must be finite"),
        },
        DeValue::Boolean(truth) => Value::Bool(*truth),
        DeValue::Datetime(_) => wrong("no key takes a date; write it in quotes"),
        DeValue::Array(items) => Value::List(items.iter().map(|item| node(item, source, bad)).collect()),
        DeValue::Table(table) => entries(table, source, bad),
    };
    Node::new(read, Spot::new(source, value.span()))
}

fn integer(digits: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(digits.as_str(), digits.radix()).ok()
}
