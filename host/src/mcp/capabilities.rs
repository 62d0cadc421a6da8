//! What we say of ourselves to a client of a face: capabilities, name, instructions.
//!
//! The face of one plugin speaks in that plugin's own words, but for what the host does itself. A face of several declares
//! what the host can carry, whoever stands behind it now: plugins come and go while a session lasts.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};
use wharf_core::catalog::Face;
use wharf_core::{PluginId, splice};
use wharf_plugin_api::{Era, Hello, RpcError};

use super::failure;
use crate::Host;

/// The instructions of several plugins together, at most: clients put them into every prompt.
const INSTRUCTIONS: usize = 16 << 10;
/// The tasks of the modern extension.
const TASKS: &str = "io.modelcontextprotocol/tasks";

/// What a face says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Introduction {
    /// `ServerCapabilities`
    pub(crate) capabilities: Box<RawValue>,
    /// `serverInfo`
    pub(crate) server_info: Box<RawValue>,
    /// `instructions`
    pub(crate) instructions: Option<String>,
}

/// What a client of this era is told about a face. Waits for the one plugin of a face, if it is on its way up.
///
/// # Errors
/// If the one plugin of the face is not available.
pub(crate) async fn introduce(host: &Host, face: &Face, era: Era) -> Result<Introduction, RpcError> {
    if let Face::Plugin(plugin) = face {
        host.listed(plugin).await.map_err(|failure| failure::error(&failure))?;
        if let Some(hello) = host.hello(plugin) {
            return Ok(of_one(&hello, era));
        }
    }
    let catalog = host.catalog();
    let plugins = catalog.shelf(face).map(|shelf| shelf.plugins.clone()).unwrap_or_default();
    let hellos: Vec<_> =
        plugins.into_iter().filter_map(|(plugin, _)| Some((plugin.clone(), host.hello(&plugin)?))).collect();
    Ok(of_several(&hellos, era))
}

/// Who the host is.
pub(crate) fn own_info() -> Box<RawValue> {
    raw(&json!({ "name": "wharf", "version": env!("CARGO_PKG_VERSION") }))
}

fn of_one(hello: &Hello, era: Era) -> Introduction {
    let given = hello.capabilities.clone().unwrap_or_else(|| raw(&json!({})));
    let mut capabilities = given;
    for key in ["tools", "prompts", "resources"] {
        // The host itself reads the lists again and tells their changes, whether the plugin does or not.
        let told = splice::field(&capabilities, key)
            .and_then(|of| splice::with_field(of, "listChanged", RawValue::TRUE))
            .and_then(|of| splice::with_field(&capabilities, key, &of));
        capabilities = told.unwrap_or(capabilities);
    }
    // The host filters by level, so a client may set one.
    if hello.era() == Era::Modern && era == Era::Legacy && splice::field(&capabilities, "logging").is_none() {
        let logging = raw(&json!({}));
        capabilities = splice::with_field(&capabilities, "logging", &logging).unwrap_or(capabilities);
    }
    Introduction {
        capabilities: crossing(capabilities, hello.era(), era),
        server_info: hello.server_info.clone().unwrap_or_else(own_info),
        instructions: hello.instructions.clone(),
    }
}

/// Whether a plugin declares the tasks extension of the modern era.
pub(super) fn has_tasks(capabilities: Option<&RawValue>) -> bool {
    let extensions = capabilities.and_then(|capabilities| splice::field(capabilities, "extensions"));
    extensions.is_some_and(|extensions| splice::field(extensions, TASKS).is_some())
}

/// Without what means nothing, or something else, in the other era: tasks.
fn crossing(capabilities: Box<RawValue>, plugin: Era, client: Era) -> Box<RawValue> {
    if plugin == client {
        return capabilities;
    }
    let bare = splice::without_fields(&capabilities, &["tasks"]).unwrap_or(capabilities);
    let extensions = splice::field(&bare, "extensions")
        .filter(|extensions| splice::field(extensions, TASKS).is_some())
        .and_then(|extensions| splice::without_fields(extensions, &[TASKS]));
    extensions.and_then(|extensions| splice::with_field(&bare, "extensions", &extensions)).unwrap_or(bare)
}

fn of_several(hellos: &[(PluginId, Arc<Hello>)], era: Era) -> Introduction {
    let mut capabilities = json!({
        "tools": { "listChanged": true },
        "prompts": { "listChanged": true },
        "resources": { "subscribe": true, "listChanged": true },
        "logging": {},
        "completions": {},
    });
    let own = |hello: &Hello, key| {
        hello.capabilities.as_deref().and_then(|all| splice::field(all, key)).map(ToOwned::to_owned)
    };
    let same_era: Vec<_> = hellos.iter().filter(|(_, hello)| hello.era() == era).collect();
    match era {
        Era::Legacy if same_era.iter().any(|(_, hello)| own(hello, "tasks").is_some()) => {
            // The list of tasks is none of it: a plugin knows only one client, and would list those of all.
            put(&mut capabilities, "tasks", json!({ "cancel": {}, "requests": { "tools": { "call": {} } } }));
        }
        Era::Modern => {
            let mut all = Map::new();
            for (_, hello) in &same_era {
                let given = own(hello, "extensions").and_then(|raw| serde_json::from_str(raw.get()).ok());
                for (name, value) in given.into_iter().flat_map(|given: Map<_, _>| given) {
                    all.entry(name).or_insert(value);
                }
            }
            if !all.is_empty() {
                put(&mut capabilities, "extensions", Value::Object(all));
            }
        }
        Era::Legacy => {}
    }
    Introduction { capabilities: raw(&capabilities), server_info: own_info(), instructions: joined(hellos) }
}

fn put(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(members) = object {
        members.insert(key.to_owned(), value);
    }
}

/// The instructions of several plugins, each under its name. What does not fit is left out, and that is said.
fn joined(hellos: &[(PluginId, Arc<Hello>)]) -> Option<String> {
    let (mut out, mut omitted) = (String::new(), Vec::new());
    for (plugin, hello) in hellos {
        let Some(text) = hello.instructions.as_deref().filter(|text| !text.trim().is_empty()) else {
            continue;
        };
        if out.len() + text.len() > INSTRUCTIONS {
            omitted.push(plugin.as_str());
            continue;
        }
        write!(out, "## {plugin}\n\n{}\n\n", text.trim_end()).ok();
    }
    if !omitted.is_empty() {
        write!(out, "(The instructions of {} are too long to stand here.)", omitted.join(", ")).ok();
    }
    let out = out.trim_end();
    (!out.is_empty()).then(|| out.to_owned())
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests;
