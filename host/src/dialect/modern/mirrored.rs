//! The arguments of tools that go into headers too: what the tools' schemas say about it, learned from the lists that pass.
//!
//! A tool whose schema says it wrongly is of no use over HTTP, where its calls could not be sent as the server expects: it
//! is taken out of the list, and the plugin's log says why.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use wharf_core::splice;
use wharf_plugin_api::Request;

use super::headers;

/// The keyword.
const KEYWORD: &str = "x-mcp-header";
/// Tools with such arguments that are remembered; far above what the host lists of one plugin.
const MAX_TOOLS: usize = 4096;
/// Such arguments of one tool: each is a header of every call.
const MAX_ARGUMENTS: usize = 64;
/// Tools in a page of a list.
const MAX_PAGE: usize = 65_536;
/// Keywords whose value is data and no schema.
const DATA: [&str; 4] = ["const", "default", "enum", "examples"];

/// What is known of the tools of one connection.
#[derive(Default)]
pub(crate) struct Mirrored(Mutex<HashMap<String, Arc<[Argument]>>>);

/// An argument that goes into a header.
#[derive(Debug, PartialEq, Eq)]
struct Argument {
    header: HeaderName,
    /// The names of the properties that lead to it.
    path: Vec<String>,
}

/// What a search through a schema has found so far.
#[derive(Default)]
struct Found {
    arguments: Vec<Argument>,
    headers: HashSet<HeaderName>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool<'a> {
    name: String,
    #[serde(borrow)]
    input_schema: Option<&'a RawValue>,
}

impl Mirrored {
    /// Learns from a page of `tools/list`. Gives the page without the tools whose schemas are wrong, and tells of each.
    pub(crate) fn learn(&self, page: Box<RawValue>, tell: impl Fn(&str)) -> Box<RawValue> {
        let tools =
            splice::field(&page, "tools").and_then(|tools| splice::items(tools.get().as_bytes(), MAX_PAGE));
        let Some(tools) = tools else { return page };
        let all = tools.len();
        let kept: Vec<&RawValue> = tools
            .into_iter()
            .filter(|tool| match self.learn_one(tool) {
                Ok(()) => true,
                Err(why) => {
                    tell(&why);
                    false
                }
            })
            .collect();
        if kept.len() == all {
            return page;
        }
        let kept = serde_json::value::to_raw_value(&kept).ok();
        kept.and_then(|kept| splice::with_field(&page, "tools", &kept)).unwrap_or(page)
    }

    /// Puts the arguments of a call that its tool's schema names into the headers. Null and what is absent has none.
    pub(crate) fn put(&self, request: &Request, to: &mut HeaderMap) {
        let Some(params) = request.params.as_deref().filter(|_| request.method == "tools/call") else {
            return;
        };
        if self.tools().is_empty() {
            return;
        }
        let name =
            splice::field(params, "name").and_then(|name| serde_json::from_str::<String>(name.get()).ok());
        let Some(arguments) = name.and_then(|name| self.tools().get(&name).map(Arc::clone)) else { return };
        let start = splice::field(params, "arguments");
        for argument in &*arguments {
            let value = argument.path.iter().fold(start, |value, key| splice::field(value?, key));
            if let Some(value) = value.and_then(headers::value) {
                // As many headers as a map can hold: the server then says which one it misses.
                to.try_insert(argument.header.clone(), value).ok();
            }
        }
    }

    fn learn_one(&self, tool: &RawValue) -> Result<(), String> {
        // What is no tool is the business of whoever reads the list.
        let Ok(Tool { name, input_schema }) = serde_json::from_str::<Tool<'_>>(tool.get()) else {
            return Ok(());
        };
        let schema = input_schema.filter(|schema| may_name(schema.get()));
        let arguments = schema.and_then(|schema| serde_json::from_str::<Value>(schema.get()).ok());
        let arguments = arguments.map_or_else(|| Ok(Vec::new()), |schema| arguments_of(&schema));
        let mut known = self.tools();
        match arguments {
            Ok(arguments) if arguments.is_empty() => drop(known.remove(&name)),
            Ok(_) if known.len() >= MAX_TOOLS && !known.contains_key(&name) => {
                return Err(format!(
                    "the tool {name:?} is not offered: {MAX_TOOLS} others have arguments in headers"
                ));
            }
            Ok(arguments) => drop(known.insert(name, arguments.into())),
            Err(why) => {
                known.remove(&name);
                return Err(format!("the tool {name:?} is not offered: {why}"));
            }
        }
        Ok(())
    }

    fn tools(&self) -> MutexGuard<'_, HashMap<String, Arc<[Argument]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the keyword may stand in a schema. False is certain.
