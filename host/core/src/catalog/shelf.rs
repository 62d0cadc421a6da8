//! What one face of the catalog offers: the lists as its clients see them, and who stands behind each entry.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use wharf_plugin_api::Era;

use super::apart::{apart, own};
use super::entry::{Entry, Listed};
use super::template::Pattern;
use super::{Face, entry};
use crate::id::PluginId;
use crate::splice;
use crate::spread::ByName;

/// The kinds of things that a plugin lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
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
    /// Its definition may name headers that repeat arguments: it holds the word, or an escape that could spell it.
    pub may_name_headers: bool,
    /// Of a template that can be read.
    pub(super) pattern: Option<Arc<Pattern>>,
}

/// Several plugins list one thing. A tool or prompt is then offered under this name for none of them; a resource or template
/// is offered for each, behind its plugin's id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Collision {
    /// What it is.
    pub kind: Kind,
    /// The name or URI that they share.
    pub key: String,
    /// Whose it is, in order.
    pub plugins: Vec<PluginId>,
}

/// Who stands behind a URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The plugin.
    pub plugin: PluginId,
    /// How it speaks.
    pub era: Era,
    /// The URI at the plugin.
    pub uri: String,
}

/// What one face offers.
#[derive(Debug, Default)]
pub struct Shelf {
    /// The plugins behind it, in order.
    pub plugins: Vec<(PluginId, Era)>,
    /// What several of them list.
    pub collisions: Vec<Collision>,
    /// One of each kind, at the number of its variant.
    lists: [List; Kind::ALL.len()],
    /// The URIs that are kept apart: by plugin, from the one at the plugin to the one on this face.
    renamed: HashMap<PluginId, HashMap<String, String>>,
}

#[derive(Debug, Default)]
struct List {
    items: Vec<Arc<Item>>,
    by_key: ByName<String, Arc<Item>>,
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

    /// What it is called.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::Template => "template",
        }
    }

    fn is_uri(self) -> bool {
        matches!(self, Self::Resource | Self::Template)
    }
}

// === impl Shelf ===

impl Shelf {
    pub(super) fn new(face: &Face, listed: &[&Listed]) -> Self {
        let plugins = listed.iter().map(|one| (one.plugin.clone(), one.era)).collect();
        let mut shelf = Self { plugins, ..Self::default() };
        // Resources first: where one is kept apart, tools may speak of it.
        for kind in [Kind::Resource, Kind::Template, Kind::Prompt, Kind::Tool] {
            let entries = listed.iter().flat_map(|one| &one.entries).filter(|entry| entry.kind == kind);
            let items = match face {
                Face::Plugin(_) => entries.map(|entry| Arc::clone(&entry.own)).collect(),
                Face::All | Face::Group(_) => shelf.told_apart(kind, &entries.collect::<Vec<_>>()),
            };
            let items = if kind == Kind::Tool { shelf.speaking_of_renamed(items) } else { items };
            let by_key = items.iter().map(|item| (item.key.clone(), Arc::clone(item))).collect();
            if let Some(list) = shelf.lists.get_mut(kind as usize) {
                *list = List { items, by_key };
            }
        }
        shelf.collisions.sort();
        shelf
    }

    /// The entries of several plugins, so that each key stands for one of them.
    fn told_apart(&mut self, kind: Kind, entries: &[&Entry]) -> Vec<Arc<Item>> {
        let items: Vec<Arc<Item>> = entries.iter().map(|entry| Arc::clone(&entry.exposed)).collect();
        let collided = collisions(&items);
        let hit = |key: &str| collided.contains_key(key);
        let mut items: Vec<Arc<Item>> = entries
            .iter()
            .filter(|entry| kind.is_uri() || !hit(&entry.exposed.key))
            .map(|entry| if hit(&entry.exposed.key) { entry.apart() } else { Arc::clone(&entry.exposed) })
            .collect();
        // A plugin may list what another one is called when it is kept apart. That name is ours to give.
        let again = collisions(&items);
        let renamed = |item: &Item| kind.is_uri() && item.key != item.upstream;
        items.retain(|item| renamed(item) || !again.contains_key(&item.key));
        for item in items.iter().filter(|item| kind == Kind::Resource && renamed(item)) {
            let of_plugin = self.renamed.entry(item.plugin.clone()).or_default();
            of_plugin.insert(item.upstream.clone(), item.key.clone());
        }
        let told = |(key, plugins): (String, BTreeSet<PluginId>)| Collision {
            kind,
            key,
            plugins: plugins.into_iter().collect(),
        };
        self.collisions.extend(collided.into_iter().chain(again).map(told));
        items
    }

