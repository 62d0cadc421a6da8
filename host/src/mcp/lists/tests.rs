//! Pages of a shelf: complete, in order, and bounded.

use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;
use wharf_core::PluginId;
use wharf_core::catalog::{Catalog, Face, Kind, Offer, Shelf, Tool};
use wharf_core::hints::Hints;
use wharf_plugin_api::Era;

use super::{PAGE_BYTES, PAGE_ENTRIES, decode, encode, kind, page};

fn raw(json: &str) -> Arc<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap().into()
}

fn tool(name: &str, definition: &str) -> Arc<Tool> {
    Arc::new(Tool {
        plugin: PluginId::new("p").unwrap(),
        meter: Arc::default(),
        name: name.to_owned(),
        upstream: name.to_owned(),
        exposed: name.to_owned(),
        description: None,
        definition: raw(definition),
        hints: Hints::default(),
        made: wharf_core::catalog::Made::default(),
    })
}

fn shelf(tools: Vec<Arc<Tool>>) -> Arc<Shelf> {
    let offer = Offer {
        plugin: PluginId::new("p").unwrap(),
        groups: Default::default(),
        namespace: String::new(),
        era: Era::Legacy,
        tools,
        others: Vec::new(),
    };
    Arc::clone(Catalog::new(1, &[offer]).shelf(&Face::All).unwrap())
}

fn numbered(count: usize, filler: &str) -> Arc<Shelf> {
    let one = |n: usize| {
        let name = format!("t{n:04}");
        tool(&name, &format!(r#"{{"name":"{name}","x":1.0,"fill":"{filler}"}}"#))
    };
    shelf((0..count).map(one).collect())
}

/// Names over all pages, and how many pages.
fn walk(shelf: &Shelf) -> (Vec<String>, usize) {
    let (mut names, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let result = page(shelf, Era::Legacy, Kind::Tool, cursor.as_deref()).unwrap();
        let value: Value = serde_json::from_str(result.get()).unwrap();
        let entries = value["tools"].as_array().unwrap();
        assert!(entries.len() <= PAGE_ENTRIES && !entries.is_empty());
        names.extend(entries.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()));
        pages += 1;
        match value.get("nextCursor") {
            Some(next) => cursor = Some(next.as_str().unwrap().to_owned()),
            None => return (names, pages),
        }
    }
}

#[test]
fn pages_hold_every_entry_once_in_order() {
    for count in [1, PAGE_ENTRIES, PAGE_ENTRIES + 1, 3 * PAGE_ENTRIES] {
        let (names, pages) = walk(&numbered(count, ""));
        let expected: Vec<_> = (0..count).map(|n| format!("t{n:04}")).collect();
        assert_eq!(names, expected);
        assert_eq!(pages, count.div_ceil(PAGE_ENTRIES));
    }
}

#[test]
fn a_page_is_bounded_in_bytes_and_one_large_entry_still_passes() {
    let (names, pages) = walk(&numbered(5, &"x".repeat(PAGE_BYTES / 2)));
    assert_eq!((names.len(), pages), (5, 5));
    let (names, pages) = walk(&numbered(2, &"x".repeat(2 * PAGE_BYTES)));
    assert_eq!((names.len(), pages), (2, 2));
}

#[test]
fn an_entry_is_listed_as_it_came() {
    let definition = r#"{ "name":"a" , "n":1e2,"annotations":{"vendorHint":1.0}}"#;
    let shelf = shelf(vec![tool("a", definition)]);
    let legacy = page(&shelf, Era::Legacy, Kind::Tool, None).unwrap();
    assert_eq!(legacy.get(), format!("{{\"tools\":[{definition}]}}"));
    let modern = page(&shelf, Era::Modern, Kind::Tool, None).unwrap();
    let value: Value = serde_json::from_str(modern.get()).unwrap();
    assert_eq!(
        (&value["resultType"], &value["ttlMs"], &value["cacheScope"]),
        (&"complete".into(), &0.into(), &"private".into())
    );
    let none = page(&Shelf::default(), Era::Legacy, Kind::Template, None).unwrap();
    assert_eq!(none.get(), r#"{"resourceTemplates":[]}"#);
}

#[test]
fn what_needs_a_task_is_shown_where_tasks_pass() {
    let shelf = shelf(vec![
        tool("a", r#"{"name":"a","execution":{"taskSupport":"required"}}"#),
        tool("b", r#"{"name":"b","execution":{"taskSupport":"optional"}}"#),
    ]);
    let names = |era| {
        let value: Value = serde_json::from_str(page(&shelf, era, Kind::Tool, None).unwrap().get()).unwrap();
        value["tools"].as_array().unwrap().len()
    };
    assert_eq!((names(Era::Legacy), names(Era::Modern)), (2, 1));
}

#[test]
fn that_a_tool_takes_tasks_is_told_to_nobody_of_the_other_era() {
    let shelf = shelf(vec![
        tool("a", r#"{"name":"a","execution":{"taskSupport":"optional"},"x":1.0}"#),
        tool("b", r#"{"name":"b","execution":{"vendor":1.0,"taskSupport":"forbidden"}}"#),
    ]);
    let listed = |era| page(&shelf, era, Kind::Tool, None).unwrap().get().to_owned();
    assert!(listed(Era::Legacy).contains(r#""execution":{"taskSupport":"optional"},"x":1.0}"#));
    let modern = listed(Era::Modern);
    let expected = r#"{"tools":[{"name":"a","x":1.0},{"name":"b","execution":{"vendor":1.0}}],"#;
    assert!(modern.starts_with(expected), "{modern}");
}

#[test]
fn a_cursor_of_nothing_is_refused() {
    let shelf = numbered(3, "");
    let of_another_list = encode(Kind::Prompt, "t0000");
    let gone = encode(Kind::Tool, "t9999");
    for cursor in ["", "t", "x", "tzz", "t7", "t00ff", of_another_list.as_str(), gone.as_str()] {
        let refused = page(&shelf, Era::Legacy, Kind::Tool, Some(cursor)).unwrap_err();
        assert_eq!(refused.code, -32602, "{cursor}");
    }
    assert!(page(&shelf, Era::Legacy, Kind::Tool, Some(&encode(Kind::Tool, "t0000"))).is_ok());
}

#[test]
fn cursors_hold_any_key() {
    for key in ["", "a", "x://é/{id}?q=\"1\"", "\u{0}"] {
        assert_eq!(decode(Kind::Resource, &encode(Kind::Resource, key)).as_deref(), Some(key));
    }
    assert_eq!(kind("resources/templates/list"), Some(Kind::Template));
    assert_eq!(kind("tools/call"), None);
}
