//! What all supervisors of a host share.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use wharf_core::bucket::Bucket;

use super::core::PluginCore;
use super::fetchers::{Fetchers, Fetching};
use super::inbox::GenerationInbox;
use super::kinds::doors::Doors;
use super::kinds::places::Places;
use super::kinds::verdicts::Verdicts;
use super::memory::Memory;
use super::meters::HostMeters;
use super::notice::Notices;
use super::visit::Visits;
use crate::alarm::Alarm;
use crate::clock::Clock;
use crate::dialect::{self, HttpClient};
use crate::events::EventBus;
use crate::journal::Journal;
use crate::process::Machine;
use crate::tasks::Tasks;

/// Instances that may be on their way up at the same time, in the first seconds of it ([`SETTLED`]).
const STARTS: usize = 32;
/// How long a start holds its leave. What a start costs the machine it costs in its first seconds; a server that says nothing
/// for longer waits by itself, and keeps nobody else from starting.
const SETTLED: Duration = Duration::from_secs(5);
/// The same for one that fetches: what says nothing for so long may go on, but the others have their turn.
const FETCHED: Duration = Duration::from_secs(30);
/// Restarts after crashes: this many at once, then one each [`RESTART_INTERVAL`], so that many that die together do not
/// melt the machine (reference: 10 restarts in 10 s).
const RESTART_BURST: u32 = 10;
const RESTART_INTERVAL: Duration = Duration::from_secs(1);

/// Shared by all plugins of one host.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) alarm: Alarm,
    pub(crate) events: Arc<EventBus>,
    pub(crate) notices: Notices,
    pub(crate) visits: Visits,
    pub(crate) starts: Starts,
    /// Rung when the catalog may have changed.
    pub(crate) catalog_dirty: Notify,
    /// Where processes run; at most one tree in each.
    pub(crate) places: Places,
    /// The ways to those that listen.
    pub(crate) doors: Doors,
    /// How servers are known to speak.
    pub(crate) verdicts: Verdicts,
    /// What lazy plugins offer, over the ends of the host.
    pub(crate) memory: Memory,
    /// What is written down of calls.
    pub(crate) journal: Journal,
    /// Where each plugin has a folder of its own, for `${data_dir}`.
    pub(crate) data: PathBuf,
    /// Speaks over HTTP to servers that run elsewhere.
    pub(crate) http: HttpClient,
    /// What is counted beside plugins.
    pub(crate) meters: HostMeters,
    /// Where processes are started.
    pub(crate) machine: Arc<Machine>,
}

/// Leave to start. It is given back by dropping it, when the start has ended either way.
#[derive(Debug)]
pub(crate) struct Leave {
    /// To fetch: it is held until the server is heard.
    pub(super) fetches: bool,
    _plugin: Option<OwnedSemaphorePermit>,
    _host: Option<OwnedSemaphorePermit>,
    _fetching: Option<Fetching>,
}

/// The host-wide bound on starts.
#[derive(Debug)]
pub(crate) struct Starts {
    permits: Arc<Semaphore>,
    fetchers: Fetchers,
    restarts: Mutex<Bucket>,
}

impl Services {
    pub(crate) fn new(tasks: Tasks, data: PathBuf, machine: Arc<Machine>) -> Self {
        Self {
            clock: Clock::start(),
            http: dialect::http_client(&tasks),
            alarm: Alarm::new(&tasks),
            tasks,
            events: Arc::default(),
            notices: Notices::default(),
            visits: Visits::default(),
            starts: Starts::default(),
            catalog_dirty: Notify::new(),
            places: Places::default(),
            doors: Doors::default(),
            verdicts: Verdicts::default(),
            memory: Memory::default(),
            journal: Journal::default(),
            data,
            meters: HostMeters::default(),
            machine,
        }
    }
}

impl Default for Starts {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(STARTS)),
            fetchers: Fetchers::default(),
            restarts: Mutex::new(Bucket::new(RESTART_BURST, RESTART_INTERVAL)),
        }
    }
}

impl Starts {
    /// Waits for leave to start, or to fetch: of the plugin, then of the host. Who waits for others that fetch shows it.
    pub(crate) async fn acquire(
        &self,
        clock: Clock,
        plugin: &PluginCore,
        after_crash: bool,
        fetches: bool,
        inbox: &GenerationInbox,
    ) -> Leave {
        if after_crash {
            let wait = self.restarts.lock().unwrap_or_else(PoisonError::into_inner).take(clock.now());
            tokio::time::sleep(wait).await;
        }
        // The semaphores are never closed; without a permit the start goes on unbounded rather than not at all.
        let of_plugin = Arc::clone(&plugin.starts).acquire_owned().await.ok();
        if !fetches {
            let of_host = Arc::clone(&self.permits).acquire_owned().await.ok();
            return Leave { fetches, _plugin: of_plugin, _host: of_host, _fetching: None };
        }
        let fetching = self.fetchers.enter(&plugin.id, |behind| inbox.waits_behind(behind)).await;
        inbox.waits_behind(&[]);
        Leave { fetches, _plugin: of_plugin, _host: None, _fetching: Some(fetching) }
    }
}

impl Leave {
    /// How long it is held at most.
    pub(super) fn lasts(&self) -> Duration {
        if self.fetches { FETCHED } else { SETTLED }
    }
}

/// A random number, uniform in `0.0..1.0`.
pub(crate) fn roll() -> f64 {
    // Without randomness from the system there is no jitter, and nothing else breaks.
    getrandom::u32().map_or(0.5, |n| f64::from(n) / (f64::from(u32::MAX) + 1.0))
}
