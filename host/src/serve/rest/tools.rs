//! The catalog's tools: found, listed, described.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wharf_core::catalog::Tool;
use wharf_core::lifecycle::State as PluginState;

use super::params::{Asked, Names};
use super::{Edge, json};
use crate::route::Failure;
use crate::serve::problem::Answer;

/// How much is told of each tool.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Detail {
    /// Names only.
    Minimal,
    /// And the description.
    #[default]
    Summary,
    /// And the whole definition, as the plugin sent it.
    Full,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    plugin: Option<String>,
    q: Option<String>,
    #[serde(default)]
    detail: Detail,
}

#[derive(Serialize)]
struct Tools<'a> {
    catalog_version: u64,
    tools: Vec<View<'a>>,
}

#[derive(Serialize)]
struct View<'a> {
    plugin: &'a str,
    name: &'a str,
    exposed: &'a str,
    /// Whether a call would find an instance that serves.
    available: bool,
    /// Set if none serves because the plugin sleeps: the call starts it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    on_call: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    definition: Option<&'a RawValue>,
}

pub(super) async fn list(State(edge): State<Edge>, Asked(filter): Asked<Filter>) -> Answer {
    if let Some(plugin) = &filter.plugin
        && edge.host.state_of(plugin).is_none()
    {
        return Err(Failure::no_plugin(plugin).into());
    }
    let catalog = edge.host.catalog();
    let words = words(filter.q.as_deref().unwrap_or_default());
    let tools = catalog
        .tools()
        .filter(|tool| filter.plugin.as_deref().is_none_or(|plugin| plugin == tool.plugin.as_str()))
        .filter(|tool| matches(tool, &words))
        .map(|tool| view(tool, reach(&edge, tool.plugin.as_str()), filter.detail))
        .collect();
    Ok(json(StatusCode::OK, &Tools { catalog_version: catalog.version, tools }))
}

pub(super) async fn one(State(edge): State<Edge>, Names((plugin, name)): Names<(String, String)>) -> Answer {
    let tool = edge.host.tool(&plugin, &name).await?;
    let response: Response =
        json(StatusCode::OK, &view(&tool, reach(&edge, tool.plugin.as_str()), Detail::Full));
    Ok(response)
}

/// Whether a request finds an instance of a plugin that serves, and whether it starts one.
pub(super) fn reach(edge: &Edge, plugin: &str) -> (bool, bool) {
    let available = matches!(edge.host.state_of(plugin), Some(PluginState::Ready | PluginState::Degraded));
    (available, !available && edge.host.starts_on_call(plugin))
}

fn view(tool: &Tool, (available, on_call): (bool, bool), detail: Detail) -> View<'_> {
    let (description, definition) = match detail {
        Detail::Minimal => (None, None),
        Detail::Summary => (tool.description.as_deref(), None),
        Detail::Full => (tool.description.as_deref(), Some(&*tool.definition)),
    };
    let Tool { plugin, name, exposed, .. } = tool;
    View { plugin: plugin.as_str(), name, exposed, available, on_call, description, definition }
}

fn words(q: &str) -> Vec<String> {
    q.split_whitespace().map(str::to_lowercase).collect()
}

/// Every word stands somewhere in the names or in the description.
fn matches(tool: &Tool, words: &[String]) -> bool {
    let text =
        format!("{}\n{}\n{}", tool.exposed, tool.name, tool.description.as_deref().unwrap_or_default());
    let text = text.to_lowercase();
    words.iter().all(|word| text.contains(word.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wharf_core::PluginId;
    use wharf_core::catalog::Tool;
    use wharf_core::hints::Hints;

    use super::{Detail, matches, view, words};

    fn tool() -> Tool {
        Tool {
            plugin: PluginId::new("clock").unwrap(),
            meter: std::sync::Arc::default(),
            name: "now".into(),
            upstream: "get_time".into(),
            exposed: "clock__now".into(),
            description: Some("The current Time".into()),
            definition: serde_json::value::RawValue::from_string("{ \"name\" : \"get_time\" }".into())
                .unwrap()
                .into(),
            hints: Hints::default(),
            made: wharf_core::catalog::Made::default(),
        }
    }

    #[test]
    fn all_words_must_be_found_in_any_case() {
        for (q, found) in
            [("", true), ("TIME", true), ("now current", true), ("now yesterday", false), ("clock__n", true)]
        {
            assert_eq!(matches(&tool(), &words(q)), found, "{q:?}");
        }
    }

    #[test]
    fn the_detail_says_how_much_is_told() {
        let tool = tool();
        let minimal = serde_json::to_value(view(&tool, (true, false), Detail::Minimal)).unwrap();
        assert_eq!(
            minimal,
            json!({"plugin": "clock", "name": "now", "exposed": "clock__now", "available": true})
        );
        let full = serde_json::to_string(&view(&tool, (false, false), Detail::Full)).unwrap();
        assert!(full.contains("\"definition\":{ \"name\" : \"get_time\" }"), "{full}");
        assert!(full.contains("\"available\":false,\"description\":\"The current Time\""), "{full}");
        let asleep = serde_json::to_value(view(&tool, (false, true), Detail::Minimal)).unwrap();
        assert_eq!((&asleep["available"], &asleep["on_call"]), (&json!(false), &json!(true)));
    }
}
