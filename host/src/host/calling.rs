//! From the name of a tool to the call of it: one look-up, nothing else touched.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use wharf_core::catalog::Tool;
use wharf_core::pick::Outlook;
use wharf_core::{CallId, Code};

use super::Host;
use crate::apart::apart;
use crate::plugin::PluginHandle;
use crate::route::call::Call;
use crate::route::durable;
use crate::route::refusal::unavailable;
use crate::route::{CallSpec, Failure, Settled};

impl Host {
    /// A tool that a plugin offers. Waits, within the plugin's `limits.queue_wait`, while the plugin is on its way to its
    /// first list.
    ///
    /// # Errors
    /// If there is no such plugin or tool, or the plugin is not available.
    pub fn tool(&self, plugin: &str, name: &str) -> impl Future<Output = Result<Arc<Tool>, Failure>> + Send {
        self.tool_within(plugin, name, Duration::MAX)
    }

    /// The same, for a caller who has no more time than `most`.
    ///
    /// # Errors
    /// As for [`Host::tool`].
    pub async fn tool_within(&self, plugin: &str, name: &str, most: Duration) -> Result<Arc<Tool>, Failure> {
        let handle = {
            let table = self.0.table.load();
            let handle = table.get(plugin).ok_or_else(|| Failure::no_plugin(plugin))?;
            // The way of nearly every call: nothing to wait for, nothing to subscribe to.
            if let Ok(tool) = self.offered(handle, name) {
                return Ok(tool);
            }
            Arc::clone(handle)
        };
        // Apart: it is larger than all else that a call holds.
        Box::pin(self.awaited(handle, name, most)).await
    }

    async fn awaited(
        &self,
        handle: Arc<PluginHandle>,
        name: &str,
        most: Duration,
    ) -> Result<Arc<Tool>, Failure> {
        let wait = handle.manifest().map_or(Duration::ZERO, |manifest| manifest.limits.queue_wait.0);
        let until = tokio::time::Instant::now() + wait.min(most);
        let mut catalogs = self.0.catalog_changed.subscribe();
        let mut changes = handle.changes();
        loop {
            catalogs.mark_unchanged();
            changes.mark_unchanged();
            let failure = match self.offered(&handle, name) {
                Ok(tool) => return Ok(tool),
                Err(failure) => failure,
            };
            if failure.code == Code::ToolNotFound || handle.outlook() == Outlook::Fail {
                return Err(failure);
            }
            tokio::select! {
                _ = catalogs.changed() => {}
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(until) => return Err(failure),
            }
        }
    }

    /// Sends a request to a plugin. The future owns all it needs; dropping it cancels the call at the plugin.
    pub fn call(&self, spec: CallSpec) -> Pin<Box<dyn Future<Output = Result<Settled, Failure>> + Send>> {
        let mut call = self.resolve(spec);
        apart(|| {
            // By reference: a call that is moved into another future is in memory twice.
            async move {
                match &mut call {
                    Ok(call) => call.run().await,
                    Err(failure) => Err(failure.clone()),
                }
            }
        })
    }

    /// One look-up gives plugin and upstream name; nothing else is touched.
    fn resolve(&self, mut spec: CallSpec) -> Result<Call, Failure> {
        let clock = self.0.routing.clock;
        if self.is_closed() {
            return Err(Failure::ending());
        }
        let Some(plugin) = self.0.table.load().get(&spec.plugin).cloned() else {
            return Err(self.0.turned_away(None, &spec.method, Failure::no_plugin(spec.plugin.as_str())));
        };
        let away = |failure| self.0.turned_away(Some(&plugin), &spec.method, failure);
        let manifest = plugin.manifest().ok_or_else(|| away(unavailable(&plugin, clock)))?;
        let tool = match &spec.tool {
            None => None,
            Some(name) => Some(self.offered(&plugin, name).map_err(away)?),
        };
        spec.durable = durable::is_wanted(&spec)?;
        let id = CallId::new(self.0.run, self.0.calls.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(Call { id, spec, plugin, manifest, tool, routing: Arc::clone(&self.0.routing) })
    }

    /// A tool of a plugin; while its tools are withdrawn, or not known yet, the plugin is what is not available.
    fn offered(&self, plugin: &PluginHandle, name: &str) -> Result<Arc<Tool>, Failure> {
        let (catalog, id) = (self.0.catalog.load(), plugin.core.id.as_str());
        match catalog.tool(id, name) {
            Some(tool) => Ok(Arc::clone(tool)),
            None if catalog.plugins().contains(id) => Err(Failure::no_tool(id, name)),
            None => Err(unavailable(plugin, self.0.services.clock)),
        }
    }
}
