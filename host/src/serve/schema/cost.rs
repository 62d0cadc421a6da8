//! What a validation may cost, told before it is begun: a schema is a program of the plugin's, and references make a short
//! one long. Pure: no tool, no clock.
//!
//! All figures are bounds from above. What is over a bound, or cannot be told, is not usable.

use serde_json::Value;

/// The most steps of a schema with all references written out.
const STEPS: u64 = 50_000;
/// The deepest that references and keywords nest, and the deepest product with the depth of the arguments: it is stack.
const DEPTH: usize = 128;
const STACK: usize = 2_000;
/// Arguments that would cost more are left to the plugin.
const MOST_WORK: u64 = 1_000_000_000;
/// Keywords whose schemas look at the same value again.
const SAME_VALUE: [&str; 9] =
    ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"];
/// Keywords whose members are named by the author, and are no keywords.
const MAPS: [&str; 4] = ["properties", "patternProperties", "dependentSchemas", "dependencies"];
/// Keywords that only hold schemas for references.
const HOLDERS: [&str; 2] = ["$defs", "definitions"];
/// References that mean what the value at hand makes of them.
const LATE: [&str; 2] = ["$dynamicRef", "$recursiveRef"];
/// Names that change what references mean, but at the root.
const BASES: [&str; 3] = ["$id", "id", "$schema"];

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Root,
    Schema,
    Map,
}

/// The bounds of one schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// Places of the schema with all references written out; one that leads back into itself is written once.
    steps: u64,
    /// In how many places it leads back into itself.
    turns: u64,
    depth: usize,
}

/// The bounds of a schema, or why it has none.
pub(super) fn of(schema: &Value) -> Result<Cost, &'static str> {
    let mut walk = Walk { root: schema, cost: Cost { steps: 0, turns: 0, depth: 0 }, open: Vec::new() };
    walk.schema(schema, 0, Place::Root)?;
    Ok(walk.cost)
}

impl Cost {
    /// The most steps that these arguments can take; `None` if they are too many, or too deep.
    pub(super) fn work(&self, arguments: &Value) -> Option<u64> {
        let (count, depth) = measure(arguments);
        let again = if self.turns > 1 {
            self.turns.saturating_pow(u32::try_from(depth).unwrap_or(u32::MAX))
        } else {
            1
        };
        let levels = if self.turns > 0 { depth + 1 } else { 1 };
        let work = self.steps.saturating_mul(count).saturating_mul(again);
        (work <= MOST_WORK && self.depth.saturating_mul(levels) <= STACK).then_some(work)
    }
}

/// Values and levels below this one, itself included.
fn measure(value: &Value) -> (u64, usize) {
    let add = |(count, depth): (u64, usize), value| {
        let (more, deep) = measure(value);
        (count + more, depth.max(deep))
    };
    let (count, depth) = match value {
        Value::Array(items) => items.iter().fold((0, 0), add),
        Value::Object(members) => members.values().fold((0, 0), add),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (0, 0),
    };
    (count + 1, depth + 1)
}

struct Walk<'a> {
    root: &'a Value,
    cost: Cost,
    /// The references that are being written out, and how often the value had been descended into at each.
    open: Vec<(&'a Value, usize)>,
}

