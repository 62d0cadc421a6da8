//! What one face of the catalog offers: the lists as its clients see them, and who stands behind each entry.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::value::{RawValue, to_raw_value};
use wharf_plugin_api::Era;

use super::{Face, Offer};
use crate::id::PluginId;
use crate::splice;

/// The kinds of things that a plugin lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `tools/list`
    Tool,
    /// `prompts/list`
    Prompt,
    /// `resources/list`
    Resource,
    /// `resources/templates/list`
    Template,
}

/// One entry of a list.
#[derive(Clone, Debug)]
pub struct Item {
    /// Whose it is.
    pub plugin: PluginId,
    /// How its plugin speaks.
    pub era: Era,
    /// Its key on this face: the name of a tool or prompt, a URI, a URI template.
    pub key: String,
    /// Under which name the plugin offers it to the host's callers (of a tool: after `rename`).
    pub own: String,
    /// Its key at the plugin.
    pub upstream: String,
    /// What is listed: the plugin's bytes, but for the key where it differs.
    pub definition: Arc<RawValue>,
    /// A tool that can only be called as a task of 2025-11-25.
    pub needs_task: bool,
}

/// What one face offers.
#[derive(Debug, Default)]
pub struct Shelf {
    /// The plugins behind it, in order.
    pub plugins: Vec<(PluginId, Era)>,
    lists: HashMap<Kind, List>,
}

#[derive(Debug, Default)]
struct List {
    items: Vec<Arc<Item>>,
    by_key: HashMap<String, Arc<Item>>,
}

// === impl Kind ===

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tool, Self::Prompt, Self::Resource, Self::Template];

    /// The member of an entry that is its key.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Tool | Self::Prompt => "name",
            Self::Resource => "uri",
            Self::Template => "uriTemplate",
        }
    }
}

// === impl Shelf ===

impl Shelf {
    pub(super) fn new(face: &Face, offers: &[&Offer]) -> Self {
        let mut shelf = Self::default();
        for offer in offers {
            shelf.plugins.push((offer.plugin.clone(), offer.era));
            for tool in &offer.tools {
                let key = if matches!(face, Face::Plugin(_)) { &tool.name } else { &tool.exposed };
                shelf.put(offer, Kind::Tool, key, &tool.name, &tool.upstream, &tool.definition);
            }
            for (kind, definition) in &offer.others {
                let Some(key) = text(definition, kind.key()) else { continue };
                shelf.put(offer, *kind, &key, &key, &key, definition);
            }
        }
        shelf
    }

    fn put(&mut self, offer: &Offer, kind: Kind, key: &str, own: &str, upstream: &str, raw: &Arc<RawValue>) {
        let renamed = (key != upstream)
            .then(|| splice::with_field(raw, kind.key(), &to_raw_value(key).ok()?))
            .flatten();
        let task = splice::field(raw, "execution").and_then(|execution| text(execution, "taskSupport"));
        let item = Arc::new(Item {
            plugin: offer.plugin.clone(),
            era: offer.era,
            key: key.to_owned(),
            own: own.to_owned(),
            upstream: upstream.to_owned(),
            definition: renamed.map_or_else(|| Arc::clone(raw), Into::into),
            needs_task: task.as_deref() == Some("required"),
        });
        let list = self.lists.entry(kind).or_default();
        list.by_key.insert(item.key.clone(), Arc::clone(&item));
        list.items.push(item);
    }

    /// All entries of a kind, by plugin and then in the plugin's order.
    #[must_use]
    pub fn items(&self, kind: Kind) -> &[Arc<Item>] {
        self.lists.get(&kind).map_or(&[], |list| &list.items)
    }

    /// Whether the lists of a kind are equal to the byte.
    #[must_use]
    pub fn lists_the_same(&self, other: &Self, kind: Kind) -> bool {
        let key =
            |item: &Arc<Item>| (item.plugin.clone(), item.key.clone(), item.definition.get().to_owned());
        self.items(kind).iter().map(key).eq(other.items(kind).iter().map(key))
    }

    /// The entry with this key.
    #[must_use]
    pub fn find(&self, kind: Kind, key: &str) -> Option<&Arc<Item>> {
        self.lists.get(&kind)?.by_key.get(key)
    }
}

fn text(object: &RawValue, key: &str) -> Option<String> {
    serde_json::from_str(splice::field(object, key)?.get()).ok()
}
