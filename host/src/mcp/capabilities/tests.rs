//! What clients are told about a face.

use std::sync::Arc;

use serde_json::{Value, json};
use wharf_core::PluginId;
use wharf_plugin_api::{Era, Hello, RawValue};

use super::{INSTRUCTIONS, of_one, of_several};

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn hello(revision: &str, capabilities: &str, instructions: Option<&str>) -> Hello {
    Hello {
        dialect: "stdio",
        revision: revision.to_owned(),
        server_info: Some(raw(r#"{"name":"theirs","version":"1","x":1.0}"#)),
        capabilities: Some(raw(capabilities)),
        instructions: instructions.map(ToOwned::to_owned),
    }
}

fn value(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap()
}

#[test]
fn one_plugin_speaks_in_its_own_words() {
    let given = r#"{"tools":{},"vendor":{"n":1.0},"tasks":{"list":{}},"experimental":{"a":{}}}"#;
    let told = of_one(&hello("2025-11-25", given, Some("use it")), Era::Legacy);
    assert_eq!(told.capabilities.get(), given.replace(r#""tools":{}"#, r#""tools":{"listChanged":true}"#));
    assert_eq!(told.server_info.get(), r#"{"name":"theirs","version":"1","x":1.0}"#);
    assert_eq!(told.instructions.as_deref(), Some("use it"));
}

#[test]
fn tasks_do_not_cross_between_the_eras() {
    let legacy = hello("2025-11-25", r#"{"tasks":{"list":{}},"completions":{}}"#, None);
    assert_eq!(value(&of_one(&legacy, Era::Modern).capabilities), json!({ "completions": {} }));
    let given =
        r#"{"extensions":{"io.modelcontextprotocol/tasks":{},"io.modelcontextprotocol/ui":{}},"logging":{}}"#;
    let modern = hello("2026-07-28", given, None);
    assert_eq!(of_one(&modern, Era::Modern).capabilities.get(), given);
    let expected = json!({ "extensions": { "io.modelcontextprotocol/ui": {} }, "logging": {} });
    assert_eq!(value(&of_one(&modern, Era::Legacy).capabilities), expected);
}

#[test]
fn several_plugins_declare_what_the_host_carries() {
    let id = |name| PluginId::new(name).unwrap();
    let legacy = Arc::new(hello("2025-11-25", r#"{"tasks":{}}"#, None));
    let modern = Arc::new(hello("2026-07-28", r#"{"extensions":{"v/x":{"n":1}}}"#, None));
    let both = [(id("a"), legacy), (id("b"), modern)];
    let to_legacy = value(&of_several(&both, Era::Legacy).capabilities);
    assert_eq!(to_legacy["resources"], json!({ "subscribe": true, "listChanged": true }));
    assert!(to_legacy.get("tasks").is_some() && to_legacy.get("extensions").is_none());
    let to_modern = value(&of_several(&both, Era::Modern).capabilities);
    assert_eq!(to_modern["extensions"], json!({ "v/x": { "n": 1 } }));
    assert!(to_modern.get("tasks").is_none());
    assert_eq!(value(&of_several(&[], Era::Legacy).server_info)["name"], "wharf");
}

#[test]
fn instructions_are_joined_with_their_names_within_a_bound() {
    let id = |name| PluginId::new(name).unwrap();
    let of = |text: &str| Arc::new(hello("2025-11-25", "{}", Some(text)));
    let all = [
        (id("a"), of("one\n")),
        (id("big"), of(&"x".repeat(INSTRUCTIONS))),
        (id("c"), of("three")),
        (id("d"), of(" ")),
    ];
    let told = of_several(&all, Era::Legacy).instructions.unwrap();
    assert_eq!(told, "## a\n\none\n\n## c\n\nthree\n\n(The instructions of big are too long to stand here.)");
    assert_eq!(of_several(&[], Era::Legacy).instructions, None);
}
