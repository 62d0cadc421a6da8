//! What the journal costs a call: to be written down when it is handed over, and when it has ended.
//!
//! `cargo bench -p wharf --bench journal`; without `--bench` each case runs once. The figures are for one batch; the number of
//! items a second is that of calls.

use std::sync::Arc;
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use tempfile::TempDir;
use wharf::events::EventBus;
use wharf::journal::Journal;
use wharf::tasks::Tasks;
use wharf_core::CallId;
use wharf_core::journal::{Entry, Outcome, Sent, Settled};

/// Calls that are written to a plugin at once.
const BATCHES: [u64; 4] = [1, 4, 8, 32];

fn main() {
    divan::main();
}

/// All of it: the entries, one record for the batch, and the ends, which go with the next record.
#[divan::bench(args = BATCHES)]
fn calls(bencher: Bencher<'_, '_>, batch: u64) {
    let world = World::new();
    let mut notes = Vec::new();
    bencher.counter(ItemsCount::new(batch)).bench_local(|| {
        notes.clear();
        for n in 0..batch {
            sent(n).put(&mut notes);
        }
        world.journal.append(&notes).expect("there is room");
        for n in 0..batch {
            world.journal.settled(settled(n));
        }
    });
}

/// What is not the system's: the entries alone.
#[divan::bench(args = BATCHES)]
fn entries(bencher: Bencher<'_, '_>, batch: u64) {
    let mut notes = Vec::new();
    bencher.counter(ItemsCount::new(batch)).bench_local(|| {
        notes.clear();
        for n in 0..batch {
            sent(n).put(&mut notes);
            Entry::Settled(settled(n)).put(&mut notes);
        }
        black_box(&notes);
    });
}

fn sent(n: u64) -> Entry<'static> {
    Entry::Sent(Sent {
        call: CallId::new(1, n),
        at: 1_800_000_000_000,
        keyed: false,
        plugin: "memory",
        tool: "search_nodes",
        method: "tools/call",
        instance: 0,
        generation: 1,
        principal: "token",
    })
}

fn settled(n: u64) -> Settled {
    let outcome = Outcome::Answered;
    Settled { call: CallId::new(1, n), at: 1_800_000_000_000, keyed: false, outcome, code: None }
}

/// A journal that is kept as in a host.
struct World {
    journal: Journal,
    tasks: Tasks,
    runtime: tokio::runtime::Runtime,
    _home: TempDir,
}

impl World {
    fn new() -> Self {
        let home = TempDir::with_prefix("wharf-bench-").expect("a temporary folder");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (journal, _) = Journal::open(home.path());
        let tasks = Tasks::default();
        runtime.block_on(async {
            journal.keep(&tasks, &Arc::new(EventBus::default()), |_| false);
        });
        Self { journal, tasks, runtime, _home: home }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.runtime.block_on(self.tasks.end(Duration::from_secs(10)));
    }
}
