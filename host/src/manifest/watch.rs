//! Watches the folder of manifests. It only says "look again"; what changed is found by content.
//!
//! The system's notices make it quick; a fingerprint of the listing, taken every two seconds, makes it sure: network
//! mounts send no notices, a folder may come back as another one, a bundle's file lies one level deeper.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::folder::{MAX_NAMES, is_noise};
use crate::tasks::Tasks;

/// Watches a folder.
#[derive(Debug)]
pub struct Watcher;

/// How long it waits for what.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// No notice for this long: the change is complete.
    quiet: Duration,
    /// Told at the latest after this, whatever else comes.
    most: Duration,
    /// Between fingerprints.
    poll: Duration,
    /// Whether to use the system's notices.
    notices: bool,
}

const TIMING: Timing = Timing {
    quiet: Duration::from_millis(100),
    most: Duration::from_secs(1),
    poll: Duration::from_secs(2),
    notices: true,
};

impl Watcher {
    /// Watches until the host ends. The folder need not exist yet. The first tick comes as soon as the watch stands, so
    /// that no change before it is missed. Ticks that nobody has seen become one.
    #[must_use]
    pub fn start(dir: &Path, tasks: &Tasks) -> watch::Receiver<()> {
        start(dir, tasks, TIMING)
    }
}

fn start(dir: &Path, tasks: &Tasks, timing: Timing) -> watch::Receiver<()> {
    let (ticks, receiver) = watch::channel(());
    let task = Task {
        dir: dir.to_owned(),
        tasks: tasks.clone(),
        timing,
        ticks,
        touched: Arc::new(Notify::new()),
        notices: None,
    };
    tasks.spawn(tracing::info_span!("watch", dir = %dir.display()), task.run());
    receiver
}

struct Task {
    dir: PathBuf,
    tasks: Tasks,
    timing: Timing,
    ticks: watch::Sender<()>,
    touched: Arc<Notify>,
    /// The system's watch, and of which folder: it ends with the folder, not with the name.
    notices: Option<(Identity, RecommendedWatcher)>,
}

/// Device, inode and birth of a folder: an inode's number is given away again.
type Identity = (u64, u64, Option<std::time::SystemTime>);

impl Task {
    async fn run(mut self) {
        let ending = self.tasks.ending().clone();
        // Whoever reads the folder once we are started has seen at least this.
        let mut known = None;
        loop {
            let (identity, now) = self.look().await;
            self.keep_notices(identity);
            if known.replace(now).is_some_and(|before| before != now) {
                self.ticks.send_replace(());
            }
            let touched = tokio::select! {
                () = ending.cancelled() => return,
                () = self.ticks.closed() => return,
                touched = timeout(self.timing.poll, self.touched.notified()) => touched.is_ok(),
            };
            if touched {
                self.settle().await;
                known = Some(self.look().await.1);
                self.ticks.send_replace(());
            }
        }
    }

    /// Waits until a change seems complete.
    async fn settle(&self) {
        let last = Instant::now() + self.timing.most;
        while let Ok(Ok(())) = timeout_at(last, timeout(self.timing.quiet, self.touched.notified())).await {}
    }

    /// Which folder it is now, if there is one, and its fingerprint. Off the runtime's threads: a mount may hang.
    async fn look(&self) -> (Option<Identity>, u64) {
        let dir = self.dir.clone();
        let look = move || {
            let identity =
                std::fs::metadata(&dir).ok().map(|about| (about.dev(), about.ino(), about.created().ok()));
            (identity, fingerprint(&dir))
        };
        self.tasks.blocking(look).await.unwrap_or_default()
    }

    /// Sees to it that the folder which is there now is the one that is watched.
    fn keep_notices(&mut self, identity: Option<Identity>) {
        if !self.timing.notices || self.notices.as_ref().map(|(watched, _)| *watched) == identity {
            return;
        }
        self.notices = identity.and_then(|identity| match self.watch() {
            Ok(watcher) => Some((identity, watcher)),
            Err(error) => {
                tracing::debug!(%error, "no notices of changes; looking every {:?} instead", self.timing.poll);
                None
            }
        });
        if self.notices.is_some() {
            // It may have changed before the watch stood.
            self.touched.notify_one();
        }
    }

    fn watch(&self) -> notify::Result<RecommendedWatcher> {
        let touched = Arc::clone(&self.touched);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error means that notices were lost: look again.
            if event.map_or(true, |event| matters(&event.kind)) {
                touched.notify_one();
            }
        })?;
        watcher.watch(&self.dir, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}

/// Our own reading of the files is no change.
fn matters(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

/// A value that differs when the listing does. 0: there is no folder.
fn fingerprint(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let mut names: Vec<PathBuf> =
        entries.take(MAX_NAMES).filter_map(Result::ok).map(|entry| entry.path()).collect();
    names.sort();
    let mut hash = DefaultHasher::new();
    for path in names {
        if path.file_name().is_some_and(|name| is_noise(&name.to_string_lossy())) {
            continue;
        }
        path.hash(&mut hash);
        // Links are followed: what they lead to may be swapped.
        identity(&path).hash(&mut hash);
        if path.is_dir() {
            identity(&path.join("plugin.toml")).hash(&mut hash);
        }
    }
    hash.finish().max(1)
}

fn identity(path: &Path) -> Option<[i64; 6]> {
    let about = std::fs::metadata(path).ok()?;
    // A folder's own times change with what lies in it, which is not looked at.
    let of_file =
        if about.is_dir() { [0; 3] } else { [about.mtime(), about.mtime_nsec(), about.size().cast_signed()] };
    let [seconds, nanos, size] = of_file;
    Some([
        about.dev().cast_signed(),
        about.ino().cast_signed(),
        i64::from(about.mode()),
        seconds,
        nanos,
        size,
    ])
}

#[cfg(test)]
mod tests;
