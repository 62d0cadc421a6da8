//! The limits of one launch while it runs: looked after, told in the words of the manifest when one was the end of it, and
//! cleared away.
//!
//! What the kernel does not do by itself is done here, once a second: where there is no control group for memory, the tree
//! is weighed; in version 1, where the kernel kills one process of a group, the others follow; and a refused process is
//! told in the plugin's log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::libc;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use wharf_core::manifest::{ByteSize, Limits, Strictness};
use wharf_plugin_api::{Cause, ExitReport};

use super::cgroup::{self, Groups};
use super::logs::LogBook;
use super::memory::{self, Weight};
use super::plan::{InForce, LimitsPlan};
use super::proc::Pid;
use super::wire::{HOST_STREAM, Order};
use crate::tasks::Tasks;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Of looks at a time: those of plugins that were started together come due together, and each takes a thread for a moment.
static TURNS: Semaphore = Semaphore::const_new(2);
/// How long the last words of a process that aborted may take to reach its log.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// Between two looks at whether they have.
const PAUSE: Duration = Duration::from_millis(5);
/// Node.js writes a stack after it says why.
const NODE_TAIL: usize = 100;
/// What it says.
const NODE_HEAP: &str = "JavaScript heap out of memory";
/// What a shell makes of an abort.
const ABORTED: i32 = 128 + libc::SIGABRT;

/// The limits of one launch. Dropping it removes its groups.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounds {
    shared: Option<Arc<Shared>>,
}

#[derive(Debug)]
struct Shared {
    limits: Limits,
    groups: Groups,
    /// The host weighs the tree itself.
    watchdog: bool,
    log: Log,
    in_force: Arc<InForce>,
    /// Its Node.js was told by us how large its heap may be.
    heap_bounded: bool,
    /// Why the host has killed the tree.
    verdict: OnceLock<String>,
    near: AtomicBool,
    refused: AtomicBool,
    tasks: Tasks,
}

/// What is bounded.
#[derive(Debug)]
pub(super) struct Bounded {
    /// The name of its groups.
    pub(super) name: String,
    pub(super) limits: Limits,
    pub(super) strictness: Strictness,
    /// Its Node.js was told by us how large its heap may be.
    pub(super) heap_bounded: bool,
    /// What was planned to be in force.
    pub(super) in_force: InForce,
}

/// Whose log.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) book: Arc<LogBook>,
    pub(super) instance: u32,
    pub(super) generation: u64,
}

// === impl Bounds ===

impl Bounds {
    /// Makes the groups of a launch. What cannot be made it goes without, the watchdog in the place of a group for memory,
    /// and says so in its log and in what is in force. Blocks for a moment.
    ///
    /// # Errors
    /// If the manifest demands what cannot be made. Nothing is left of it.
    pub(super) fn make(
        plan: &mut LimitsPlan,
        bounded: Bounded,
        log: Log,
        tasks: &Tasks,
    ) -> Result<Self, Cause> {
        let Bounded { name, limits, strictness, heap_bounded, mut in_force } = bounded;
        let (mut groups, unmade) = Groups::make(&plan.groups, &name);
        plan.join = groups.doors();
        let told = in_force
            .without(&unmade, plan, &limits, strictness, memory::has_swap())
            .inspect_err(|_| groups.remove_once())?;
        for line in told {
            tracing::warn!(plugin = log.book.plugin(), "{line}");
            log.say(&line);
        }
        let (verdict, watchdog, in_force) = (OnceLock::new(), plan.watchdog, Arc::new(in_force));
        let [near, refused] = [AtomicBool::default(), AtomicBool::default()];
        let tasks = tasks.clone();
        let shared =
            Shared { limits, groups, watchdog, log, in_force, heap_bounded, verdict, near, refused, tasks };
        Ok(Self { shared: Some(Arc::new(shared)) })
    }

    /// What is in force for the launch.
    pub(super) fn in_force(&self) -> Arc<InForce> {
        self.shared.as_ref().map(|shared| Arc::clone(&shared.in_force)).unwrap_or_default()
    }

    /// Looks after them until `ended`; kills the tree by `orders` when it must.
    pub(super) fn watch(
        &self,
        shim: Pid,
        orders: mpsc::WeakSender<Order>,
        ended: impl Future<Output = ()> + Send + 'static,
        tasks: &Tasks,
    ) {
        let Some(shared) = self.shared.clone().filter(|shared| shared.watchdog || !shared.groups.is_empty())
        else {
            return;
        };
        let blocking = tasks.clone();
        tasks.spawn(tracing::Span::current(), async move {
            let mut looks = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            tokio::pin!(ended);
            loop {
                tokio::select! {
                    () = &mut ended => return,
                    () = blocking.ending().cancelled() => return,
                    _ = looks.tick() => {}
                }
                // One that hangs keeps nobody else from looking.
                let turn = tokio::time::timeout(LOOK, TURNS.acquire()).await;
                let looking = Arc::clone(&shared);
                let is_over = blocking.blocking(move || looking.look(shim)).await.unwrap_or(false);
                drop(turn);
                if is_over {
                    if let Some(orders) = orders.upgrade() {
                        // A full queue holds an order that ends it already.
                        orders.try_send(Order::Kill).ok();
                    }
                    return;
                }
            }
        });
    }

