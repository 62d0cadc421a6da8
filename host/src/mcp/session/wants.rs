//! What a session wants its plugins to tell: resources that it subscribed to, and log messages.
//!
//! A want stands at one plugin. Where that plugin was removed and came back, it is put to the new one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wharf_core::PluginId;
use wharf_core::catalog::Face;
use wharf_plugin_api::RpcError;

use crate::Host;
use crate::mcp::failure::BUSY;
use crate::mcp::level::Level;
use crate::plugin::watch::{Want, Wanted, Watch};

/// Subscriptions of one session, at most.
const MOST: usize = 1024;
/// How long a subscription may take to reach its plugin before it is answered all the same.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(in crate::mcp) struct Wants {
    /// By the URI as the client knows it.
    resources: Mutex<BTreeMap<String, Subscription>>,
    logs: Mutex<BTreeMap<PluginId, Standing>>,
}

#[derive(Debug)]
struct Subscription {
    plugin: PluginId,
    /// The URI at the plugin.
    upstream: String,
    standing: Standing,
}

/// A want, and at whom it stands.
#[derive(Debug)]
struct Standing {
    watch: Arc<Watch>,
    wanted: Wanted,
    want: Want,
}

impl Standing {
    fn new(watch: Arc<Watch>, wanted: Wanted) -> Self {
        let want = watch.want(wanted.clone());
        Self { watch, wanted, want }
    }

    /// Whether it stands where the plugin is now.
    fn is_at(&self, watch: &Arc<Watch>) -> bool {
        Arc::ptr_eq(&self.watch, watch)
    }
}

impl Wants {
    /// Subscribes to a resource, and waits a while for the plugin to be told.
    ///
    /// # Errors
    /// If there are too many, or the plugin refuses or is gone.
    pub(in crate::mcp) async fn subscribe(
        &self,
        host: &Host,
        uri: String,
        plugin: PluginId,
        upstream: String,
    ) -> Result<(), RpcError> {
        let gone = || RpcError::new(RpcError::INVALID_PARAMS, format!("plugin {plugin} is gone"));
        let watch = host.watch(&plugin).ok_or_else(gone)?;
        {
            let mut resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
            if resources.len() >= MOST && !resources.contains_key(&uri) {
                let text = format!("{MOST} resources are subscribed to already; unsubscribe from one first");
                return Err(RpcError::new(BUSY, text));
            }
            let standing = Standing::new(Arc::clone(&watch), Wanted::Resource(upstream.clone()));
            resources.insert(uri.clone(), Subscription { plugin: plugin.clone(), upstream, standing });
        }
        if !watch.told(PATIENCE).await {
            tracing::debug!(%plugin, "a subscription waits for its plugin");
        }
        let mut resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        match resources.get(&uri).and_then(|subscription| subscription.standing.want.refusal()) {
            Some(refusal) => {
                resources.remove(&uri);
                Err(refusal)
            }
            None => Ok(()),
        }
    }

    /// Takes a subscription back. False: there was none.
    pub(in crate::mcp) fn unsubscribe(&self, uri: &str) -> bool {
        let gone = self.resources.lock().unwrap_or_else(PoisonError::into_inner).remove(uri);
        gone.is_some()
    }

    /// Whether a change of this URI at a plugin concerns a subscription: to it, or to what it is a part of.
    pub(super) fn subscribed(&self, plugin: &PluginId, upstream: &str) -> bool {
        let concerns = |subscription: &Subscription| {
            let part = upstream.strip_prefix(subscription.upstream.trim_end_matches('/'));
            subscription.plugin == *plugin
                && part.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        resources.values().any(concerns)
    }

    /// Wants log messages from a level up, of every plugin of a face; returns those that were told nothing of it yet. The
    /// level is read under the lock: of two that come at once, the later one must not put back what the earlier one read.
    pub(super) fn logs(
        &self,
        host: &Host,
        face: &Face,
        level: impl FnOnce() -> Option<Level>,
    ) -> Vec<Arc<Watch>> {
        let catalog = host.catalog();
        let plugins = catalog.shelf(face).map(|shelf| shelf.plugins.as_slice()).unwrap_or_default();
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(level) = level() else { return Vec::new() };
        let mut before = std::mem::take(&mut *logs);
        let (mut after, mut told) = (BTreeMap::new(), Vec::new());
        for (plugin, _) in plugins {
            let Some(watch) = host.watch(plugin) else { continue };
            let wanted = Wanted::Logs(level.severity());
            let kept = before.remove(plugin).filter(|old| old.is_at(&watch) && old.wanted == wanted);
            let standing = kept.unwrap_or_else(|| {
                told.push(Arc::clone(&watch));
                Standing::new(watch, wanted)
            });
            after.insert(plugin.clone(), standing);
        }
        *logs = after;
        told
    }

    /// Puts the subscriptions to plugins that came back as others.
    pub(super) fn renew(&self, host: &Host) {
        let mut resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        for subscription in resources.values_mut() {
            let Some(watch) = host.watch(&subscription.plugin) else { continue };
            if !subscription.standing.is_at(&watch) {
                subscription.standing = Standing::new(watch, Wanted::Resource(subscription.upstream.clone()));
            }
        }
    }

    /// Wants nothing any more.
    pub(super) fn clear(&self) {
        drop(std::mem::take(&mut *self.resources.lock().unwrap_or_else(PoisonError::into_inner)));
        drop(std::mem::take(&mut *self.logs.lock().unwrap_or_else(PoisonError::into_inner)));
    }
}

#[cfg(test)]
mod tests {
    use wharf_core::catalog::Face;

    use super::Wants;
    use crate::mcp::level::Level;
    use crate::mcp::testkit::{Actor, mcp};

    #[tokio::test]
    async fn the_level_is_read_where_it_is_put() {
        let home = tempfile::tempdir().unwrap();
        let mcp = mcp(home.path(), &[("p", &Actor::new("2025-11-25", &["t"]))]).await;
        let wants = Wants::default();
        let level = || {
            assert!(wants.logs.try_lock().is_err(), "another could put an older level after this one");
            Level::named("debug")
        };
        assert_eq!(wants.logs(&mcp.host, &Face::All, level).len(), 1);
        assert!(wants.logs(&mcp.host, &Face::All, || Level::named("debug")).is_empty(), "it stands");
        assert!(wants.logs(&mcp.host, &Face::All, || None).is_empty());
        assert_eq!(wants.logs.lock().unwrap().len(), 1, "who sets none takes none back");
    }
}
