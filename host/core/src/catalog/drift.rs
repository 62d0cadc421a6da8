//! What is different between what a plugin listed and what it lists now: names only, and no more of them than people read.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::entry::text;
use super::shelf::Kind;

/// Names that are told of each list and each kind of difference.
const TOLD: usize = 20;
/// The longest name that is told whole, bytes.
const LONGEST: usize = 128;

/// The difference between two lists of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What is new; of many, the first.
    pub added: Vec<String>,
    /// What is gone; of many, the first.
    pub removed: Vec<String>,
    /// What has the same name and another definition; of many, the first.
    pub changed: Vec<String>,
    /// How many more there are than are named.
    pub more: usize,
    /// There was something, and now there is nothing.
    pub emptied: bool,
}

/// What is different, by kind; empty: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Drift(BTreeMap<Kind, Change>);

// === impl Drift ===

impl Drift {
    /// Notes the difference of the lists of one kind. Their order is no difference.
    #[must_use]
    pub fn and(mut self, kind: Kind, before: &[Arc<RawValue>], after: &[Arc<RawValue>]) -> Self {
        let change = Change::between(kind, before, after);
        if change != Change::default() {
            self.0.insert(kind, change);
        }
        self
    }

    /// Whether nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all that was listed is still there, with the same definition.
    #[must_use]
    pub fn only_adds(&self) -> bool {
        // Of more than are named it is not known what they are.
        let adds =
            |change: &Change| change.removed.is_empty() && change.changed.is_empty() && change.more == 0;
        self.0.values().all(adds)
    }

    /// The kinds of which there was something, and now there is nothing.
    pub fn emptied(&self) -> impl Iterator<Item = Kind> {
        self.0.iter().filter(|(_, change)| change.emptied).map(|(kind, _)| *kind)
    }
}

impl Display for Drift {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (n, (kind, change)) in self.0.iter().enumerate() {
            write!(f, "{}{}s:", if n == 0 { "" } else { "; " }, kind.as_str())?;
            for (sign, names) in [('+', &change.added), ('-', &change.removed), ('~', &change.changed)] {
                for name in names {
                    write!(f, " {sign}{name}")?;
                }
            }
            if change.more > 0 {
                write!(f, " and {} more", change.more)?;
            }
            if change.emptied {
                f.write_str(" (none is left)")?;
            }
        }
        Ok(())
    }
}

// === impl Change ===

impl Change {
    fn between(kind: Kind, before: &[Arc<RawValue>], after: &[Arc<RawValue>]) -> Self {
        let by_name = |list: &[Arc<RawValue>]| -> BTreeMap<String, Arc<RawValue>> {
            list.iter().filter_map(|raw| Some((text(raw, kind.key())?, Arc::clone(raw)))).collect()
        };
        let (old, new) = (by_name(before), by_name(after));
        let mut change = Self { emptied: !old.is_empty() && new.is_empty(), ..Self::default() };
        for (name, definition) in &new {
            match old.get(name) {
                None => tell(&mut change.added, &mut change.more, name),
                Some(was) if was.get() != definition.get() => {
                    tell(&mut change.changed, &mut change.more, name)
                }
                Some(_) => {}
            }
        }
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            tell(&mut change.removed, &mut change.more, name);
        }
        change
    }
}

fn tell(names: &mut Vec<String>, more: &mut usize, name: &str) {
    if names.len() == TOLD {
        *more += 1;
        return;
    }
    let end = name.floor_char_boundary(LONGEST);
    let start = name.get(..end).unwrap_or_default();
    names.push(if end < name.len() { format!("{start}..") } else { start.to_owned() });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use serde_json::value::RawValue;

    use super::{Drift, LONGEST, TOLD};
    use crate::catalog::Kind;

    fn raw(json: &str) -> Arc<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap().into()
    }

    fn tools(names: &[&str]) -> Vec<Arc<RawValue>> {
        names.iter().map(|name| raw(&json!({ "name": name }).to_string())).collect()
    }

    #[test]
    fn what_is_new_gone_and_other_is_told_by_name() {
        let (before, mut after) = (tools(&["a", "b", "c"]), tools(&["d", "c"]));
        after.push(raw(r#"{"name":"b", "description":"x"}"#));
        let drift = Drift::default().and(Kind::Tool, &before, &after).and(Kind::Prompt, &before, &before);
        let told = json!({"tool": {"added": ["d"], "removed": ["a"], "changed": ["b"], "more": 0, "emptied": false}});
        assert_eq!(serde_json::to_value(&drift).unwrap(), told);
        assert_eq!(drift.to_string(), "tools: +d -a ~b");
        assert_eq!(drift.emptied().count(), 0);
    }

    #[test]
    fn another_order_is_no_difference_and_nothing_left_is_one() {
        let drift = Drift::default().and(Kind::Tool, &tools(&["a", "b"]), &tools(&["b", "a"]));
        assert!(drift.is_empty());
        let resource = [raw(r#"{"uri":"a://b"}"#)];
        let drift = drift.and(Kind::Tool, &tools(&["a"]), &[]).and(Kind::Resource, &resource, &[]);
        assert_eq!(drift.to_string(), "tools: -a (none is left); resources: -a://b (none is left)");
        assert_eq!(drift.emptied().collect::<Vec<_>>(), [Kind::Tool, Kind::Resource]);
        assert_eq!(Drift::default().and(Kind::Tool, &[], &tools(&["a"])).emptied().count(), 0);
    }

    #[test]
    fn of_many_some_are_told_and_none_at_length() {
        let long = "x".repeat(LONGEST * 9);
        let names: Vec<String> = (0..1000).map(|n| format!("{long}{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let told = Drift::default().and(Kind::Tool, &[], &tools(&names));
        let json = serde_json::to_value(&told).unwrap();
        assert_eq!(
            (json["tool"]["added"].as_array().unwrap().len(), &json["tool"]["more"]),
            (TOLD, &json!(1000 - TOLD))
        );
        assert!(told.to_string().len() < (TOLD + 1) * (LONGEST + 10));
    }
}
