//! What the MCP side asks beside calls that needs the table of plugins: waiting for one on its way up, and a word to the
//! instances that a session has for itself.

use std::time::Duration;

use wharf_core::PluginId;
use wharf_core::catalog::Face;
use wharf_core::pick::Outlook;
use wharf_plugin_api::{Era, Notification};

use super::Host;
use crate::plugin::PluginHandle;
use crate::route::Failure;
use crate::route::refusal::unavailable;

impl Host {
    /// Waits until what a plugin offers stands in the catalog: at most its `limits.queue_wait`, and only while it is on its
    /// way there.
    ///
    /// # Errors
    /// If there is no such plugin, or it is not available.
    pub(crate) async fn listed(&self, plugin: &PluginId) -> Result<(), Failure> {
        let handle = self.0.table.load().get(plugin).cloned();
        let handle = handle.ok_or_else(|| Failure::no_plugin(plugin.as_str()))?;
        if self.catalog().plugins().contains(plugin) {
            return Ok(());
        }
        let wait = handle.manifest().map_or(Duration::ZERO, |manifest| manifest.limits.queue_wait.0);
        let until = tokio::time::Instant::now() + wait;
        let mut catalogs = self.0.catalog_changed.subscribe();
        let mut changes = handle.changes();
        loop {
            catalogs.mark_unchanged();
            changes.mark_unchanged();
            if self.catalog().plugins().contains(plugin) {
                return Ok(());
            }
            let failure = || unavailable(&handle, self.0.services.clock);
            if handle.outlook() == Outlook::Fail {
                return Err(failure());
            }
            tokio::select! {
                _ = catalogs.changed() => {}
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(until) => return Err(failure()),
            }
        }
    }

    /// The plugins of a face that are not listed yet, and whose namespace this exposed name has.
    pub(crate) fn may_offer(&self, face: &Face, name: &str) -> Vec<PluginId> {
        let catalog = self.catalog();
        let fits = |plugin: &PluginHandle| {
            let Some(manifest) = plugin.manifest() else { return false };
            let in_face = match face {
                Face::All => true,
                Face::Group(group) => manifest.groups.contains(group),
                Face::Plugin(id) => *id == plugin.core.id,
            };
            in_face
                && (matches!(face, Face::Plugin(_)) || name.starts_with(manifest.namespace.as_str()))
                && !catalog.plugins().contains(&plugin.core.id)
                && plugin.outlook() == Outlook::Wait
        };
        let table = self.0.table.load();
        table.values().filter(|plugin| fits(plugin)).map(|plugin| plugin.core.id.clone()).collect()
    }

    /// Whether a plugin's manifest names this group, whatever the plugin's state.
    pub(crate) fn has_group(&self, group: &str) -> bool {
        let names =
            |plugin: &PluginHandle| plugin.manifest().is_some_and(|manifest| manifest.groups.contains(group));
        self.0.table.load().values().any(|plugin| names(plugin))
    }

    /// Tells the legacy instances that a session has for itself. A modern one knows no notification of a client.
    pub(crate) fn notify_own(&self, session: &str, notification: &Notification) {
        let table = self.0.table.load();
        let owned = table.values().flat_map(|plugin| plugin.owned());
        for own in owned.filter(|own| *own.visit.session == *session) {
            let Some(link) = own.handle.now().link.clone() else { continue };
            if link.hello().era() == Era::Legacy && link.notify(notification.clone()).is_err() {
                tracing::warn!(instance = %own.handle.n, method = %notification.method, "an instance was not told: its queue is full");
            }
        }
    }
}

#[cfg(test)]
impl Host {
    /// Says something in the name of a plugin, or of a session's own instance of it, outside of a call.
    pub(crate) fn tell_for_tests(
        &self,
        plugin: &PluginId,
        session: Option<&str>,
        method: &'static str,
        json: &str,
    ) {
        let params = serde_json::value::RawValue::from_string(json.to_owned()).unwrap();
        self.0.services.notices.tell(crate::plugin::notice::Notice {
            plugin: plugin.clone(),
            session: session.map(Into::into),
            notification: Notification { method: method.into(), params: Some(params.into()) },
        });
    }
}
