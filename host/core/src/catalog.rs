//! The merged, immutable picture of what all plugins offer. A call is resolved by one look-up in it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::id::PluginId;

/// What all plugins offer, at one moment. Replaced as a whole, never changed.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Grows by one with each replacement.
    pub version: u64,
    /// Whose lists are in it, those without tools included.
    plugins: BTreeSet<PluginId>,
    tools: Vec<Arc<Tool>>,
    by_name: HashMap<PluginId, HashMap<String, Arc<Tool>>>,
}

/// A tool as it is offered.
#[derive(Debug)]
pub struct Tool {
    /// Whose it is.
    pub plugin: PluginId,
    /// Under which name it is offered (after `rename`); unique within its plugin.
    pub name: String,
    /// Its name at the plugin.
    pub upstream: String,
    /// `<namespace>__<name>`, or the name alone where the namespace is empty.
    pub exposed: String,
    /// What it does, in the plugin's words.
    pub description: Option<String>,
    /// The whole definition, byte for byte as the plugin sent it.
    pub definition: Arc<RawValue>,
}

// === impl Catalog ===

impl Catalog {
    /// A catalog of these plugins' tools. Their order is kept.
    pub fn new(
        version: u64,
        plugins: BTreeSet<PluginId>,
        tools: impl IntoIterator<Item = Arc<Tool>>,
    ) -> Self {
        let mut out = Self { version, plugins, ..Self::default() };
        for tool in tools {
            out.by_name.entry(tool.plugin.clone()).or_default().insert(tool.name.clone(), Arc::clone(&tool));
            out.tools.push(tool);
        }
        out
    }

    /// All tools, by plugin and then in the order in which the plugin lists them.
    pub fn tools(&self) -> impl Iterator<Item = &Arc<Tool>> {
        self.tools.iter()
    }

    /// The tool that `plugin` offers under `name`.
    #[must_use]
    pub fn tool(&self, plugin: &str, name: &str) -> Option<&Arc<Tool>> {
        self.by_name.get(plugin)?.get(name)
    }

    /// Whose lists are in it.
    #[must_use]
    pub fn plugins(&self) -> &BTreeSet<PluginId> {
        &self.plugins
    }

    /// The tools of one plugin.
    pub fn tools_of<'a>(&'a self, plugin: &'a str) -> impl Iterator<Item = &'a Arc<Tool>> {
        self.tools.iter().filter(move |tool| tool.plugin.as_str() == plugin)
    }
}
