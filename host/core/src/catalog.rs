//! The merged, immutable picture of what all plugins offer. A call is resolved by one look-up in it.
//!
//! A client sees it through a [`Face`]: all plugins under exposed names, the plugins of one group likewise, or one plugin
//! under its own names. What a face offers is put on a [`Shelf`] when the catalog is made, so that no request builds a list.

mod apart;
pub mod drift;
mod entry;
mod made;
mod shelf;
mod template;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::value::RawValue;
use wharf_plugin_api::Era;

use self::entry::Listed;
pub use self::made::Made;
pub use self::shelf::{Collision, Item, Kind, Owner, Shelf};
use crate::hints::Hints;
use crate::id::PluginId;
use crate::meter::Meter;
use crate::spread::ByName;

/// What all plugins offer, at one moment. Replaced as a whole, never changed.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Grows by one with each replacement.
    pub version: u64,
    /// Whose lists are in it, those without tools included.
    plugins: BTreeSet<PluginId>,
    tools: Vec<Arc<Tool>>,
    by_name: ByName<PluginId, ByName<String, Arc<Tool>>>,
    shelves: BTreeMap<Face, Arc<Shelf>>,
}

/// Which part of the catalog a client sees.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Face {
    /// All plugins, under exposed names.
    All,
    /// The plugins of a group, under exposed names.
    Group(Arc<str>),
    /// One plugin, under its own names.
    Plugin(PluginId),
}

/// What one plugin brings into the catalog.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Whose it is.
    pub plugin: PluginId,
    /// The groups that it belongs to.
    pub groups: BTreeSet<Arc<str>>,
    /// The prefix of exposed names; empty for none.
    pub namespace: String,
    /// How it speaks MCP.
    pub era: Era,
    /// Its tools, in its order.
    pub tools: Vec<Arc<Tool>>,
    /// Its prompts, resources and resource templates, each in its order, as it sent them.
    pub others: Vec<(Kind, Arc<RawValue>)>,
}

/// A tool as it is offered.
#[derive(Debug)]
pub struct Tool {
    /// Whose it is.
    pub plugin: PluginId,
    /// Where its calls are counted; the same from one catalog to the next.
    pub meter: Arc<Meter>,
    /// Under which name it is offered (after `rename`); unique within its plugin.
    pub name: String,
    /// Its name at the plugin.
    pub upstream: String,
    /// Its name beside the tools of other plugins ([`crate::names::exposed`]).
    pub exposed: String,
    /// What it does, in the plugin's words.
    pub description: Option<String>,
    /// The whole definition, byte for byte as the plugin sent it.
    pub definition: Arc<RawValue>,
    /// What that says about running it twice.
    pub hints: Hints,
    /// What an edge has made of it.
    pub made: Made,
}

// === impl Catalog ===

impl Catalog {
    /// A catalog of what these plugins offer, in the order of their ids.
    #[must_use]
    pub fn new(version: u64, offers: &[Offer]) -> Self {
        let mut out = Self { version, ..Self::default() };
        let listed: Vec<Listed> = offers.iter().map(Listed::of).collect();
        let mut faces: BTreeMap<Face, Vec<&Listed>> = BTreeMap::new();
        faces.insert(Face::All, listed.iter().collect());
        for (offer, listed) in offers.iter().zip(&listed) {
            out.plugins.insert(offer.plugin.clone());
            let names = out.by_name.entry(offer.plugin.clone()).or_default();
            for tool in &offer.tools {
                names.insert(tool.name.clone(), Arc::clone(tool));
                out.tools.push(Arc::clone(tool));
            }
            faces.insert(Face::Plugin(offer.plugin.clone()), vec![listed]);
            for group in &offer.groups {
                faces.entry(Face::Group(Arc::clone(group))).or_default().push(listed);
            }
        }
        out.shelves = faces
            .into_iter()
            .map(|(face, listed)| {
                let shelf = Shelf::new(&face, &listed);
                (face, Arc::new(shelf))
            })
            .collect();
        out
    }

    /// What a face offers; `None` if no plugin that is listed stands behind it.
    #[must_use]
    pub fn shelf(&self, face: &Face) -> Option<&Arc<Shelf>> {
        self.shelves.get(face)
    }

    /// What several plugins list: not offered under that key where all are seen.
    #[must_use]
    pub fn collisions(&self) -> &[Collision] {
        self.shelves.get(&Face::All).map_or(&[], |shelf| &shelf.collisions)
    }

    /// Whether every face lists the same things.
    #[must_use]
    pub fn lists_the_same(&self, other: &Self) -> bool {
        let ids = |catalog: &Self| -> Vec<_> {
            catalog
                .tools
                .iter()
                .map(|tool| (tool.plugin.clone(), tool.exposed.clone(), tool.upstream.clone()))
                .collect()
        };
        self.shelves.len() == other.shelves.len()
            && ids(self) == ids(other)
            && self.shelves.iter().all(|(face, shelf)| {
                other
                    .shelves
                    .get(face)
                    .is_some_and(|other| Kind::ALL.iter().all(|kind| shelf.lists_the_same(other, *kind)))
            })
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
