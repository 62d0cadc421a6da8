//! The host: all wiring is here, read top to bottom. It is also the one door for every edge.

mod awaited;
mod builder;
mod calling;
mod calls;
mod catalog;
pub(crate) mod clients;
pub(crate) mod connections;
mod info;
mod links;
mod metrics;
mod operations;
mod options;
mod programs;
mod registry;
mod scale;
mod switches;
#[cfg(test)]
mod tests;
mod views;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use wharf_core::PluginId;
use wharf_core::catalog::Catalog;
use wharf_core::lifecycle::State;
use wharf_core::manifest::Manifest;

pub use self::builder::Builder;
use self::connections::Connections;
pub use self::info::{Info, ReloadView};
use self::links::Links;
pub use self::operations::Command;
use self::operations::Operations;
pub(crate) use self::options::MAX_CALLS;
use self::options::own;
pub use self::options::{Options, RegisterError, StartError};
use self::registry::{Ask, Registry};
use crate::alarm::Alarm;
use crate::events::EventBus;
use crate::held::Held;
use crate::journal::Journal;
use crate::manifest::Context;
use crate::manifest::watch::Watcher;
use crate::plugin::{Memory, OperationView, PluginHandle, PluginView, Services, Verdicts};
use crate::process::Machine;
use crate::process::logs::LogBook;
use crate::route::Failure;
use crate::route::book::Book;
use crate::route::refusal::unavailable;
use crate::route::resolved::Lately;
use crate::route::routing::Routing;
use crate::tasks::Tasks;

/// A running host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

/// What the edges and the registry share. The registry alone writes the table and the catalog.
#[derive(Debug)]
struct Inner {
    options: Options,
    services: Arc<Services>,
    routing: Arc<Routing>,
    table: ArcSwap<Table>,
    /// Plugins that were removed, as long as something of them is left.
    leaving: ArcSwap<Vec<Arc<PluginHandle>>>,
    catalog: ArcSwap<Catalog>,
    /// Rung when plugins have come or changed: what they are launched from is looked at.
    programs: Notify,
    /// Tells that the catalog was replaced.
    catalog_changed: watch::Sender<()>,
    registry: mpsc::Sender<Ask>,
    operations: Operations,
    /// What waits for clients.
    held: Held,
    /// How many clients are there.
    connections: Connections,
    /// What plugins linked and do not list.
    links: Links,
    /// Names this run of the host in call ids.
    run: u32,
    calls: AtomicU64,
    /// Where calls went.
    lately: Lately,
    /// No call is let in any more.
    closed: AtomicBool,
    /// Held for as long as the host lives: no two hosts share a state folder.
    _lock: File,
}

/// All plugins, in order of id.
type Table = BTreeMap<PluginId, Arc<PluginHandle>>;

impl Host {
    /// Starts a host: reads the manifests and begins to start the plugins. Returns without waiting for them.
    ///
    /// # Errors
    /// If the host's own folders are not usable or in use, or the program does not begin with [`crate::init`].
    pub async fn start(options: Options) -> Result<Self, StartError> {
        crate::process::shim_available()?;
        Self::begin(options).await
    }

