//! What the MCP side asks the host for its clients, beside calls: what a plugin says of itself, what plugins tell, and who
//! is there to be asked.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};
use wharf_core::PluginId;
use wharf_plugin_api::{Client, Era, Hello};

use super::Host;
use crate::plugin::Services;
use crate::plugin::notice::Notice;
use crate::plugin::visit::Visit;
use crate::plugin::watch::Watch;
use crate::route::Ask;

/// A client's session at the host. Dropping it ends the instances that the session had for itself.
#[derive(Debug)]
pub(crate) struct Joined {
    services: Arc<Services>,
    visit: Arc<Visit>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.services.visits.leave(&self.visit);
    }
}

impl Host {
    /// What the last handshake of a plugin proved.
    pub(crate) fn hello(&self, plugin: &PluginId) -> Option<Arc<Hello>> {
        self.0.table.load().get(plugin)?.best()?.hello.clone()
    }

    /// How a plugin speaks, as its last handshake proved, and how many of its calls may wait for their clients.
    pub(crate) fn speaks(&self, plugin: &PluginId) -> (Option<Era>, usize) {
        let table = self.0.table.load();
        let Some(plugin) = table.get(plugin) else { return (None, 1) };
        let hello = plugin.best();
        let era = hello.as_ref().and_then(|best| best.hello.as_ref()).map(|hello| hello.era());
        (era, plugin.gate.may_ask())
    }

    /// What plugins say outside of calls, from now on.
    pub(crate) fn notices(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.0.services.notices.listen()
    }

    /// Rung when the catalog was replaced.
    pub(crate) fn catalog_changes(&self) -> watch::Receiver<()> {
        self.0.catalog_changed.subscribe()
    }

    /// Where a plugin's clients say what they want to be told of.
    pub(crate) fn watch(&self, plugin: &PluginId) -> Option<Arc<Watch>> {
        self.0.table.load().get(plugin).map(|plugin| Arc::clone(&plugin.core.watch))
    }

    /// A client's session begins. `asks` takes what the session's own instances ask outside of calls.
    pub(crate) fn join(&self, session: Arc<str>, client: Arc<Client>, asks: mpsc::Sender<Ask>) -> Joined {
        let services = Arc::clone(&self.0.services);
        let visit = services.visits.join(session, client, asks);
        Joined { services, visit }
    }
}