    /// The tools, where one whose app is a resource that is kept apart names that by the URI of this face.
    fn speaking_of_renamed(&self, tools: Vec<Arc<Item>>) -> Vec<Arc<Item>> {
        if self.renamed.is_empty() {
            return tools;
        }
        tools.into_iter().map(|tool| self.with_renamed_app(&tool).unwrap_or(tool)).collect()
    }

    fn with_renamed_app(&self, tool: &Arc<Item>) -> Option<Arc<Item>> {
        let renamed = self.renamed.get(&tool.plugin)?;
        let meta = splice::field(&tool.definition, "_meta")?;
        let app = splice::field(meta, "ui")?;
        let uri = renamed.get(&entry::text(app, "resourceUri")?)?;
        let app = splice::with_field(app, "resourceUri", &to_raw_value(uri).ok()?)?;
        let meta = splice::with_field(meta, "ui", &app)?;
        let definition = splice::with_field(&tool.definition, "_meta", &meta)?;
        Some(Arc::new(Item { definition: definition.into(), ..Item::clone(tool) }))
    }

    /// All entries of a kind, by plugin and then in the plugin's order.
    #[must_use]
    pub fn items(&self, kind: Kind) -> &[Arc<Item>] {
        self.lists.get(kind as usize).map_or(&[], |list| &list.items)
    }

    /// Whether the lists of a kind are equal to the byte.
    #[must_use]
    pub fn lists_the_same(&self, other: &Self, kind: Kind) -> bool {
        let same = |(one, other): (&Arc<Item>, &Arc<Item>)| {
            one.plugin == other.plugin
                && one.key == other.key
                && one.definition.get() == other.definition.get()
        };
        let (ours, theirs) = (self.items(kind), other.items(kind));
        ours.len() == theirs.len() && ours.iter().zip(theirs).all(same)
    }

    /// The entry with this key.
    #[must_use]
    pub fn find(&self, kind: Kind, key: &str) -> Option<&Arc<Item>> {
        self.lists.get(kind as usize)?.by_key.get(key)
    }

    /// Who stands behind a URI of this face: who lists it, else the one whose template says most of it, else the only plugin
    /// that has resources at all. `None`: nobody, or several with equal right.
    #[must_use]
    pub fn owner_of_uri(&self, uri: &str) -> Option<Owner> {
        self.owner_of_linked(uri, None)
    }

    /// Likewise of a URI that this plugin linked: it is asked where the lists do not say who has it.
    #[must_use]
    pub fn owner_of_linked(&self, uri: &str, linked: Option<&PluginId>) -> Option<Owner> {
        let linked = || {
            let (plugin, era) = self.plugins.iter().find(|(plugin, _)| Some(plugin) == linked)?;
            Some(Owner::new(plugin, *era, uri.to_owned()))
        };
        if let Some(item) = self.find(Kind::Resource, uri) {
            return Some(Owner::new(&item.plugin, item.era, item.upstream.clone()));
        }
        let matching = self.items(Kind::Template).iter().filter_map(|item| {
            let at_plugin = item.at_plugin(uri)?;
            let pattern = item.pattern.as_ref().filter(|pattern| pattern.matches(&at_plugin))?;
            Some((pattern.literal_len(), item, at_plugin))
        });
        let matching: Vec<_> = matching.collect();
        if let Some(most) = matching.iter().map(|(said, ..)| *said).max() {
            let owner = |(_, item, uri): &(usize, &Arc<Item>, Cow<'_, str>)| {
                Owner::new(&item.plugin, item.era, uri.clone().into_owned())
            };
            return single(matching.iter().filter(|(said, ..)| *said == most).map(owner)).or_else(linked);
        }
        self.owner_of_old(uri).or_else(linked).or_else(|| self.owner_of_all(uri))
    }

