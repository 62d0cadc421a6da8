//! A case: what it is, what it ran under, what it measured and how it ended. Knows no fault.

mod results;
mod row;

use std::fmt::Display;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

pub(crate) use row::{Row, Survivors};

use crate::support::TestHost;

/// Cases that need the whole machine run one after the other; all else runs beside them.
static HEAVY: Semaphore = Semaphore::const_new(1);

/// What a case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The pure machine on a simulated clock.
    Model,
    /// Real processes.
    Process,
    /// Real processes, and something that not every machine grants: it is skipped loudly without.
    Rights,
}

/// A case that runs. Dropping it writes its row: passed, unless it was skipped or the test panics.
#[derive(Debug)]
pub(crate) struct Case {
    row: Row,
    /// Given back when the case ends.
    heavy: Option<SemaphorePermit<'static>>,
}

impl Case {
    /// Begins a case. `id` as in the list of faults (`F01`); `title` tells this variant of the fault in a few words, and
    /// no other case has both the same.
    pub(crate) fn begin(id: &str, kind: Kind, title: &str) -> Self {
        let row = Row::new(id, kind.letter(), title);
        Self { row, heavy: None }
    }

    /// Begins a case once no other that needs the whole machine runs.
    pub(crate) async fn heavy(id: &str, kind: Kind, title: &str) -> Self {
        let permit = HEAVY.acquire().await.expect("the semaphore is never closed");
        let mut case = Self::begin(id, kind, title);
        case.heavy = Some(permit);
        case
    }

    /// Notes how this host keeps processes from outliving it.
    pub(crate) async fn under(&mut self, host: &TestHost) {
        self.row.containment = level(host).await;
    }

    /// Notes a level that is known.
    pub(crate) fn at_level(&mut self, level: &str) {
        level.clone_into(&mut self.row.containment);
    }

    /// Notes a figure.
    pub(crate) fn figure(&mut self, name: &str, value: impl Display) {
        self.row.figures.push((name.to_owned(), value.to_string()));
    }

    /// Notes how long something took.
    pub(crate) fn time(&mut self, name: &str, took: Duration) {
        self.figure(name, millis(took));
    }

    /// Notes a size, rounded to MiB.
    pub(crate) fn size(&mut self, name: &str, bytes: u64) {
        self.figure(name, format_args!("{} MiB", bytes.div_ceil(1 << 20)));
    }

    /// Notes who was left of a tree; the row goes into the table of trees.
    pub(crate) fn survivors(&mut self, found: Survivors) {
        self.row.survivors = Some(found);
    }

    /// Says that this machine cannot run the case, on stderr and in the table.
    pub(crate) fn skip(mut self, why: &str) {
        eprintln!("\n!! SKIPPED: {} {}: {why}\n", self.row.id, self.row.title);
        self.row.outcome = format!("skipped: {why}");
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.row.outcome = "FAILED".to_owned();
        }
        results::keep(&self.row);
        drop(self.heavy.take());
    }
}

impl Kind {
    fn letter(self) -> &'static str {
        match self {
            Self::Model => "M",
            Self::Process => "P",
            Self::Rights => "R",
        }
    }
}

/// The containment that a host says it has: a name, or an object that has one.
pub(crate) async fn level(host: &TestHost) -> String {
    let info = host.get("/api/v1/info").await.expect(200);
    let said = &info["containment"];
    let name = said.as_str().or_else(|| said["level"].as_str());
    name.unwrap_or_else(|| panic!("no containment in {info}")).to_owned()
}

/// Milliseconds below ten seconds, seconds above.
pub(crate) fn millis(took: Duration) -> String {
    if took < Duration::from_secs(10) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}
