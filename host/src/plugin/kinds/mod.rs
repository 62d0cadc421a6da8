//! The plugins that a manifest can declare: a process that we launch, or a server that runs elsewhere. A native library is
//! a process too: our own executable as its worker. One that the embedding program made is taken as it is, and it may put a
//! wrapper of its own around any.

mod denied;
pub(super) mod doors;
mod eras;
mod external;
mod keeper;
mod listening;
pub(crate) mod origin;
pub(super) mod places;
mod remote;
pub(super) mod verdicts;
mod wrapped;

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wharf_core::manifest::{EraChoice, Kind, Manifest};
use wharf_plugin_api::{Launch, Plugin};

use super::core::PluginCore;
use super::services::Services;
use crate::dialect;

/// The plugin that a manifest declares.
pub(crate) fn plugin(
    services: &Arc<Services>,
    core: &Arc<PluginCore>,
    manifest: &Arc<Manifest>,
) -> Arc<dyn Plugin> {
    let common = Common {
        services: Arc::clone(services),
        label: core.id.as_str().into(),
        log: Arc::clone(&core.log),
        manifest: Arc::clone(manifest),
    };
    let plugin: Arc<dyn Plugin> = match &manifest.kind {
        Kind::Command(command) => Arc::new(external::External { common, command: command.clone() }),
        Kind::Remote(remote) => Arc::new(remote::RemoteServer { common, remote: remote.clone() }),
        Kind::Embedded(embedded) => Arc::clone(&embedded.0),
    };
    match &manifest.wrapper {
        Some(wrapper) => Arc::new(wrapped::Wrapped::new(plugin, wrapper)),
        None => plugin,
    }
}

/// What both kinds need.
#[derive(Clone)]
struct Common {
    services: Arc<Services>,
    label: Arc<str>,
    log: Arc<crate::process::logs::LogBook>,
    manifest: Arc<Manifest>,
}

impl Common {
    fn options(&self, launch: &Launch, era: EraChoice) -> dialect::Options {
        dialect::Options {
            label: Arc::clone(&self.label),
            max_message: usize::try_from(self.manifest.limits.result.0).unwrap_or(usize::MAX),
            handshake_deadline: Instant::from_std(launch.deadline),
            journal: self.services.journal.clone(),
            tasks: self.services.tasks.clone(),
            log: Arc::clone(&self.log),
            instance: launch.instance,
            generation: launch.generation,
            client: launch.client.clone(),
            era,
            patient: self.manifest.fetches(),
            cut: CancellationToken::new(),
        }
    }
}
