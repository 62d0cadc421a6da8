//! The catalog's prompts and resources: listed as their plugins list them.

use std::collections::HashMap;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wharf_core::catalog::{Catalog, Face, Kind};

use super::params::Asked;
use super::tools::reach;
use super::{Edge, json};
use crate::route::Failure;
use crate::serve::problem::Answer;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    plugin: Option<String>,
}

#[derive(Serialize)]
struct Prompts<'a> {
    catalog_version: u64,
    prompts: Vec<View<'a>>,
}

#[derive(Serialize)]
struct Resources<'a> {
    catalog_version: u64,
    resources: Vec<View<'a>>,
    templates: Vec<View<'a>>,
}

#[derive(Serialize)]
struct View<'a> {
    plugin: &'a str,
    /// Its name, URI or URI template at the plugin.
    name: &'a str,
    /// The same where all plugins are seen; absent if several plugins share it and it is offered for none.
    exposed: Option<&'a str>,
    /// Whether a request would find an instance that serves.
    available: bool,
    /// Set if none serves because the plugin sleeps: the request starts it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    on_call: bool,
    definition: &'a RawValue,
}

pub(super) async fn prompts(State(edge): State<Edge>, Asked(filter): Asked<Filter>) -> Answer {
    let catalog = known(&edge, &filter)?;
    let prompts = views(&edge, &catalog, Kind::Prompt, &filter);
    Ok(json(StatusCode::OK, &Prompts { catalog_version: catalog.version, prompts }))
}

pub(super) async fn resources(State(edge): State<Edge>, Asked(filter): Asked<Filter>) -> Answer {
    let catalog = known(&edge, &filter)?;
    let resources = views(&edge, &catalog, Kind::Resource, &filter);
    let templates = views(&edge, &catalog, Kind::Template, &filter);
    Ok(json(StatusCode::OK, &Resources { catalog_version: catalog.version, resources, templates }))
}

/// The catalog, if the plugin that is asked for exists.
fn known(edge: &Edge, filter: &Filter) -> Result<std::sync::Arc<Catalog>, Failure> {
    match &filter.plugin {
        Some(plugin) if edge.host.state_of(plugin).is_none() => Err(Failure::no_plugin(plugin)),
        Some(_) | None => Ok(edge.host.catalog()),
    }
}

fn views<'a>(edge: &Edge, catalog: &'a Catalog, kind: Kind, filter: &Filter) -> Vec<View<'a>> {
    let wanted = |id: &str| filter.plugin.as_deref().is_none_or(|plugin| plugin == id);
    let exposed = exposed(catalog, kind);
    let mut views = Vec::new();
    for plugin in catalog.plugins().iter().filter(|plugin| wanted(plugin.as_str())) {
        let (available, on_call) = reach(edge, plugin.as_str());
        let items = catalog.shelf(&Face::Plugin(plugin.clone())).map_or(&[][..], |shelf| shelf.items(kind));
        views.extend(items.iter().map(|item| View {
            plugin: item.plugin.as_str(),
            name: &item.own,
            exposed: exposed.get(&(item.plugin.as_str(), item.upstream.as_str())).copied(),
            available,
            on_call,
            definition: &item.definition,
        }));
    }
    views
}

/// By plugin and key at the plugin, the key where all plugins are seen.
fn exposed(catalog: &Catalog, kind: Kind) -> HashMap<(&str, &str), &str> {
    let items = catalog.shelf(&Face::All).map_or(&[][..], |shelf| shelf.items(kind));
    items.iter().map(|item| ((item.plugin.as_str(), item.upstream.as_str()), item.key.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use wharf_core::PluginId;
    use wharf_core::catalog::{Catalog, Kind, Offer};
    use wharf_plugin_api::Era;

    use super::exposed;

    #[test]
    fn what_is_offered_for_none_has_no_exposed_name() {
        let offer = |id: &str, namespace: &str, prompt: &str| Offer {
            plugin: PluginId::new(id).unwrap(),
            groups: Default::default(),
            namespace: namespace.to_owned(),
            era: Era::Legacy,
            tools: Vec::new(),
            others: [(Kind::Prompt, prompt), (Kind::Prompt, "own")]
                .map(|(kind, name)| {
                    let definition = serde_json::json!({ "name": name }).to_string();
                    (kind, serde_json::value::RawValue::from_string(definition).unwrap().into())
                })
                .into(),
        };
        let catalog = Catalog::new(1, &[offer("a", "x", "y__p"), offer("b", "x__y", "p")]);
        let exposed = exposed(&catalog, Kind::Prompt);
        assert_eq!(exposed.get(&("a", "own")), Some(&"x__own"));
        assert_eq!(exposed.get(&("a", "y__p")), None);
        assert_eq!(exposed.len(), 2);
    }
}
