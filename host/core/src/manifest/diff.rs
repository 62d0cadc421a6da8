//! Two readings of the folder compared: only what changed is touched.

use std::collections::BTreeMap;

use super::checked::Manifest;
use crate::id::PluginId;

/// What has to be done to get from one set of manifests to the next. Those that are the same are in none of the lists.
#[derive(Debug, Default, PartialEq)]
pub struct Diff {
    /// New.
    pub added: Vec<PluginId>,
    /// Other contents than before.
    pub changed: Vec<PluginId>,
    /// Gone.
    pub removed: Vec<PluginId>,
}

/// Compares by content.
#[must_use]
pub fn diff(old: &BTreeMap<PluginId, Manifest>, new: &BTreeMap<PluginId, Manifest>) -> Diff {
    let mut out = Diff::default();
    for (id, manifest) in new {
        match old.get(id) {
            None => out.added.push(id.clone()),
            Some(before) if before != manifest => out.changed.push(id.clone()),
            Some(_) => {}
        }
    }
    out.removed.extend(old.keys().filter(|id| !new.contains_key(*id)).cloned());
    out
}
