//! A host for a program of one's own: which folders it uses, and which plugins the program brings along.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wharf_core::PluginId;
use wharf_core::manifest::{Manifest, Wrapper};
use wharf_plugin_api::Plugin;

use super::{Host, Options, RegisterError, StartError};
use crate::manifest::{Checked, Context, check_file};
use crate::process::Level;

/// How long what was started may take to end, if not all of it could be.
const UNDO: Duration = Duration::from_secs(10);

/// What a host is to be started with. [`Host::builder`] makes one.
#[derive(Debug)]
pub struct Builder {
    options: Options,
    own: Vec<Own>,
}

/// A plugin that the program brings along.
#[derive(Debug)]
enum Own {
    Plugin(Result<Box<Manifest>, RegisterError>),
    Wrapped(PathBuf, Wrapper),
}

impl Host {
    /// A host that keeps in this folder what must survive a restart, and has no plugins yet. No two hosts share a folder.
    #[must_use]
    pub fn builder(state: impl Into<PathBuf>) -> Builder {
        Builder { options: Options::without_folder(state), own: Vec::new() }
    }

    /// Runs the one plugin that a manifest declares, within a wrapper: `wrapper` is given the plugin (the process that is
    /// launched and the client that speaks to it, or the client of a remote server) and makes the one that the host runs.
    /// What the plugin needs is made ready by the host; `wrapper`'s one opens it. All that the manifest says holds: restarts, health, limits, sandbox. The file is read once, now, and is not watched.
    /// Returns without waiting for the plugin to be ready; it stays until the host ends.
    ///
    /// # Errors
    /// If the manifest is wrong, its id is taken, or the host has ended.
    pub async fn wrap<P: Plugin + 'static>(
        &self,
        manifest: impl Into<PathBuf>,
        wrapper: impl Fn(Arc<dyn Plugin>) -> P + Send + Sync + 'static,
    ) -> Result<(), RegisterError> {
        self.run_wrapped(manifest.into(), Wrapper::new(wrapper)).await
    }

    async fn run_wrapped(&self, path: PathBuf, wrapper: Wrapper) -> Result<(), RegisterError> {
        let state = self.0.options.state.clone();
        let reading = self.tasks().blocking(move || declared(&path, &state));
        let manifest = reading.await.map_err(|panic| RegisterError::Manifest(panic.to_string()))??;
        self.register(Manifest { wrapper: Some(wrapper), ..manifest }).await
    }

    async fn take(&self, all: Vec<Own>) -> Result<(), RegisterError> {
        for own in all {
            match own {
                Own::Plugin(manifest) => self.register(*manifest?).await?,
                Own::Wrapped(path, wrapper) => self.run_wrapped(path, wrapper).await?,
            }
        }
        Ok(())
    }
}

/// The one plugin of a file.
fn declared(path: &Path, state: &Path) -> Result<Manifest, RegisterError> {
    let wrong = |why: String| RegisterError::Manifest(why);
    let context = Context::of_process(state).map_err(|error| wrong(error.to_string()))?;
    let mut report = check_file(path, &context);
    if report.has_errors() {
        return Err(wrong(report.render(false)));
    }
    match (report.plugins.pop(), report.plugins.is_empty()) {
        (Some(Checked { manifest: Some(manifest), .. }), true) => Ok(manifest),
        _ => Err(wrong(format!("{} does not declare one plugin; give each a file", path.display()))),
    }
}

// === impl Builder ===

impl Builder {
    /// Runs the plugins of this folder of manifests too, and watches it.
    #[must_use]
    pub fn plugins(mut self, folder: impl Into<PathBuf>) -> Self {
        self.options.plugins = Some(folder.into());
        self
    }

    /// Uses no surer way of holding process trees together than this, though the machine may allow it.
    #[must_use]
    pub fn containment(mut self, level: Level) -> Self {
        self.options.containment = Some(level);
        self
    }

    /// So many calls of all plugins together may be in flight; one more is refused at once.
    #[must_use]
    pub fn max_calls(mut self, most: usize) -> Self {
        self.options.max_calls = most;
        self
    }

    /// Runs this plugin, with the defaults of a manifest. [`Host::register`] takes others.
    #[must_use]
    pub fn plugin(mut self, id: &str, plugin: impl Plugin + 'static) -> Self {
        let manifest = PluginId::new(id).map(|id| Box::new(Manifest::embedded(id, Arc::new(plugin))));
        self.own.push(Own::Plugin(manifest.map_err(Into::into)));
        self
    }

    /// Runs the plugin of this manifest within a wrapper, as [`Host::wrap`] does.
    #[must_use]
    pub fn wrap<P: Plugin + 'static>(
        mut self,
        manifest: impl Into<PathBuf>,
        wrapper: impl Fn(Arc<dyn Plugin>) -> P + Send + Sync + 'static,
    ) -> Self {
        self.own.push(Own::Wrapped(manifest.into(), Wrapper::new(wrapper)));
        self
    }

    /// Starts the host and begins to start the plugins. Returns without waiting for them.
    ///
    /// # Errors
    /// As for [`Host::start`], or if a plugin of the program cannot be taken; then nothing is left running.
    pub async fn start(self) -> Result<Host, StartError> {
        let host = Host::start(self.options).await?;
        if let Err(error) = host.take(self.own).await {
            host.shutdown(UNDO).await;
            return Err(error.into());
        }
        Ok(host)
    }
}

#[cfg(test)]
mod tests;
