//! What the host says of itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::Serialize;
use wharf_core::{Moment, PluginId};

use super::Inner;
use crate::journal::JournalView;
use crate::process::MachineView;

/// `/api/v1/info`.
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    /// The version of this binary.
    pub version: &'static str,
    /// The host's process id.
    pub pid: u32,
    /// When it started.
    #[serde(serialize_with = "crate::telemetry::rfc3339")]
    pub started_at: SystemTime,
    /// The folder of manifests, if there is one.
    #[serde(serialize_with = "crate::telemetry::path_opt")]
    pub plugins_dir: Option<PathBuf>,
    /// The state folder.
    #[serde(serialize_with = "crate::telemetry::path")]
    pub state_dir: PathBuf,
    /// How processes are kept from outliving the host.
    pub containment: &'static str,
    /// What this machine allows plugins to be bounded by.
    pub machine: MachineView,
    /// Whether what calls do is written down.
    pub journal: JournalView,
    /// Plugins per state.
    pub plugins: BTreeMap<&'static str, usize>,
    /// Tools in the catalog.
    pub tools: usize,
    /// The catalog's version.
    pub catalog_version: u64,
    /// The calls of all plugins together.
    pub calls: CallsView,
    /// Bytes of answers and messages that wait for clients to take them.
    pub waiting_bytes: usize,
    /// Clients that were cut off since the start, because too much waited for them.
    pub clients_cut_off: u64,
}

/// The calls of a host at this moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CallsView {
    /// Calls in flight, those that wait for their turn among them.
    pub in_flight: usize,
    /// How many may be.
    pub limit: usize,
    /// How many were refused for it since the start.
    pub overloaded: u64,
}

/// What a reload did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReloadView {
    /// New plugins.
    pub added: Vec<PluginId>,
    /// Plugins with other contents.
    pub changed: Vec<PluginId>,
    /// Plugins that are gone.
    pub removed: Vec<PluginId>,
    /// Plugins whose manifest is wrong now.
    pub invalid: Vec<PluginId>,
    /// Problems that belong to no plugin, `path:line:column: message`.
    pub loose: Vec<String>,
}

pub(super) fn info(inner: &Inner) -> Info {
    let mut plugins = BTreeMap::new();
    for plugin in inner.shown() {
        *plugins.entry(plugin.state().as_str()).or_default() += 1;
    }
    let (catalog, calls) = (inner.catalog.load(), &inner.routing.calls);
    Info {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        started_at: inner.services.clock.wall(Moment::default()),
        plugins_dir: inner.options.plugins.clone(),
        state_dir: inner.options.state.clone(),
        containment: inner.services.machine.level().as_str(),
        machine: inner.services.machine.view(),
        journal: inner.services.journal.view(),
        plugins,
        tools: catalog.tools().count(),
        catalog_version: catalog.version,
        calls: CallsView {
            in_flight: calls.in_flight(),
            limit: inner.options.max_calls,
            overloaded: calls.turned_away(),
        },
        waiting_bytes: inner.held.bytes(),
        clients_cut_off: inner.held.cut_off(),
    }
}
