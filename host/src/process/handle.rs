//! A running process as the host sees it: wait for its end, stop it, kill it. One task per process owns the shim's socket.

mod orphans;

use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use nix::libc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines, Take};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use wharf_core::manifest::Stop;
use wharf_plugin_api::ExitReport;

use super::bounds::Bounds;
use super::dial::Line;
use super::keeper::Keeper;
use super::ledger::Entry;
use super::level::Level;
use super::memory;
use super::proc::{self, Pid};
use super::spawn::{Launch, Unkillable};
use super::sweep::{self, Swept, Traces};
use super::wire::{Order, Report};
use crate::tasks::Tasks;

/// All that one shim may ever report, bytes: a few hundred are usual.
const MAX_REPORTS: u64 = 64 * 1024;

/// After the order to kill: how long the shim may take before it is killed itself and the host kills what it had.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// How long the host looks for what a killed shim has left.
const SWEEP_BUDGET: Duration = Duration::from_secs(5);

/// What survived that is looked for again this often, and for so long each time: until it is gone, or the host ends.
const SWEEP_AGAIN: Duration = Duration::from_secs(1);
const SWEEP_SHORT: Duration = Duration::from_millis(50);

/// How long the host takes for what is left in control groups, at most (`cgroup::end`).
const GROUPS_BUDGET: Duration = Duration::from_secs(5);

/// How long the last lines of a tree that is gone may take to reach the log.
const DRAIN_BUDGET: Duration = Duration::from_secs(1);

/// After the order to kill: when a waiter no longer believes that it will end. The steps together, with what can pass
/// before a step notices: the shim's patience and its reaping (twice), its groups, the sweep, the last lines.
const GONE_BUDGET: Duration = Duration::from_secs(
    3 * KILL_PATIENCE.as_secs()
        + GROUPS_BUDGET.as_secs()
        + SWEEP_BUDGET.as_secs()
        + DRAIN_BUDGET.as_secs()
        + 1,
);

/// How often it is looked what is below a shim, where the kernel does not hold a tree together.
const LOOK: Duration = Duration::from_secs(1);

/// A process, shared. Dropping the last clone kills the tree.
#[derive(Clone, Debug)]
pub struct ProcessHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pid: Pid,
    shim: Pid,
    with_stdin: bool,
    stop: Stop,
    orders: mpsc::Sender<Order>,
    phase: watch::Receiver<Phase>,
    /// Into its network, if that is its own.
    line: Option<Line>,
}

/// How far its end has come.
#[derive(Clone, Debug)]
enum Phase {
    Running,
    /// The main process has ended.
    Exited(ExitReport),
    /// No process is left.
    Gone(ExitReport),
}

/// The host's side of one shim.
pub(super) struct Shim {
    reports: Lines<BufReader<Take<OwnedReadHalf>>>,
    orders: OwnedWriteHalf,
    keeper: Keeper,
}

/// What the guarding task needs besides.
pub(super) struct Guarded {
    pub(super) pid: Pid,
    /// By what the processes of the tree are known.
    pub(super) traces: Traces,
    pub(super) pumps: Vec<JoinHandle<()>>,
    pub(super) level: Level,
    pub(super) launch: Launch,
    /// Into its network, if that is its own.
    pub(super) line: Option<Line>,
    /// Its line in the ledger, struck out when nothing is left.
    pub(super) entry: Entry,
    pub(super) bounds: Bounds,
}

/// The task that owns the shim.
struct Guard {
    shim: Shim,
    guarded: Guarded,
    phase: watch::Sender<Phase>,
    since: Instant,
    /// When the shim is killed, once it was told to kill.
    patience: Option<Instant>,
    /// The host has killed the shim.
    by_us: bool,
    /// The look below the shim that runs now.
    looking: Option<JoinHandle<Traces>>,
    /// Kills what a shim has left: [`sweep::until_gone`].
    sweep: Sweep,
}

type Sweep = Arc<dyn Fn(&Traces, Duration) -> Swept + Send + Sync>;

/// Starts the task that owns the shim.
pub(super) fn guard(shim: Shim, guarded: Guarded, tasks: &Tasks) -> ProcessHandle {
    guard_with(shim, guarded, Arc::new(sweep::until_gone), tasks)
}

