//! What a file says, whatever its syntax: one tree in which every key and value knows its place.
//!
//! It knows nothing of manifests. A tree may be put together from several files (an overlay beside a foreign file), so
//! a place names its file.

use std::ops::Range;

/// A place in one of the files that a tree was read from (bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    /// Which of the sources.
    pub(crate) source: usize,
    /// The first byte.
    pub(crate) start: usize,
    /// After the last byte.
    pub(crate) end: usize,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) spot: Spot,
}

/// A value of any of the syntaxes.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table with its value, in the order of the file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_spot: Spot,
    pub(crate) node: Node,
}

// === impl Spot ===

impl Spot {
    pub(crate) fn new(source: usize, range: Range<usize>) -> Self {
        Self { source, start: range.start, end: range.end }
    }

    pub(crate) fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

// === impl Node ===

impl Node {
    pub(crate) fn new(value: Value, spot: Spot) -> Self {
        Self { value, spot }
    }

    /// The entries, if it is a table.
    pub(crate) fn table(&self) -> Option<&[Entry]> {
        if let Value::Table(entries) = &self.value { Some(entries) } else { None }
    }

    /// The text, if it is one.
    pub(crate) fn str(&self) -> Option<&str> {
        if let Value::Str(text) = &self.value { Some(text) } else { None }
    }

    /// The value of a key, if it is a table that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The entry of a key, if it is a table that has it.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.table()?.iter().find(|entry| entry.key == key)
    }

    /// The value at a JSON pointer.
    pub(crate) fn at(&self, pointer: &str) -> Option<&Node> {
        pointer.split('/').skip(1).try_fold(self, |node, step| match &node.value {
            Value::Table(_) => node.get(&unescape(step)),
            Value::List(items) => items.get(step.parse::<usize>().ok()?),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_) => None,
        })
    }

    /// The place that a problem with this pointer is about: the value there.
    pub(crate) fn spot_of(&self, pointer: &str) -> Option<Spot> {
        self.at(pointer).map(|node| node.spot)
    }

    /// The pointer of the key or value that stands at a place.
    pub(crate) fn pointer_to(&self, spot: Spot) -> Option<String> {
        if self.spot == spot {
            return Some(String::new());
        }
        match &self.value {
            Value::Table(entries) => entries.iter().find_map(|entry| {
                let below =
                    if entry.key_spot == spot { Some(String::new()) } else { entry.node.pointer_to(spot) };
                below.map(|below| format!("/{}{below}", escape(&entry.key)))
            }),
            Value::List(items) => items
                .iter()
                .enumerate()
                .find_map(|(n, item)| item.pointer_to(spot).map(|below| format!("/{n}{below}"))),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_) => None,
        }
    }

    /// What kind of value it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Str(_) => "a string",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// The value without its places. A float without a fraction becomes an integer: the syntaxes differ in what they write.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(b) => (*b).into(),
            Value::Int(n) => (*n).into(),
            Value::Float(x) => float(*x),
            Value::Str(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Table(entries) => entries.iter().map(|e| (e.key.clone(), e.node.to_json())).collect(),
        }
    }

    /// Puts `over` on top: tables are merged key by key, everything else is replaced.
    pub(crate) fn merge(&mut self, over: Node) {
        match (&mut self.value, over.value) {
            (Value::Table(below), Value::Table(above)) => {
                for entry in above {
                    match below.iter_mut().find(|old| old.key == entry.key) {
                        Some(old) => {
                            old.key_spot = entry.key_spot;
                            old.node.merge(entry.node);
                        }
                        None => below.push(entry),
                    }
                }
            }
            (_, value) => *self = Self::new(value, over.spot),
        }
    }

    /// How many tables and lists lie in one another at most.
    pub(crate) fn depth(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Value::Table(entries) => 1 + entries.iter().map(|e| e.node.depth()).max().unwrap_or(0),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_) => 0,
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "checked to be a whole number that fits")]
fn float(x: f64) -> serde_json::Value {
    if x.fract() == 0.0 && x.abs() < 9e15 { (x as i64).into() } else { x.into() }
}

/// One step of a JSON pointer.
pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn unescape(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}
