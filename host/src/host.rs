//! The host: wiring, and the one door for every edge.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use wharf_core::PluginId;
use wharf_core::catalog::Catalog;
use wharf_core::lifecycle::State;

use crate::events::EventBus;
use crate::plugin::{OperationView, PluginView};
use crate::process::logs::LogBook;
use crate::route::{CallSpec, Failure, Settled};

/// A running host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    events: EventBus,
}

/// What a host is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of manifests.
    pub plugins: PathBuf,
    /// The folder for what must survive a restart: token, logs, operators' switches.
    pub state: PathBuf,
}

/// Why a host could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder or file of the host itself is not usable.
    #[error("{path}: {error}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// Another host uses the state folder.
    #[error("another wharf uses {0}; stop it, or choose another folder with --state")]
    InUse(PathBuf),
}

/// What an operator can ask of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start it, also out of backoff, quarantine and fatal.
    Start,
    /// End it and leave it ended.
    Stop,
    /// End it and start it.
    Restart,
    /// Let calls in flight end, then stop it.
    Drain,
    /// Switch it on; remembered.
    Enable,
    /// Switch it off; remembered.
    Disable,
}

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
    /// The folder of manifests.
    pub plugins_dir: PathBuf,
    /// The state folder.
    pub state_dir: PathBuf,
    /// How processes are kept from outliving the host.
    pub containment: &'static str,
    /// Plugins per state.
    pub plugins: std::collections::BTreeMap<&'static str, usize>,
    /// Tools in the catalog.
    pub tools: usize,
    /// The catalog's version.
    pub catalog_version: u64,
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
}

impl Host {
    /// Starts a host: reads the manifests and begins to start the plugins. Returns without waiting for them.
    ///
    /// # Errors
    /// If the host's own folders are not usable or in use.
    #[allow(clippy::unused_async, clippy::todo, reason = "to come")]
    pub async fn start(_options: Options) -> Result<Self, StartError> {
        todo!()
    }

    /// Ends all plugins and tasks, within `budget`.
    #[allow(clippy::todo, reason = "to come")]
    pub async fn shutdown(&self, _budget: Duration) {
        todo!()
    }

    /// About this host.
    #[must_use]
    #[allow(clippy::todo, reason = "to come")]
    pub fn info(&self) -> Info {
        todo!()
    }

    /// All plugins, in order of id.
    #[must_use]
    #[allow(clippy::todo, reason = "to come")]
    pub fn plugins(&self) -> Vec<PluginView> {
        todo!()
    }

    /// One plugin.
    #[must_use]
    #[allow(clippy::todo, reason = "to come")]
    pub fn plugin(&self, _id: &str) -> Option<PluginView> {
        todo!()
    }

    /// What all plugins offer.
    #[must_use]
    #[allow(clippy::todo, reason = "to come")]
    pub fn catalog(&self) -> Arc<Catalog> {
        todo!()
    }

    /// The state of a plugin, cheaply.
    #[must_use]
    #[allow(clippy::todo, reason = "to come")]
    pub fn state_of(&self, _id: &str) -> Option<State> {
        todo!()
    }

    /// A plugin's log.
    #[must_use]
    #[allow(clippy::todo, reason = "to come")]
    pub fn logs(&self, _id: &str) -> Option<Arc<LogBook>> {
        todo!()
    }

    /// What happens in the host.
    #[must_use]
    pub fn events(&self) -> &EventBus {
        &self.0.events
    }

    /// Required plugins that are not ready. Empty: `/readyz` says yes.
    #[must_use]
    #[allow(clippy::todo, reason = "to come")]
    pub fn unready(&self) -> Vec<(PluginId, State)> {
        todo!()
    }

    /// Begins a command; [`Host::operation`] tells how it goes.
    ///
    /// # Errors
    /// If there is no such plugin.
    #[allow(clippy::todo, reason = "to come")]
    pub fn command(&self, _id: &str, _command: Command) -> Result<OperationView, Failure> {
        todo!()
    }

    /// A command that was begun, if it is not forgotten.
    #[must_use]
    #[allow(clippy::todo, reason = "to come")]
    pub fn operation(&self, _id: &str) -> Option<OperationView> {
        todo!()
    }

    /// Reads the folder of manifests now and applies what changed.
    #[allow(clippy::todo, reason = "to come")]
    pub async fn reload(&self) -> ReloadView {
        todo!()
    }

    /// Sends a request to a plugin. The future owns all it needs; dropping it cancels the call at the plugin.
    #[allow(clippy::todo, reason = "to come")]
    pub fn call(&self, _spec: CallSpec) -> impl Future<Output = Result<Settled, Failure>> + Send + 'static {
        async { todo!() }
    }
}