fn guard_with(shim: Shim, guarded: Guarded, sweep: Sweep, tasks: &Tasks) -> ProcessHandle {
    let (orders, inbox) = mpsc::channel(8);
    let (phase, watched) = watch::channel(Phase::Running);
    let launch = &guarded.launch;
    let shared = Shared {
        pid: guarded.pid,
        shim: shim.pid(),
        with_stdin: launch.stdin,
        stop: launch.stop.clone(),
        orders,
        phase: watched,
        line: guarded.line.clone(),
    };
    let span = tracing::info_span!(
        "process",
        plugin = launch.log.plugin(),
        instance = launch.instance,
        generation = launch.generation,
        pid = guarded.pid,
    );
    let mut ended = shared.phase.clone();
    let ended = async move { drop(ended.wait_for(|phase| !matches!(phase, Phase::Running)).await) };
    span.in_scope(|| guarded.bounds.watch(shared.shim, shared.orders.downgrade(), ended, tasks));
    let (since, patience, by_us, looking) = (Instant::now(), None, false, None);
    let guard = Guard { shim, guarded, phase, since, patience, by_us, looking, sweep };
    let known = memory::Known::new(guard.guarded.pid, shared.shim);
    tasks.spawn(span, guard.run(inbox, known, tasks.clone()));
    ProcessHandle { shared: Arc::new(shared) }
}

// === impl ProcessHandle ===

impl ProcessHandle {
    /// The plugin's main process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.shared.pid.unsigned_abs()
    }

    /// Waits until the main process has ended; then the rest of the tree is being killed.
    pub async fn exited(&self) -> ExitReport {
        self.reach(|phase| !matches!(phase, Phase::Running)).await
    }

    /// Waits until no process of the tree is left and its last lines are in the log; at the latest, until the host ends.
    pub async fn gone(&self) -> ExitReport {
        self.reach(|phase| matches!(phase, Phase::Gone(_))).await
    }

    /// Ends the tree as the manifest says: waits for an end by itself (the caller has closed stdin, if there is one), asks
    /// every process to terminate, kills the tree. Returns when it is gone. May be called again and at the same time.
    ///
    /// # Errors
    /// If the tree survives SIGKILL. It is still watched: [`ProcessHandle::gone`] tells when it ends after all.
    pub async fn stop(&self) -> Result<ExitReport, Unkillable> {
        let Stop { grace, term, .. } = &self.shared.stop;
        if self.shared.with_stdin
            && let Ok(report) = timeout(grace.0, self.gone()).await
        {
            return Ok(report);
        }
        self.order(Order::Signal(libc::SIGTERM as u8));
        if let Ok(report) = timeout(term.0, self.gone()).await {
            return Ok(report);
        }
        self.kill();
        timeout(GONE_BUDGET, self.gone()).await.map_err(|_| Unkillable { pid: self.pid() })
    }

    /// Kills the tree; [`ProcessHandle::gone`] tells when that is done.
    pub fn kill(&self) {
        self.order(Order::Kill);
    }

    /// The resident memory of the tree, bytes. Shared pages count once for each process. `None` when it has ended. Blocks
    /// for a moment.
    #[must_use]
    pub fn rss_bytes(&self) -> Option<u64> {
        memory::of_tree(self.pid())
    }

    /// Whether the main process is known to have ended.
    pub(super) fn has_exited(&self) -> bool {
        !matches!(*self.shared.phase.borrow(), Phase::Running)
    }

    /// The process that holds the tree together, and connects into its network.
    pub(super) fn shim(&self) -> Pid {
        self.shared.shim
    }

    pub(super) fn line(&self) -> Option<&Line> {
        self.shared.line.as_ref()
    }

    /// Every process of the tree.
    pub(super) fn tree(&self) -> Vec<Pid> {
        proc::descendants(self.shared.shim)
    }

    /// A full queue holds orders that end the process already; a closed one has no process.
    fn order(&self, order: Order) {
        self.shared.orders.try_send(order).ok();
    }

    async fn reach(&self, reached: impl FnMut(&Phase) -> bool) -> ExitReport {
        let mut phase = self.shared.phase.clone();
        match phase.wait_for(reached).await.as_deref() {
            Ok(Phase::Exited(report) | Phase::Gone(report)) => report.clone(),
            // The task is gone without a word: only when the host ends, and the socket with it, so that the shim kills.
            Ok(Phase::Running) | Err(_) => ExitReport::default(),
        }
    }
}

// === impl Shim ===

impl Shim {
    pub(super) fn new(control: StdUnixStream, keeper: Keeper) -> std::io::Result<Self> {
        let (reader, orders) = UnixStream::from_std(control)?.into_split();
        Ok(Self { reports: BufReader::new(reader.take(MAX_REPORTS)).lines(), orders, keeper })
    }

    /// The process that holds the tree together.
    pub(super) fn pid(&self) -> Pid {
        self.keeper.shim().unwrap_or_default()
    }

