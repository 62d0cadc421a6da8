//! Keeps the catalog: rebuilt as a whole when a proof or a state changed, replaced only if it differs.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use wharf_core::PluginId;
use wharf_core::catalog::{Catalog, Tool};
use wharf_core::manifest::Manifest;

use super::{Inner, Table};
use crate::plugin::PluginHandle;
use crate::plugin::prove::ListedTool;

/// Between the namespace and the name of a tool.
const SEPARATOR: &str = "__";

/// Rebuilds the catalog whenever it may have changed, until the host ends.
pub(super) async fn keep(inner: Arc<Inner>) {
    let ending = inner.services.tasks.ending().clone();
    loop {
        tokio::select! {
            () = inner.services.catalog_dirty.notified() => refresh(&inner),
            () = ending.cancelled() => return,
        }
    }
}

fn refresh(inner: &Inner) {
    let before = inner.catalog.load_full();
    let (plugins, tools) = collect(&inner.table.load());
    let same_tools = same(&before, &tools);
    if same_tools && before.plugins() == &plugins {
        return;
    }
    let version = before.version + u64::from(!same_tools);
    let after = Arc::new(Catalog::new(version, plugins, tools));
    inner.catalog.store(Arc::clone(&after));
    inner.catalog_changed.send_replace(());
    if !same_tools {
        inner.services.events.publish("catalog.changed", difference(&before, &after));
    }
}

fn difference(before: &Catalog, after: &Catalog) -> Value {
    let names = |catalog: &Catalog| -> BTreeSet<String> {
        catalog.tools().map(|tool| format!("{}/{}", tool.plugin, tool.name)).collect()
    };
    let (old, new) = (names(before), names(after));
    json!({
        "version": after.version, "tools": new.len(),
        "added": new.difference(&old).collect::<Vec<_>>(), "removed": old.difference(&new).collect::<Vec<_>>(),
    })
}

fn same(before: &Catalog, tools: &[Arc<Tool>]) -> bool {
    let key = |tool: &Arc<Tool>| (tool.plugin.clone(), tool.exposed.clone(), tool.upstream.clone());
    before.tools().count() == tools.len()
        && before
            .tools()
            .zip(tools)
            .all(|(a, b)| key(a) == key(b) && a.definition.get() == b.definition.get())
}

fn collect(table: &Table) -> (BTreeSet<PluginId>, Vec<Arc<Tool>>) {
    let (mut plugins, mut tools) = (BTreeSet::new(), Vec::new());
    for plugin in table.values().filter(|plugin| plugin.is_listed()) {
        if let (Some(manifest), Some(proof)) = (plugin.manifest(), plugin.proof()) {
            plugins.insert(plugin.core.id.clone());
            offer(plugin, &manifest, &proof.tools, &mut tools);
        }
    }
    (plugins, tools)
}

fn offer(plugin: &PluginHandle, manifest: &Manifest, listed: &[ListedTool], tools: &mut Vec<Arc<Tool>>) {
    let filter = manifest.tools.compile();
    let mut names = BTreeSet::new();
    for tool in listed.iter().filter(|tool| filter.lets(&tool.name)) {
        let name = manifest.tools.rename.get(&tool.name).unwrap_or(&tool.name);
        if !names.insert(name) {
            // Two tools renamed to one name: the manifest's check tells it.
            continue;
        }
        let namespace = &manifest.namespace;
        let exposed =
            if namespace.is_empty() { name.clone() } else { format!("{namespace}{SEPARATOR}{name}") };
        tools.push(Arc::new(Tool {
            plugin: plugin.core.id.clone(),
            name: name.clone(),
            upstream: tool.name.clone(),
            exposed,
            description: tool.description.clone(),
            definition: Arc::clone(&tool.definition),
        }));
    }
}
