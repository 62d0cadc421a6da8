//! YAML 1.2 into a tree, with bounds on what aliases may blow up.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::Bad;
use crate::manifest::tree::{Entry, Node, Spot, Value};

pub(super) fn parse(text: &str, source: usize) -> Result<Node, Vec<Bad>> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: super::MAX_DEPTH, max_nodes: 20_000, max_aliases: 1000, max_anchors: 1000, max_documents: 1 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 20_000 },
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(into_node(text, raw, source)),
        Err(error) => {
            let start = error.location().map_or(0, |at| offset(text, at));
            Err(vec![Bad { range: start..start, message: message(&error) }])
        }
    }
}

/// The reason without its place, which the problem tells in its own way.
fn message(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default();
    text.split(" at line ").next().unwrap_or(text).to_owned()
}

enum Raw {
    Scalar(Value),
    List(Vec<Spanned<Raw>>),
    Table(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn into_node(text: &str, raw: Spanned<Raw>, source: usize) -> Node {
    let spot = spot(text, raw.referenced, source);
    let value = match raw.value {
        Raw::Scalar(value) => value,
        Raw::List(items) => {
            Value::List(items.into_iter().map(|item| into_node(text, item, source)).collect())
        }
        Raw::Table(entries) => Value::Table(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    key_spot: self::spot(text, key.referenced, source),
                    key: key.value,
                    node: into_node(text, value, source),
                })
                .collect(),
        ),
    };
    Node::new(value, spot)
}

fn spot(text: &str, at: Location, source: usize) -> Spot {
    let start = offset(text, at);
    let len = at.span().byte_len().and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
    Spot::new(source, start..start + len)
}

/// Bytes before a location; the parser tells them only sometimes, line and column always.
fn offset(text: &str, at: Location) -> usize {
    if let Some(bytes) = at.span().byte_offset().and_then(|bytes| usize::try_from(bytes).ok()) {
        return bytes;
    }
    let line = usize::try_from(at.line()).unwrap_or(0).saturating_sub(1);
    let column = usize::try_from(at.column()).unwrap_or(0).saturating_sub(1);
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    before + rest.chars().take(column).map(char::len_utf8).sum::<usize>()
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Bool(truth)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Int(number)))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Raw, E> {
        i64::try_from(number)
            .map(|n| Raw::Scalar(Value::Int(n)))
            .map_err(|_| E::custom("the number is too large"))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Float(number)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Str(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Table(entries))
    }
}