    pub(super) fn keeper(&mut self) -> &mut Keeper {
        &mut self.keeper
    }

    /// Takes the process that holds the tree together as ours, and lets it begin.
    pub(super) fn adopt(&mut self, shim: Pid) {
        self.keeper.adopt(shim);
        self.order(Order::Go);
    }

    /// The next report; `None` if the shim has ended. May be cancelled.
    pub(super) async fn report(&mut self) -> Option<Report> {
        let line = self.reports.next_line().await.ok()??;
        serde_json::from_str(&line).ok()
    }

    /// Two bytes into a socket that nobody else writes: it has room, or the shim is stopped and cannot obey.
    fn order(&self, order: Order) {
        if let Err(error) = self.orders.try_write(&order.encode()) {
            tracing::debug!(%error, ?order, "the shim does not take an order");
        }
    }
}

// === impl Guard ===

impl Guard {
    async fn run(mut self, inbox: mpsc::Receiver<Order>, known: memory::Known, tasks: Tasks) {
        let clean = self.watch(inbox, &tasks).await;
        // From here on the numbers may mean other processes.
        drop(known);
        if !clean {
            self.tell_of_shim();
        }
        // A shim that adopts nobody knows nothing of what has left its tree.
        let sure = clean && self.guarded.level != Level::ProcessGroup;
        if !sure && !self.clean_up_after_shim(&tasks).await {
            // The host ends before the tree does: that it is gone would not be true.
            return;
        }
        // It ends by itself after its last report; it is reaped here either way.
        if timeout(KILL_PATIENCE, self.shim.keeper.wait()).await.is_err() {
            self.shim.keeper.kill();
        }
        let drained = timeout(DRAIN_BUDGET, async {
            for pump in &mut self.guarded.pumps {
                pump.await.ok();
            }
        });
        if drained.await.is_err() {
            tracing::warn!(
                "the plugin's output is still open in a process outside its tree; it is no longer read"
            );
            self.guarded.pumps.iter().for_each(JoinHandle::abort);
        }
        let mut entry = std::mem::take(&mut self.guarded.entry);
        let bounds = self.guarded.bounds.clone();
        let clear = move || {
            // A group that stays is the next host's to remove.
            if bounds.remove() {
                entry.strike();
            }
        };
        // It only fails while the host ends.
        tasks.blocking(clear).await.ok();
        let report = self.known_report().unwrap_or_default();
        self.phase.send_replace(Phase::Gone(report));
    }

    /// Follows the process to its end. False if the shim ended without reporting that nothing is left.
    async fn watch(&mut self, mut inbox: mpsc::Receiver<Order>, tasks: &Tasks) -> bool {
        let mut held = true;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let apart = self.guarded.level.is_namespace();
        loop {
            let patience = self.patience;
            tokio::select! {
                report = self.shim.report() => match report {
                    Some(Report::Exited(report)) => {
                        let report = self.explained(report, patience.is_some(), tasks).await;
                        self.patience.get_or_insert(Instant::now() + KILL_PATIENCE);
                        self.phase.send_replace(Phase::Exited(report));
                    }
                    Some(Report::Gone) => return true,
                    Some(Report::Shim { .. } | Report::Started { .. } | Report::Failed { .. }) => {}
                    None => return false,
                },
                order = inbox.recv(), if held => {
                    held = order.is_some();
                    self.obey(order.unwrap_or(Order::Kill));
                }
                () = tasks.ending().cancelled(), if patience.is_none() => self.obey(Order::Kill),
                () = sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => {
                    tracing::warn!("the shim does not end its tree; the host does it");
                    // While it lives it has its tree below it: what is seen now is found when that is no longer so.
                    self.look(tasks);
                    self.looked(true).await;
                    self.by_us = true;
                    self.shim.keeper.kill();
                    return false;
                }
                _ = looks.tick(), if !apart => {
                    self.looked(false).await;
                    self.look(tasks);
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        self.shim.order(order);
        if order == Order::Kill {
            self.guarded.bounds.kill();
            self.patience.get_or_insert(Instant::now() + KILL_PATIENCE);
        }
    }

    async fn explained(&self, report: ExitReport, asked: bool, tasks: &Tasks) -> ExitReport {
        self.guarded.bounds.explained(report, asked, &self.guarded.pumps, tasks).await
    }

    fn known_report(&self) -> Option<ExitReport> {
        match &*self.phase.borrow() {
            Phase::Running => None,
            Phase::Exited(report) | Phase::Gone(report) => Some(report.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
