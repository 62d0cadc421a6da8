//! Looks for what an answer links: who can be asked for it later is noted by the host.

use std::sync::{Arc, LazyLock};

use memchr::memmem::Finder;
use serde_json::value::RawValue;
use wharf_core::PluginId;
use wharf_core::catalog::Shelf;

use super::translate;
use crate::Host;

static LINK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("resource_link"));

/// Notes what an answer links that the face would not find by its lists. With one plugin on the face there is nobody else
/// to ask.
pub(in crate::mcp) fn learn(
    host: &Host,
    principal: &Arc<str>,
    (plugin, shelf): (&PluginId, &Shelf),
    (method, result): (&str, &RawValue),
) {
    // Told without parsing, for nearly no answer links anything.
    let links = || LINK.find(result.get().as_bytes()).is_some();
    if shelf.plugins.len() < 2 || !links() {
        return;
    }
    translate::each_uri(result, method, &mut |uri| {
        if shelf.owner_of_uri(uri).is_none_or(|owner| owner.plugin != *plugin) {
            host.links().note(principal, plugin, uri);
        }
    });
}
