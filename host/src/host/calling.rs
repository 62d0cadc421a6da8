//! From the name of a tool to the call of it: one look-up, and of what other threads write nothing but the number of calls.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use wharf_core::catalog::{Catalog, Tool};
use wharf_core::pick::Outlook;
use wharf_core::{CallId, Code};

use super::Host;
use crate::apart::apart;
use crate::eager::Eager;
use crate::near;
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
    pub fn call(&self, spec: CallSpec) -> BoxFuture<'static, Result<Settled, Failure>> {
        let mut call = self.resolve(spec);
        let may_wait = call.as_ref().is_ok_and(|call| call.to.plugin.gate.is_crowded());
        let call: BoxFuture<'static, _> = apart(|| {
            // By reference: a call that is moved into another future is in memory twice.
            async move {
                match &mut call {
                    Ok(call) => call.run().await,
                    Err(failure) => Err(failure.clone()),
                }
            }
        });
        // One that waits for its turn goes on by another's answer. Those of an instance of their session's own wait elsewhere.
        if may_wait { Box::pin(Eager::new(call)) } else { call }
    }

    /// One look-up gives plugin and upstream name.
    pub(super) fn resolve(&self, mut spec: CallSpec) -> Result<Call, Failure> {
        let clock = self.0.routing.clock;
        if self.is_closed() {
            return Err(Failure::ending());
        }
        // First: what is found from here on is let go when it is replaced. A failure is put into words without it.
        let lately = self.0.lately.here();
        let (table, catalog) = (self.0.table.load(), self.0.catalog.load());
        let Some(plugin) = table.get(&spec.plugin) else {
            drop(lately);
            return Err(self.0.turned_away(None, &spec.method, Failure::no_plugin(spec.plugin.as_str())));
        };
        let away = |failure| Err(self.0.turned_away(Some(plugin), &spec.method, failure));
        let manifest = plugin.manifest_now();
        let Some(manifest) = manifest.as_ref() else {
            drop(lately);
            return away(unavailable(plugin, clock));
        };
        let name = spec.tool.as_deref();
        let tool = name.and_then(|name| catalog.tool(plugin.core.id.as_str(), name));
        if let (Some(name), None) = (name, tool) {
            drop(lately);
            return away(self.not_offered(&catalog, plugin, name));
        }
        let to = lately.resolved(plugin, manifest, tool, &self.0.routing);
        near::wishes(to.best);
        spec.durable = durable::is_wanted(&spec)?;
        let id = CallId::new(self.0.run, self.0.calls.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(Call { id, spec, to })
    }

    /// A tool of a plugin; while its tools are withdrawn, or not known yet, the plugin is what is not available.
    fn offered(&self, plugin: &PluginHandle, name: &str) -> Result<Arc<Tool>, Failure> {
        let catalog = self.0.catalog.load();
        let tool = catalog.tool(plugin.core.id.as_str(), name);
        tool.cloned().ok_or_else(|| self.not_offered(&catalog, plugin, name))
    }

    fn not_offered(&self, catalog: &Catalog, plugin: &PluginHandle, name: &str) -> Failure {
        let id = plugin.core.id.as_str();
        if catalog.plugins().contains(id) {
            Failure::no_tool(id, name)
        } else {
            unavailable(plugin, self.0.services.clock)
        }
    }
}