fn may_name(schema: &str) -> bool {
    let find = |needle: &str| memchr::memmem::find(schema.as_bytes(), needle.as_bytes()).is_some();
    // A key may be spelled with escapes.
    find(KEYWORD) || find("\\u")
}

/// The arguments that a schema sends into headers.
fn arguments_of(schema: &Value) -> Result<Vec<Argument>, String> {
    let mut found = Found::default();
    search(schema, Some(&mut Vec::new()), &mut found)?;
    Ok(found.arguments)
}

/// Looks through a schema. `path` leads to it through properties alone; `None` if something else lies between.
fn search(schema: &Value, mut path: Option<&mut Vec<String>>, found: &mut Found) -> Result<(), String> {
    let members = match schema {
        Value::Object(members) => members,
        Value::Array(schemas) => return schemas.iter().try_for_each(|schema| search(schema, None, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return Ok(()),
    };
    if let Some(named) = members.get(KEYWORD) {
        let argument = argument(named, members.get("type"), path.as_deref().map_or(&[], Vec::as_slice))?;
        if !found.headers.insert(argument.header.clone()) {
            return Err(format!("{KEYWORD} {named} stands there twice"));
        }
        if found.arguments.len() >= MAX_ARGUMENTS {
            return Err(format!("more than {MAX_ARGUMENTS} of its arguments have {KEYWORD}"));
        }
        found.arguments.push(argument);
    }
    for (keyword, within) in members {
        match (keyword.as_str(), within) {
            (KEYWORD, _) => {}
            ("properties", Value::Object(properties)) => {
                for (name, property) in properties {
                    match path.as_deref_mut() {
                        Some(path) => {
                            path.push(name.clone());
                            search(property, Some(path), found)?;
                            path.pop();
                        }
                        None => search(property, None, found)?,
                    }
                }
            }
            (keyword, _) if DATA.contains(&keyword) => {}
            // A schema, a list of them, or a map from names to them.
            (_, within) => search(within, None, found)?,
        }
    }
    Ok(())
}

fn argument(named: &Value, kind: Option<&Value>, path: &[String]) -> Result<Argument, String> {
    let token = named.as_str().filter(|name| !name.is_empty());
    let header = token.and_then(|name| HeaderName::from_bytes(format!("mcp-param-{name}").as_bytes()).ok());
    let Some(header) = header else { return Err(format!("{KEYWORD} {named} is no name of a header")) };
    if path.is_empty() {
        return Err(unreachable(named));
    }
    if !matches!(kind.and_then(Value::as_str), Some("string" | "integer" | "boolean")) {
        return Err(format!("{KEYWORD} {named} is on an argument that is no string, integer or boolean"));
    }
    Ok(Argument { header, path: path.to_vec() })
}

fn unreachable(named: &Value) -> String {
    format!("{KEYWORD} {named} is on something that is no property of the arguments")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use http::HeaderMap;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};
    use wharf_plugin_api::Request;

    use super::{MAX_ARGUMENTS, Mirrored, arguments_of};

    fn raw(json: &Value) -> Box<RawValue> {
        RawValue::from_string(json.to_string()).expect("JSON")
    }

    fn tool(name: &str, property: Value) -> Value {
        json!({"name": name, "inputSchema": {"type": "object", "properties": {"p": property}}})
    }

    fn headers(known: &Mirrored, name: &str, arguments: Value) -> Vec<(String, String)> {
        let mut to = HeaderMap::new();
        let params = raw(&json!({"name": name, "arguments": arguments}));
        known.put(&Request { method: "tools/call".into(), params: Some(params.into()) }, &mut to);
        to.iter().map(|(k, v)| (k.to_string(), v.to_str().expect("text").to_owned())).collect()
    }

    #[test]
    fn annotated_arguments_go_into_headers() {
        let known = Mirrored::default();
        let schema = json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
            "ok": {"type": "boolean", "x-mcp-header": "Method"},
            "x-mcp-header": {"type": "string"},
        }});
        let page = raw(&json!({"tools": [{"name": "t", "inputSchema": schema}]}));
        let kept = known.learn(page.clone(), |why| panic!("{why}"));
        assert_eq!(kept.get(), page.get());
        let sent =
            headers(&known, "t", json!({"region": "ü", "deep": {"n": 42}, "ok": true, "x-mcp-header": "s"}));
        let expected =
            [("mcp-param-method", "true"), ("mcp-param-n", "42"), ("mcp-param-region", "=?base64?w7w=?=")];
        let mut sent: Vec<_> = sent.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        sent.sort_unstable();
        assert_eq!(sent, expected);
        assert_eq!(headers(&known, "t", json!({"region": null})), []);
        assert_eq!(headers(&known, "u", json!({"region": "x"})), []);
        known.learn(raw(&json!({"tools": [tool("t", json!({"type": "string"}))]})), |why| panic!("{why}"));
        assert_eq!(headers(&known, "t", json!({"region": "x"})), [], "the newest list counts");
    }

    #[test]
    fn tools_with_wrong_annotations_are_taken_out_and_told() {
        let bad = [
            json!({"type": "string", "x-mcp-header": ""}),
            json!({"type": "string", "x-mcp-header": 7}),
            json!({"type": "string", "x-mcp-header": "My Region"}),
            json!({"type": "string", "x-mcp-header": "a:b"}),
            json!({"type": "string", "x-mcp-header": "Größe"}),
            json!({"type": "string", "x-mcp-header": "a\u{7}"}),
            json!({"type": "number", "x-mcp-header": "A"}),
            json!({"type": "object", "x-mcp-header": "A"}),
            json!({"x-mcp-header": "A"}),
            json!({"type": "object", "properties": {
                "a": {"type": "string", "x-mcp-header": "Same"}, "b": {"type": "string", "x-mcp-header": "same"}}}),
            json!({"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}),
            json!({"anyOf": [{"type": "string", "x-mcp-header": "A"}]}),
            json!({"type": "array", "items": {"properties": {"q": {"type": "string", "x-mcp-header": "A"}}}}),
        ];
        for property in bad {
            let known = Mirrored::default();
            let told = RefCell::new(Vec::new());
            let page = json!({"tools": [tool("bad", property.clone()), tool("good", json!({"type": "string"}))], "x": 1});
            let kept = known.learn(raw(&page), |why| told.borrow_mut().push(why.to_owned()));
            let kept: Value = serde_json::from_str(kept.get()).expect("JSON");
            assert_eq!(
                kept,
                json!({"tools": [tool("good", json!({"type": "string"}))], "x": 1}),
                "{property}"
            );
            assert!(told.borrow().len() == 1 && told.borrow()[0].contains("\"bad\""), "{told:?}");
        }
        let root = json!({"type": "object", "x-mcp-header": "A"});
        assert!(arguments_of(&root).is_err());
        let defs = json!({"$defs": {"d": {"type": "string", "x-mcp-header": "A"}}});
        assert!(arguments_of(&defs).is_err());
    }

    #[test]
    fn a_tool_with_too_many_headers_is_not_offered() {
        let schema = |n: usize| {
            let property = |n| (format!("p{n}"), json!({"type": "string", "x-mcp-header": format!("H{n}")}));
            json!({"type": "object", "properties": (0..n).map(property).collect::<serde_json::Map<_, _>>()})
        };
        assert_eq!(arguments_of(&schema(MAX_ARGUMENTS)).map(|found| found.len()), Ok(MAX_ARGUMENTS));
        let known = Mirrored::default();
        let told = RefCell::new(Vec::new());
        let page = json!({"tools": [{"name": "big", "inputSchema": schema(MAX_ARGUMENTS + 1)}]});
        let kept = known.learn(raw(&page), |why| told.borrow_mut().push(why.to_owned()));
        assert_eq!(kept.get(), r#"{"tools":[]}"#);
        assert!(told.borrow()[0].contains("\"big\"") && told.borrow()[0].contains("64"), "{told:?}");
    }

    #[test]
    fn data_is_no_schema() {
        for data in [json!({"default": {"x-mcp-header": ""}}), json!({"examples": [{"x-mcp-header": ""}]})] {
            assert_eq!(arguments_of(&json!({"properties": {"p": data}})), Ok(Vec::new()));
        }
    }

    #[test]
    fn what_is_no_list_passes() {
        let known = Mirrored::default();
        for page in [json!({}), json!({"tools": 7}), json!({"tools": [7, {"name": 7}]}), json!([])] {
            let page = raw(&page);
            assert_eq!(known.learn(page.clone(), |why| panic!("{why}")).get(), page.get());
        }
    }
}
