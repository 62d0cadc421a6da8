//! The one owner of the table of plugins: reads the folder, compares, and touches only what changed.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use wharf_core::lifecycle::Event;
use wharf_core::manifest::Manifest;
use wharf_core::manifest::diff::diff;
use wharf_core::{Code, PluginId};

use super::scale;
use super::switches::{Scaled, Switches};
use super::{Inner, RegisterError, ReloadView, Table};
use crate::manifest::{Context, Problem, ProblemView, Reading, load_dir};
use crate::plugin::meters::Reload;
use crate::plugin::{PluginHandle, Record, Setup, kinds};
use crate::process::logs::LogBook;
use crate::route::Failure;

/// How long the last lines of one plugin's log may take to reach the disk when the host ends.
const FLUSH: Duration = Duration::from_millis(500);
/// How long reading the folder may take; one on a mount that is gone never ends.
const READING: Duration = Duration::from_secs(30);

/// What the registry is asked for.
pub(super) enum Ask {
    /// Read the folder now.
    Reload(oneshot::Sender<Result<ReloadView, Failure>>),
    /// Run this plugin too, which stands in no file.
    Register(Box<Manifest>, oneshot::Sender<Result<(), RegisterError>>),
    /// Remember an operator's switch.
    Switch(PluginId, bool, oneshot::Sender<Result<(), String>>),
    /// Remember how many replicas an operator wants, and go by it.
    Scale(PluginId, u32, oneshot::Sender<Result<(), String>>),
    /// End all plugins.
    End(oneshot::Sender<()>),
}

/// What is asked for at one moment: one reading of the folder does for all who want one.
#[derive(Default)]
struct Batch {
    readers: Vec<oneshot::Sender<Result<ReloadView, Failure>>>,
    /// A file has changed.
    changed: bool,
    others: VecDeque<Ask>,
}

impl Batch {
    fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Reload(done) => self.readers.push(done),
            other @ (Ask::Register(..) | Ask::Switch(..) | Ask::Scale(..) | Ask::End(_)) => {
                self.others.push_back(other)
            }
        }
    }

    /// All that is asked for by now. What is asked for later may be about something later.
    fn fill(&mut self, asked: &mut mpsc::Receiver<Ask>) {
        while let Ok(ask) = asked.try_recv() {
            self.take(ask);
        }
    }

    fn reads(&self) -> bool {
        self.changed || !self.readers.is_empty()
    }

    fn answer(&mut self, outcome: &Result<ReloadView, Failure>) {
        self.changed = false;
        for done in self.readers.drain(..) {
            // Whoever asked may have gone.
            done.send(outcome.clone()).ok();
        }
    }
}

pub(super) struct Registry {
    inner: Arc<Inner>,
    context: Arc<Context>,
    switches: Switches,
    /// Plugins of the embedding program: what every reading has besides the files.
    embedded: BTreeMap<PluginId, Manifest>,
    /// The manifests by which plugins run.
    current: BTreeMap<PluginId, Manifest>,
    /// Plugins that were removed; one of the same id waits for their end.
    leaving: HashMap<PluginId, Vec<watch::Receiver<bool>>>,
    /// What was wrong at the last reading, so that each problem is told once.
    told: BTreeSet<String>,
}