    /// The report of the main process's end, with what is known of why. `asked`: the host has told it to end.
    pub(super) async fn explained(
        &self,
        report: ExitReport,
        asked: bool,
        pumps: &[JoinHandle<()>],
        tasks: &Tasks,
    ) -> ExitReport {
        let Some(shared) = self.shared.clone() else { return report };
        if report.signal == Some(libc::SIGABRT) || report.code == Some(ABORTED) {
            let end = Instant::now() + LAST_WORDS;
            while !pumps.iter().all(JoinHandle::is_finished) && Instant::now() < end {
                tokio::time::sleep(PAUSE).await;
            }
        }
        let plain = report.clone();
        // Only the host's end leaves it without an explanation.
        tasks.blocking(move || shared.explained(report, asked)).await.unwrap_or(plain)
    }

    /// Kills what is in its groups, where the kernel does that with one write.
    pub(super) fn kill(&self) {
        if let Some(shared) = &self.shared {
            shared.groups.kill();
        }
    }

    /// Kills what is in its groups and waits until nothing is, where nobody else looks for it. Blocks.
    pub(super) fn end_members(&self, main: Pid) {
        if let Some(shared) = self.shared.as_ref().filter(|shared| !shared.groups.is_empty()) {
            cgroup::members_ended(&shared.groups, main);
        }
    }

    /// Removes its groups: nothing is in them any more. False if one stays. Blocks.
    pub(super) fn remove(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.groups.clone().remove())
    }
}

// === impl Shared ===

impl Shared {
    /// True if the tree must be killed.
    fn look(&self, shim: Pid) -> bool {
        self.tell_refused();
        if let Some(most) = self.limits.memory.filter(|_| self.watchdog) {
            match memory::weigh(shim, most.0) {
                Weight::Fine => {}
                Weight::Near(bytes) => self.tell_near(bytes, most),
                Weight::Over(bytes) => {
                    let held = mib(bytes);
                    return self.condemn(format!(
                        "its processes held {held} MiB, more than limits.memory = {most}; the host looks each second"
                    ));
                }
            }
        }
        self.groups.oom_kills() > 0 && self.condemn(self.killed_for_memory())
    }

    fn condemn(&self, verdict: String) -> bool {
        self.verdict.set(verdict).is_ok()
    }

    fn killed_for_memory(&self) -> String {
        let limit = self.limits.memory.map_or_else(String::new, |most| format!(" = {most}"));
        let held = self
            .groups
            .peak()
            .map_or_else(String::new, |bytes| format!(", when they held {} MiB", mib(bytes)));
        format!("the kernel killed one of its processes at limits.memory{limit}{held}")
    }

    fn tell_near(&self, bytes: u64, most: ByteSize) {
        if !self.near.swap(true, Ordering::Relaxed) {
            let held = mib(bytes);
            self.log
                .say(&format!("its processes hold {held} MiB; over limits.memory = {most} they are killed"));
        }
    }

    fn tell_refused(&self) {
        if self.groups.refused() > 0 && !self.refused.swap(true, Ordering::Relaxed) {
            let most = self.limits.pids;
            self.log.say(&format!("it was refused a process or thread: it has all {most} of limits.pids"));
        }
    }

    fn explained(&self, report: ExitReport, asked: bool) -> ExitReport {
        self.tell_refused();
        if self.groups.oom_kills() > 0 {
            self.condemn(self.killed_for_memory());
        }
        if let Some(verdict) = self.verdict.get() {
            self.log.say(&format!("killed: {verdict}"));
            return ExitReport { oom: true, note: Some(verdict.clone()), ..report };
        }
        let note = report.note.clone().or_else(|| self.note(&report, asked));
        ExitReport { note, ..report }
    }

    /// What an end of this kind means, if that is not plain.
    fn note(&self, report: &ExitReport, asked: bool) -> Option<String> {
        if report.code == Some(ABORTED) || report.signal == Some(libc::SIGABRT) {
            let Log { book, instance, generation } = &self.log;
            let said = book.tail_of(*instance, *generation, NODE_TAIL);
            let of = self
                .limits
                .memory
                .filter(|_| self.heap_bounded)
                .map_or_else(String::new, |most| format!(", which is 75 % of limits.memory = {most}"));
            return said
                .iter()
                .any(|line| line.text.contains(NODE_HEAP))
                .then(|| format!("its JavaScript heap was full{of}"));
        }
        match report.signal? {
            libc::SIGKILL if !asked => Some("the host did not send it".to_owned()),
            libc::SIGXFSZ => {
                let most = self
                    .limits
                    .file_size
                    .map_or_else(String::new, |most| format!(" of limits.file_size = {most}"));
                Some(format!("it wrote a file beyond the limit{most}"))
            }
            libc::SIGXCPU => Some("it used all the processor time that it may".to_owned()),
            _ => None,
        }
    }
}

impl Drop for Shared {
    /// After a start that failed, or with a runtime that ends: its last process may be about to end too.
    fn drop(&mut self) {
        let mut groups = std::mem::take(&mut self.groups);
        if !groups.exist() {
            return;
        }
        if self.tasks.ending().is_cancelled() {
            groups.remove_once();
            return;
        }
        let removal = Removal(groups);
        if Handle::try_current().is_ok() {
            self.tasks.blocking(move || drop(removal));
        }
    }
}

/// Removes the groups even if nobody runs what was to do it.
struct Removal(Groups);

impl Drop for Removal {
    fn drop(&mut self) {
        self.0.remove();
    }
}

// === impl Log ===

impl Log {
    fn say(&self, text: &str) {
        self.book.append(self.instance, self.generation, HOST_STREAM, text);
    }
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests;