impl<'a> Walk<'a> {
    /// Counts a value of the schema. It stops at the bound, so that the walk itself is bounded.
    fn step(&mut self, times: u64) -> Result<(), &'static str> {
        self.cost.steps = self.cost.steps.saturating_add(times);
        if self.cost.steps > STEPS { Err("its references multiply beyond the bound") } else { Ok(()) }
    }

    /// `descents`: how many levels below the arguments' root it looks.
    fn schema(&mut self, at: &'a Value, descents: usize, place: Place) -> Result<(), &'static str> {
        self.step(1)?;
        self.cost.depth = self.cost.depth.max(self.open.len());
        let before = self.cost.steps;
        match at {
            Value::Object(members) => {
                self.open.push((at, descents));
                if self.open.len() > DEPTH {
                    return Err("it is nested too deeply");
                }
                for (key, value) in members {
                    match place {
                        Place::Root | Place::Schema => self.member(key, value, descents, place)?,
                        Place::Map => self.schema(value, descents, Place::Schema)?,
                    }
                }
                self.open.pop();
            }
            Value::Array(items) => {
                for item in items {
                    self.schema(item, descents, Place::Schema)?;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        if at.get("unevaluatedProperties").or_else(|| at.get("unevaluatedItems")).is_some() {
            // To know what is left over, all beside it is looked at again.
            self.step((self.cost.steps - before).saturating_mul(2))?;
        }
        Ok(())
    }

    fn member(
        &mut self,
        key: &str,
        value: &'a Value,
        descents: usize,
        place: Place,
    ) -> Result<(), &'static str> {
        if let Some(text) = value.as_str() {
            if key == "$ref" {
                return self.reference(text, descents);
            }
            if LATE.contains(&key) || (BASES.contains(&key) && place != Place::Root) {
                return Err("what its references mean depends on more than their places");
            }
        }
        if value.is_object() && HOLDERS.contains(&key) {
            return Ok(());
        }
        let next = if MAPS.contains(&key) { Place::Map } else { Place::Schema };
        let deeper = usize::from(!SAME_VALUE.contains(&key));
        self.schema(value, descents + deeper, next)
    }

    fn reference(&mut self, target: &str, descents: usize) -> Result<(), &'static str> {
        let target = resolve(self.root, target).ok_or("it refers to something that is not in it")?;
        if let Some((_, then)) = self.open.iter().find(|(open, _)| std::ptr::eq(*open, target)) {
            if *then == descents {
                return Err("it refers to itself without an end");
            }
            self.cost.turns += 1;
            return self.step(1);
        }
        self.schema(target, descents, Place::Schema)
    }
}

/// What stands at `#/a/b`. Nothing else is followed: no anchors, no other documents.
fn resolve<'a>(root: &'a Value, target: &str) -> Option<&'a Value> {
    let pointer = percent_decoded(target.strip_prefix('#')?)?;
    root.pointer(&pointer)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut out = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        out.push(u8::from_str_radix(digits, 16).ok()?);
        out.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Cost, MOST_WORK, of};

    /// `a0` .. `an`, each of which names the one before it twice.
    fn fan_out(n: usize) -> Value {
        let mut defs = serde_json::Map::new();
        defs.insert("a0".into(), json!({"type": "string"}));
        for n in 1..=n {
            let before = json!({"$ref": format!("#/$defs/a{}", n - 1)});
            defs.insert(format!("a{n}"), json!({"allOf": [before, before]}));
        }
        json!({"$ref": format!("#/$defs/a{n}"), "$defs": defs})
    }

    #[test]
    fn what_multiplies_is_refused() {
        assert!(of(&fan_out(5)).is_ok());
        let in_values = json!({
            "$defs": {"s": {"type": "object"}, "t": {"properties": {"a": {"$ref": "#/$defs/s"}}}},
            "items": (0..100).map(|_| json!({"$ref": "#/$defs/t"})).collect::<Vec<_>>(),
        });
        assert!(of(&in_values).is_ok());
        for n in [20, 40, 1000] {
            assert!(of(&fan_out(n)).is_err(), "{n}");
        }
        let mut nested = json!({"type": "object"});
        for _ in 0..20 {
            nested = json!({"unevaluatedProperties": false, "allOf": [nested]});
        }
        assert!(of(&nested).is_err());
    }

    #[test]
    fn what_has_no_end_or_no_bottom_is_refused() {
        let chain = (1..3000).map(|n| (format!("a{n}"), json!({"$ref": format!("#/$defs/a{}", n - 1)})));
        let mut chain: serde_json::Map<String, Value> = chain.collect();
        chain.insert("a0".into(), json!({}));
        for endless in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"not": {"$ref": "#"}}]}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}),
            json!({"$ref": "#/$defs/a2999", "$defs": chain}),
            json!({"$ref": "#/$defs/none"}),
            json!({"$ref": "other.json"}),
            json!({"items": {"$dynamicRef": "#x"}}),
            json!({"properties": {"$defs": {"$ref": "#/properties/$defs"}}}),
            json!({"$defs": {"x": {}}, "items": {"$id": "http://x/", "$ref": "#/$defs/x"}}),
        ] {
            assert!(of(&endless).is_err(), "{endless}");
        }
    }

    #[test]
    fn a_schema_that_leads_back_into_itself_is_weighed_with_the_arguments() {
        let list = json!({"properties": {"next": {"$ref": "#"}}});
        let tree = json!({"properties": {"l": {"$ref": "#"}, "r": {"$ref": "#"}}});
        let (list, tree) = (of(&list).unwrap(), of(&tree).unwrap());
        let nested = |levels| (0..levels).fold(json!({}), |inner, _| json!({"next": inner}));
        assert!(list.work(&nested(100)).is_some());
        assert!(tree.work(&nested(10)).is_some());
        assert_eq!(tree.work(&nested(100)), None, "2^100");
        let wide = json!(vec![0; 1000]);
        assert_eq!(list.work(&wide), Some(list.steps * 1001));
        assert_eq!(Cost { steps: MOST_WORK, ..list }.work(&wide), None);
    }

    #[test]
    fn names_of_properties_are_no_keywords() {
        let schema = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "http://x/y",
            "properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}, "a b": {"type": "string"}},
            "items": {"$ref": "#/properties/a%20b"}});
        assert!(of(&schema).is_ok());
    }
}