impl Registry {
    pub(super) fn new(inner: Arc<Inner>, context: Context) -> Self {
        let switches = Switches::load(&inner.options.state);
        Self {
            inner,
            context: Arc::new(context),
            switches,
            embedded: BTreeMap::new(),
            current: BTreeMap::new(),
            leaving: HashMap::new(),
            told: BTreeSet::new(),
        }
    }

    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<Ask>, mut ticks: watch::Receiver<()>) {
        let ending = self.inner.services.tasks.ending().clone();
        let mut watched = true;
        let mut batch = Batch::default();
        loop {
            if let Some(ask) = batch.others.pop_front() {
                match ask {
                    Ask::Reload(done) => batch.readers.push(done),
                    Ask::Register(manifest, done) => drop(done.send(self.register(*manifest).await)),
                    Ask::Switch(id, enabled, done) => drop(done.send(self.switch(&id, enabled).await)),
                    Ask::Scale(id, replicas, done) => drop(done.send(self.scale(&id, replicas).await)),
                    Ask::End(done) => return self.end(done).await,
                }
                continue;
            }
            if batch.readers.is_empty() {
                tokio::select! {
                    ask = asked.recv() => match ask {
                        Some(ask) => batch.take(ask),
                        None => return,
                    },
                    changed = ticks.changed(), if watched => {
                        // Without a watcher the API's reload still works.
                        watched = changed.is_ok();
                        batch.changed = true;
                    }
                    () = ending.cancelled() => return,
                }
            }
            batch.fill(&mut asked);
            if batch.reads() {
                // What changed until now is in this reading.
                ticks.mark_unchanged();
                let outcome = self.reload().await;
                if let (Err(failure), true) = (&outcome, batch.readers.is_empty()) {
                    tracing::error!(%failure, "the manifests could not be read");
                }
                batch.answer(&outcome);
            }
        }
    }

    async fn reload(&mut self) -> Result<ReloadView, Failure> {
        let outcome = self.read().await;
        self.inner.services.meters.reloaded(match &outcome {
            Ok(view) if view.invalid.is_empty() && view.loose.is_empty() => Reload::Ok,
            Ok(_) => Reload::Invalid,
            Err(_) => Reload::Failed,
        });
        outcome
    }

    async fn read(&mut self) -> Result<ReloadView, Failure> {
        let (dir, context) = (self.inner.options.plugins.clone(), Arc::clone(&self.context));
        let shown = dir.as_deref().map_or_else(String::new, |dir| dir.display().to_string());
        let (services, known) = (Arc::clone(&self.inner.services), self.known());
        let reading = self.inner.services.tasks.blocking(move || {
            let reading = dir.map_or_else(Reading::default, |dir| load_dir(&dir, &context));
            let new = reading.manifests.values().filter(|manifest| !known.contains(&manifest.id));
            let recalled = new.filter_map(|new| Some((new.id.clone(), services.memory.recall(new)?)));
            let recalled = recalled.collect();
            (reading, recalled)
        });
        match tokio::time::timeout(READING, reading).await {
            Ok(Ok((reading, recalled))) => {
                let view = self.apply(reading, recalled);
                self.lapse().await;
                Ok(view)
            }
            Ok(Err(panic)) => Err(Failure::new(
                Code::Internal,
                format!("reading {shown} failed: {panic}; nothing is changed"),
            )),
            Err(_) => {
                let detail =
                    format!("{shown} does not answer within {} s; nothing is changed", READING.as_secs());
                Err(Failure::new(Code::Overloaded, detail))
            }
        }
    }

    /// The plugins of which nothing need be remembered.
    fn known(&self) -> BTreeSet<PluginId> {
        let table = self.inner.table.load();
        table.values().filter(|one| one.proof().is_some()).map(|one| one.core.id.clone()).collect()
    }

    async fn register(&mut self, manifest: Manifest) -> Result<(), RegisterError> {
        let id = manifest.id.clone();
        if self.inner.table.load().contains_key(&id) {
            return Err(RegisterError::Taken(id));
        }
        self.embedded.insert(id, manifest);
        // What could not be read now is read at the next tick; the plugin is in the next reading in any case.
        if let Err(failure) = self.reload().await {
            tracing::error!(%failure, "the plugin waits for the next reading of the folder");
        }
        Ok(())
    }

    /// The program's own plugins keep their ids; a file that names one of them is set aside, and said to be.
    fn join(&self, reading: &mut Reading) {
        for (id, manifest) in &self.embedded {
            let file = reading.manifests.insert(id.clone(), manifest.clone()).map(|file| file.path);
            let wrong = reading.invalid.remove(id).map(|file| file.path);
            if let Some(path) = file.or(wrong) {
                tracing::error!(plugin = %id, path = %path.display(), "the program has a plugin of this id; the file is not used, rename it");
            }
        }
    }

    fn apply(&mut self, mut reading: Reading, mut recalled: HashMap<PluginId, Record>) -> ReloadView {
        for ends in self.leaving.values_mut() {
            ends.retain(|gone| !*gone.borrow());
        }
        self.leaving.retain(|_, ends| !ends.is_empty());
        self.join(&mut reading);
        let mut table: Table = (**self.inner.table.load()).clone();
        // What was right before goes on by its last good version while its file is wrong.
        let mut next = reading.manifests.clone();
        for (id, manifest) in &self.current {
            if !next.contains_key(id) && reading.keeps(manifest) {
                next.insert(id.clone(), manifest.clone());
            }
        }
        let changes = diff(&self.current, &next);
        for id in changes.added.iter().chain(&changes.changed) {
            if let Some(manifest) = next.get(id) {
                self.configure(&mut table, id, manifest, recalled.remove(id));
            }
        }
        for (id, file) in &reading.invalid {
            let plugin = table.entry(id.clone()).or_insert_with(|| self.handle(id, file.path.clone()));
            plugin.set_problems(file.problems.clone());
        }
        for (id, plugin) in table.iter().filter(|(id, _)| !reading.invalid.contains_key(*id)) {
            plugin.set_problems(reading.warnings.get(id).cloned().unwrap_or_default());
        }
        let gone: Vec<PluginId> = table
            .keys()
            .filter(|id| !next.contains_key(*id) && !reading.invalid.contains_key(*id))
            .cloned()
            .collect();
        let mut left = self.inner.leaving.load().to_vec();
        left.retain(|plugin| !*plugin.gone().borrow());
        for id in &gone {
            if let Some(plugin) = table.remove(id) {
                plugin.retire("its manifest was removed");
                left.push(Arc::clone(&plugin));
                self.leaving.entry(id.clone()).or_default().push(plugin.gone());
            }
        }
        self.current = next;
        // First here, so that it is seen all the time.
        self.inner.leaving.store(Arc::new(left));
        self.inner.table.store(Arc::new(table));
        self.inner.services.catalog_dirty.notify_one();
        self.inner.programs.notify_one();
        // Of a plugin that runs, too, a part may be wrong.
        let partly = reading.warnings.values().flatten().filter(|problem| problem.is_error());
        let wrong = reading.invalid.values().flat_map(|file| &file.problems);
        self.tell(wrong.chain(partly).chain(&reading.loose));
        ReloadView {
            added: changes.added,
            changed: changes.changed,
            removed: gone,
            invalid: reading.invalid.into_keys().collect(),
            loose: reading.loose.iter().map(ToString::to_string).collect(),
        }
    }

    fn configure(&self, table: &mut Table, id: &PluginId, manifest: &Manifest, recalled: Option<Record>) {
        let manifest = Arc::new(manifest.clone());
        let plugin = table.entry(id.clone()).or_insert_with(|| self.handle(id, manifest.path.clone()));
        if let Some(record) = recalled.filter(|_| plugin.proof().is_none()) {
            plugin.remember(record);
        }
        plugin.core.log.learn_secrets(manifest.secrets().map(str::to_owned));
        let enabled = self.switches.get(id.as_str()).unwrap_or(manifest.enabled);
        let switch = self.switches.get(id.as_str());
        let was_enabled = plugin.manifest().map(|last| switch.unwrap_or(last.enabled));
        let own_replicas = manifest.replicas;
        let manifest = match self.switches.replicas(id.as_str(), own_replicas) {
            Some(replicas) if scale::refusal(&manifest, replicas).is_none() => {
                Arc::new(Manifest { replicas, ..Manifest::clone(&manifest) })
            }
            Some(_) | None => manifest,
        };
        plugin.declare_replicas(own_replicas);
        let runs = kinds::plugin(&self.inner.services, &plugin.core, &manifest);
        let setup = Setup::new(manifest, runs);
        plugin.configure(&setup, enabled, self.leaving.get(id).map_or(&[], Vec::as_slice));
        if was_enabled.is_some_and(|was| was != enabled) {
            let (plugin, event) = (Arc::clone(plugin), if enabled { Event::Enable } else { Event::Disable });
            let span = tracing::info_span!(parent: None, "configure", plugin = %id);
            self.inner.services.tasks.spawn(span, async move { plugin.operate(&event).await });
        }
    }

    fn handle(&self, id: &PluginId, path: PathBuf) -> Arc<PluginHandle> {
        let log = LogBook::new(self.inner.options.state.join("logs"), id.as_str(), Vec::new());
        Arc::new(PluginHandle::new(&self.inner.services, id.clone(), path, Arc::new(log)))
    }

    /// Tells each problem once: in the log, and as an event.
    fn tell<'a>(&mut self, problems: impl Iterator<Item = &'a Problem>) {
        let mut now = BTreeSet::new();
        for problem in problems {
            let line = problem.to_string();
            if now.insert(line.clone()) && !self.told.contains(&line) {
                if problem.is_error() {
                    tracing::error!("{line}");
                } else {
                    tracing::warn!("{line}");
                }
                let data =
                    json!({ "path": problem.path.to_string_lossy(), "problem": ProblemView::from(problem) });
                self.inner.services.events.publish("manifest.error", data);
            }
        }
        self.told = now;
    }

    async fn switch(&mut self, id: &PluginId, enabled: bool) -> Result<(), String> {
        self.keep(self.switches.with(id.as_str(), enabled)).await
    }

    async fn scale(&mut self, id: &PluginId, wanted: u32) -> Result<(), String> {
        let gone = || "the plugin is gone".to_owned();
        let manifest = self.current.get(id).ok_or_else(gone)?.clone();
        let scaled = Scaled { wanted, instead_of: manifest.replicas };
        self.keep(self.switches.scaled(id.as_str(), scaled)).await?;
        let mut table: Table = (**self.inner.table.load()).clone();
        if table.contains_key(id) {
            self.configure(&mut table, id, &manifest, None);
        }
        Ok(())
    }

    /// What was asked of a plugin whose manifest declares another number since is forgotten.
    async fn lapse(&mut self) {
        let mut next = self.switches.clone();
        let lapsed = self.current.iter().filter(|(id, manifest)| next.lapse(id.as_str(), manifest.replicas));
        if lapsed.count() > 0
            && let Err(error) = self.keep(next).await
        {
            tracing::error!("{error}");
        }
    }

    async fn keep(&mut self, next: Switches) -> Result<(), String> {
        let saved = self.inner.services.tasks.blocking(move || next.save().map(|()| next)).await;
        let saved = saved.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        self.switches = saved.map_err(|error| format!("the switch could not be written: {error}"))?;
        Ok(())
    }

    /// Ends everything, also what left before, and answers when nothing of any is left.
    async fn end(self, done: oneshot::Sender<()>) {
        let leaving = self.leaving.into_values().flatten().collect();
        end_all(&self.inner, leaving).await;
        // Nobody waits any more if the budget is used up.
        done.send(()).ok();
    }
}

/// Ends all plugins at the same time, and returns when nothing of any is left. `ends`: further ends to wait for.
pub(super) async fn end_all(inner: &Inner, mut ends: Vec<watch::Receiver<bool>>) {
    let table = inner.table.swap(Arc::default());
    inner.lately.forget();
    for plugin in table.values() {
        plugin.retire("the host ends");
        ends.push(plugin.gone());
    }
    for mut end in ends {
        // A sender that is gone has ended.
        end.wait_for(|gone| *gone).await.ok();
    }
    let logs: Vec<Arc<LogBook>> = table.values().map(|plugin| Arc::clone(&plugin.core.log)).collect();
    let flush = move || logs.iter().all(|log| log.flush(FLUSH));
    if !inner.services.tasks.blocking(flush).await.unwrap_or(false) {
        tracing::warn!("the last lines of the plugins' logs are not on disk");
    }
}

#[cfg(test)]
mod tests;
