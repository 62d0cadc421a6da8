//! Keeps the catalog: rebuilt as a whole when a proof or a state changed, replaced only if it differs.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use wharf_core::catalog::{Catalog, Collision, Kind, Made, Offer, Tool};
use wharf_core::hints::Hints;
use wharf_core::manifest::Manifest;
use wharf_core::names;
use wharf_plugin_api::Era;

use super::{Inner, Table};
use crate::plugin::PluginHandle;
use crate::plugin::prove::{ListedTool, Proof};

/// Rebuilds the catalog whenever it may have changed, until the host ends.
pub(super) async fn keep(inner: Arc<Inner>) {
    let ending = inner.services.tasks.ending().clone();
    loop {
        tokio::select! {
            () = inner.services.catalog_dirty.notified() => {
                refresh(&inner);
                // What calls go by may be another table, catalog or manifest.
                inner.lately.forget();
            }
            () = ending.cancelled() => return,
        }
    }
}

fn refresh(inner: &Inner) {
    let before = inner.catalog.load_full();
    let offers = collect(&inner.table.load());
    let after = Catalog::new(before.version + 1, &offers);
    let same = before.lists_the_same(&after);
    if same && before.plugins() == after.plugins() {
        return;
    }
    let after = Arc::new(if same { Catalog::new(before.version, &offers) } else { after });
    inner.catalog.store(Arc::clone(&after));
    inner.catalog_changed.send_replace(());
    for collision in after.collisions().iter().filter(|one| !before.collisions().contains(one)) {
        warn(collision);
    }
    if !same {
        inner.services.events.publish("catalog.changed", difference(&before, &after));
    }
}

/// Told once, when it comes up.
fn warn(Collision { kind, key, plugins }: &Collision) {
    let plugins = plugins.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match kind {
        Kind::Tool | Kind::Prompt => tracing::warn!(
            key,
            plugins,
            "one exposed {} name for several plugins: it is offered for none of them; give one another `namespace`",
            kind.as_str(),
        ),
        Kind::Resource | Kind::Template => tracing::warn!(
            key,
            plugins,
            "several plugins list one {}: where all are seen, each has it behind its plugin's id and `+`",
            kind.as_str(),
        ),
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
        "collisions": after.collisions(),
    })
}

/// What every plugin that is listed offers.
fn collect(table: &Table) -> Vec<Offer> {
    let listed = table.values().filter(|plugin| plugin.is_listed());
    listed
        .filter_map(|plugin| {
            let (manifest, proof) = plugin.offered()?;
            Some(offer(plugin, &manifest, &proof))
        })
        .collect()
}

fn offer(plugin: &PluginHandle, manifest: &Manifest, proof: &Proof) -> Offer {
    let hello = plugin.best().and_then(|snapshot| snapshot.hello.clone());
    let of = |kind, list: &[Arc<RawValue>]| {
        list.iter().map(move |raw| (kind, Arc::clone(raw))).collect::<Vec<_>>()
    };
    Offer {
        plugin: plugin.core.id.clone(),
        groups: manifest.groups.clone(),
        namespace: manifest.namespace.clone(),
        era: hello.map_or(Era::Legacy, |hello| hello.era()),
        tools: tools(plugin, manifest, &proof.tools),
        others: [
            of(Kind::Prompt, &proof.prompts),
            of(Kind::Resource, &proof.resources),
            of(Kind::Template, &proof.templates),
        ]
        .concat(),
    }
}

fn tools(plugin: &PluginHandle, manifest: &Manifest, listed: &[ListedTool]) -> Vec<Arc<Tool>> {
    let (filter, mut names, mut tools) = (manifest.tools.compile(), BTreeSet::new(), Vec::new());
    let named = listed.iter().filter(|tool| filter.lets(&tool.name)).filter_map(|tool| {
        let name = manifest.tools.rename.get(&tool.name).unwrap_or(&tool.name);
        // Two tools renamed to one name: the manifest's check tells it.
        names.insert(name).then_some((name, tool))
    });
    let named: Vec<_> = named.collect();
    let meters = plugin.core.meters.listed(named.iter().map(|(name, _)| name.as_str()));
    for ((name, tool), meter) in named.into_iter().zip(meters) {
        tools.push(Arc::new(Tool {
            plugin: plugin.core.id.clone(),
            meter,
            name: name.clone(),
            upstream: tool.name.clone(),
            exposed: names::exposed(&manifest.namespace, name),
            description: tool.description.clone(),
            definition: Arc::clone(&tool.definition),
            hints: Hints::of(&tool.definition),
            made: Made::default(),
        }));
    }
    tools
}