    pub(crate) async fn begin(options: Options) -> Result<Self, StartError> {
        let tasks = Tasks::default();
        let state = options.state.clone();
        let read = move || {
            let lock = own(&state)?;
            Ok((lock, Verdicts::load(&state), Journal::open(&state.join("journal"))))
        };
        let (lock, verdicts, (journal, recovery)) = tasks.blocking(read).await.unwrap_or_else(|panic| {
            Err(StartError::Io { path: PathBuf::new(), error: std::io::Error::other(panic) })
        })?;
        let data = std::path::absolute(options.state.join("data"))
            .map_err(|error| StartError::Io { path: options.state.clone(), error })?;
        let machine = Machine::find_out(Some(&options.state), options.containment, &tasks).await;
        let memory = Memory::new(&options.state);
        let plain = Services::new(tasks.clone(), data, machine);
        let services = Arc::new(Services { verdicts, memory, journal, ..plain });
        let (run, events) = (calls::new_run(&recovery), Arc::clone(&services.events));
        let book = Arc::new(Book::new(run, recovery.calls));
        let open = Arc::clone(&book);
        services.journal.keep(&tasks, &events, move |call| open.is_open(call));
        let routing = Routing::new(&services, book, options.max_calls);
        routing.keys.remember(recovery.keys);
        let (asks, asked) = mpsc::channel(16);
        let inner = Arc::new(Inner {
            table: ArcSwap::default(),
            leaving: ArcSwap::default(),
            catalog: ArcSwap::default(),
            programs: Notify::new(),
            catalog_changed: watch::Sender::new(()),
            registry: asks,
            operations: Operations::default(),
            held: Held::default(),
            connections: Connections::default(),
            links: Links::default(),
            run,
            calls: AtomicU64::new(0),
            lately: Lately::default(),
            closed: AtomicBool::new(false),
            routing,
            services,
            _lock: lock,
            options,
        });
        let context = Context::of_process(&inner.options.state)
            .map_err(|error| StartError::Io { path: inner.options.state.clone(), error })?;
        let ticks = match &inner.options.plugins {
            Some(plugins) => Watcher::start(plugins, &tasks),
            None => watch::channel(()).1,
        };
        let registry = Registry::new(Arc::clone(&inner), context);
        tasks.spawn(tracing::info_span!(parent: None, "registry"), registry.run(asked, ticks));
        tasks.spawn(tracing::info_span!(parent: None, "catalog"), catalog::keep(Arc::clone(&inner)));
        tasks.spawn(tracing::info_span!(parent: None, "programs"), programs::keep(Arc::clone(&inner)));
        let host = Self(inner);
        if let Err(failure) = host.reload().await {
            tracing::error!(%failure, "the manifests could not be read at the start; they are read when the folder answers");
        }
        Ok(host)
    }

    /// Lets no call in from now on; those that are in go on. [`Host::shutdown`] ends them.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }

