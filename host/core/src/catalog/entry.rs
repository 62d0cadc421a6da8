//! What a plugin lists, made ready for every face: each entry is rendered once under each name that a face may need, and all
//! faces share it.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use serde_json::value::{RawValue, to_raw_value};
use wharf_plugin_api::Era;

use super::Offer;
use super::apart::apart;
use super::shelf::{Item, Kind};
use super::template::Pattern;
use crate::id::PluginId;
use crate::{names, splice};

/// The annotation of an argument that a header repeats.
const HEADER: &str = "x-mcp-header";

/// What one plugin lists.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) plugin: PluginId,
    pub(super) era: Era,
    pub(super) entries: Vec<Entry>,
}

/// One thing that a plugin lists.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// As the plugin's own face shows it.
    pub(super) own: Arc<Item>,
    /// As the faces of several plugins show it.
    pub(super) exposed: Arc<Item>,
    /// As they show it where another plugin lists the same URI; made when that is so.
    apart: OnceLock<Arc<Item>>,
}

impl Listed {
    /// What it offers, in its order. Of two entries with one key the first counts: no call could tell them apart.
    pub(super) fn of(offer: &Offer) -> Self {
        let mut seen = HashSet::new();
        let mut entries = Vec::with_capacity(offer.tools.len() + offer.others.len());
        for tool in &offer.tools {
            if seen.insert((Kind::Tool, tool.name.clone())) {
                let keys = [&tool.name, &tool.exposed, &tool.upstream];
                entries.push(Entry::new(offer, Kind::Tool, keys, &tool.definition));
            }
        }
        for (kind, definition) in &offer.others {
            let Some(key) = text(definition, kind.key()) else { continue };
            if !seen.insert((*kind, key.clone())) {
                continue;
            }
            let exposed = match kind {
                Kind::Tool | Kind::Prompt => names::exposed(&offer.namespace, &key),
                Kind::Resource | Kind::Template => key.clone(),
            };
            entries.push(Entry::new(offer, *kind, [&key, &exposed, &key], definition));
        }
        Self { plugin: offer.plugin.clone(), era: offer.era, entries }
    }
}

impl Entry {
    fn new(offer: &Offer, kind: Kind, [own, exposed, upstream]: [&String; 3], raw: &Arc<RawValue>) -> Self {
        let task = splice::field(raw, "execution").and_then(|execution| text(execution, "taskSupport"));
        let item = Item {
            plugin: offer.plugin.clone(),
            era: offer.era,
            key: upstream.clone(),
            own: own.clone(),
            upstream: upstream.clone(),
            definition: Arc::clone(raw),
            needs_task: task.as_deref() == Some("required"),
            may_name_headers: splice::may_hold(raw, HEADER),
            pattern: (kind == Kind::Template).then(|| Pattern::new(upstream)).flatten().map(Arc::new),
        };
        let item = Arc::new(item);
        let own = under(&item, kind, own);
        let exposed = if *exposed == own.key { Arc::clone(&own) } else { under(&item, kind, exposed) };
        Self { kind, own, exposed, apart: OnceLock::new() }
    }

    /// As it is shown beside one with the same URI.
    pub(super) fn apart(&self) -> Arc<Item> {
        let make = || under(&self.own, self.kind, &apart(&self.own.plugin, &self.own.upstream));
        Arc::clone(self.apart.get_or_init(make))
    }
}

/// The same thing under another key.
fn under(item: &Arc<Item>, kind: Kind, key: &str) -> Arc<Item> {
    if item.key == key {
        return Arc::clone(item);
    }
    let renamed =
        to_raw_value(key).ok().and_then(|key| splice::with_field(&item.definition, kind.key(), &key));
    let definition = renamed.map_or_else(|| Arc::clone(&item.definition), Into::into);
    Arc::new(Item { key: key.to_owned(), definition, ..Item::clone(item) })
}

/// A member of an object, if it is a text.
pub(super) fn text(object: &RawValue, key: &str) -> Option<String> {
    serde_json::from_str(splice::field(object, key)?.get()).ok()
}