    /// A URI from a time when another plugin listed the same one.
    fn owner_of_old(&self, uri: &str) -> Option<Owner> {
        single(self.plugins.iter().filter_map(|(plugin, era)| {
            let uri = own(plugin, uri)?;
            let lists = |item: &Arc<Item>| item.plugin == *plugin && item.upstream == uri;
            let makes = |item: &Arc<Item>| {
                item.plugin == *plugin && item.pattern.as_ref().is_some_and(|pattern| pattern.matches(&uri))
            };
            let known =
                self.items(Kind::Resource).iter().any(lists) || self.items(Kind::Template).iter().any(makes);
            known.then(|| Owner::new(plugin, *era, uri))
        }))
    }

    /// The only plugin that can be meant.
    fn owner_of_all(&self, uri: &str) -> Option<Owner> {
        let with = [Kind::Resource, Kind::Template].into_iter().flat_map(|kind| self.items(kind));
        let owner = |item: &Arc<Item>| Owner::new(&item.plugin, item.era, uri.to_owned());
        single(with.map(owner)).or_else(|| match &*self.plugins {
            [(plugin, era)] => Some(Owner::new(plugin, *era, uri.to_owned())),
            _ => None,
        })
    }

    /// A plugin's URI as this face shows it.
    #[must_use]
    pub fn uri_as_seen<'a>(&self, plugin: &PluginId, uri: &'a str) -> Cow<'a, str> {
        if let Some(key) = self.renamed.get(plugin).and_then(|renamed| renamed.get(uri)) {
            return Cow::Owned(key.clone());
        }
        if self.find(Kind::Resource, uri).is_some_and(|item| item.plugin == *plugin) {
            return Cow::Borrowed(uri);
        }
        let makes = |item: &&Arc<Item>| {
            item.plugin == *plugin
                && item.key != item.upstream
                && item.pattern.as_ref().is_some_and(|pattern| pattern.matches(uri))
        };
        match self.items(Kind::Template).iter().find(makes) {
            Some(_) => Cow::Owned(apart(plugin, uri)),
            None => Cow::Borrowed(uri),
        }
    }
}

/// The keys that several entries have, and whose they are.
fn collisions(items: &[Arc<Item>]) -> BTreeMap<String, BTreeSet<PluginId>> {
    let mut by_key: HashMap<&str, Vec<&PluginId>> = HashMap::with_capacity(items.len());
    for item in items {
        by_key.entry(&item.key).or_default().push(&item.plugin);
    }
    let several = by_key.into_iter().filter(|(_, plugins)| plugins.len() > 1);
    several.map(|(key, plugins)| (key.to_owned(), plugins.into_iter().cloned().collect())).collect()
}

/// The one plugin that all of these are of.
fn single(mut owners: impl Iterator<Item = Owner>) -> Option<Owner> {
    let first = owners.next()?;
    owners.all(|other| other.plugin == first.plugin).then_some(first)
}

// === impl Item ===

impl Item {
    /// What a URI of this face, made by this template, is at the plugin.
    fn at_plugin<'a>(&self, uri: &'a str) -> Option<Cow<'a, str>> {
        if self.key == self.upstream {
            Some(Cow::Borrowed(uri))
        } else {
            own(&self.plugin, uri).map(Cow::Owned)
        }
    }
}

// === impl Owner ===

impl Owner {
    fn new(plugin: &PluginId, era: Era, uri: String) -> Self {
        Self { plugin: plugin.clone(), era, uri }
    }
}