    /// Whether it lets no call in any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Relaxed)
    }

    /// Ends all plugins and tasks, within `budget`. Returns how many tasks had not ended by then.
    pub async fn shutdown(&self, budget: Duration) -> usize {
        self.close();
        let end = tokio::time::Instant::now() + budget;
        let (done, ended) = oneshot::channel();
        let ending = async {
            let asked = self.0.registry.send(Ask::End(done)).await.is_ok();
            if !asked || ended.await.is_err() {
                // A bug has ended the registry; the plugins end all the same.
                registry::end_all(&self.0, Vec::new()).await;
            }
        };
        // Past the budget the processes are killed as their handles drop.
        tokio::time::timeout_at(end, ending).await.ok();
        // Those who tell callers how their calls ended are among the tasks.
        self.settled(end).await;
        let left = end.saturating_duration_since(tokio::time::Instant::now());
        let left = self.0.services.tasks.end(left.max(Duration::from_secs(1))).await;
        self.0.services.machine.close();
        left
    }

    /// About this host.
    #[must_use]
    pub fn info(&self) -> Info {
        info::info(&self.0)
    }

    /// All plugins, in order of id.
    pub async fn plugins(&self) -> Vec<PluginView> {
        let mut all: Vec<PluginView> =
            self.0.shown().iter().map(|plugin| views::plugin(&self.0, plugin)).collect();
        for instance in all.iter_mut().flat_map(|view| &mut view.instances) {
            instance.earlier_exits.clear();
        }
        views::measured(&self.0, all).await
    }

    /// One plugin.
    pub async fn plugin(&self, id: &str) -> Option<PluginView> {
        let one = views::plugin(&self.0, &*self.0.find(id)?);
        views::measured(&self.0, vec![one]).await.pop()
    }

    /// What all plugins offer.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.0.catalog.load_full()
    }

    /// The same, for a look: it is not counted who looks, which threads that serve calls would take from each other.
    pub(crate) fn catalog_now(&self) -> arc_swap::Guard<Arc<Catalog>> {
        self.0.catalog.load()
    }

    /// What waits for its clients.
    pub(crate) fn held(&self) -> &Held {
        &self.0.held
    }

    /// Knows when a time is over.
    pub(crate) fn alarm(&self) -> &Alarm {
        &self.0.services.alarm
    }

    /// How many connections clients have.
    pub(crate) fn connections(&self) -> &Connections {
        &self.0.connections
    }

    /// What plugins linked and do not list.
    pub(crate) fn links(&self) -> &Links {
        &self.0.links
    }

    /// Whether a call would be turned away now, of whatever plugin.
    pub(crate) fn is_full(&self) -> bool {
        self.is_closed() || self.0.routing.calls.are_all_in_flight()
    }

    /// Whether there is room for one more call, of whatever plugin.
    ///
    /// # Errors
    /// If as many are in flight as may be, or no call is let in any more.
    pub(crate) fn has_room(&self) -> Result<(), Failure> {
        if self.is_closed() {
            return Err(Failure::ending());
        }
        self.0.routing.calls.has_room().map_err(Into::into)
    }

    /// The state of a plugin, cheaply.
    #[must_use]
    pub fn state_of(&self, id: &str) -> Option<State> {
        self.0.find(id).map(|plugin| plugin.state())
    }

    /// Whether a plugin sleeps until it is called: no instance serves, and a call starts one.
    #[must_use]
    pub fn starts_on_call(&self, id: &str) -> bool {
        self.0.find(id).and_then(|plugin| plugin.best()).is_some_and(|best| best.asleep)
    }

    /// A plugin's log.
    #[must_use]
    pub fn logs(&self, id: &str) -> Option<Arc<LogBook>> {
        self.0.find(id).map(|plugin| Arc::clone(&plugin.core.log))
    }

    /// What happens in the host.
    #[must_use]
    pub fn events(&self) -> &EventBus {
        &self.0.services.events
    }

    /// The tasks of this host, for the edges that serve it.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.0.services.tasks
    }

    /// Required plugins that are not ready. Empty: `/readyz` says yes. A lazy one that sleeps is ready: the next call has it
    /// started, and it has worked before.
    #[must_use]
    pub fn unready(&self) -> Vec<(PluginId, State)> {
        let table = self.0.table.load();
        let unready = table.values().filter(|plugin| plugin.is_required() && !plugin.is_ready());
        unready.map(|plugin| (plugin.core.id.clone(), plugin.state())).collect()
    }

    /// Begins a command; [`Host::operation`] tells how it goes.
    ///
    /// # Errors
    /// If there is no such plugin, or it cannot do this now.
    pub fn command(&self, id: &str, command: Command) -> Result<OperationView, Failure> {
        let plugin = self.0.table.load().get(id).cloned().ok_or_else(|| Failure::no_plugin(id))?;
        operations::begin(&self.0, plugin, command)
    }

    /// A command that was begun, if it is not forgotten.
    #[must_use]
    pub fn operation(&self, id: &str) -> Option<OperationView> {
        self.0.operations.get(id)
    }

    /// Reads the folder of manifests now and applies what changed.
    ///
    /// # Errors
    /// If the folder cannot be read in time, or the host is ending.
    pub async fn reload(&self) -> Result<ReloadView, Failure> {
        let (done, applied) = oneshot::channel();
        self.0.registry.send(Ask::Reload(done)).await.map_err(|_| Failure::ending())?;
        applied.await.map_err(|_| Failure::ending())?
    }

    /// Runs a plugin of the embedding program beside those of the folder ([`Manifest::embedded`]). Returns without waiting
    /// for it to be ready; it stays until the host ends.
    ///
    /// # Errors
    /// If its id is taken, or the host has ended.
    pub async fn register(&self, manifest: Manifest) -> Result<(), RegisterError> {
        let (done, registered) = oneshot::channel();
        let ask = Ask::Register(Box::new(manifest), done);
        self.0.registry.send(ask).await.map_err(|_| RegisterError::Ended)?;
        registered.await.map_err(|_| RegisterError::Ended)?
    }
}

impl Inner {
    /// All plugins of which there is something to see, in order of id: a removed one is seen until it is gone, or another has
    /// its id.
    fn shown(&self) -> Vec<Arc<PluginHandle>> {
        let table = self.table.load();
        let mut all: Table = (**table).clone();
        for left in self.leaving.load().iter().filter(|left| !*left.gone().borrow()) {
            all.entry(left.core.id.clone()).or_insert_with(|| Arc::clone(left));
        }
        all.into_values().collect()
    }

    fn find(&self, id: &str) -> Option<Arc<PluginHandle>> {
        let of_table = self.table.load().get(id).cloned();
        let is_left = |left: &&Arc<PluginHandle>| left.core.id.as_str() == id && !*left.gone().borrow();
        of_table.or_else(|| self.leaving.load().iter().rev().find(is_left).cloned())
    }

    fn not_now(&self, plugin: &PluginHandle) -> Failure {
        Failure { retry_after: None, ..unavailable(plugin, self.services.clock) }
    }
}
