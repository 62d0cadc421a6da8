//! Programs that are replaced on the disk: each plugin's files are looked at every few seconds, and a change that holds still
//! has the plugin launched from them, as a change of its manifest would.
//!
//! Each look is a handful of `stat` calls in a thread of its own: a file system that does not answer holds up its own plugin.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use wharf_core::PluginId;
use wharf_core::manifest::{Kind, Manifest};

use super::Inner;
use crate::plugin::PluginHandle;
use crate::plugin::kinds::origin::{Stamp, origin};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);
/// What has looked the same for so long holds still.
const STILL: Duration = Duration::from_secs(1);
/// How long all looks of a round are waited for; one that takes longer is left alone.
const ROUND: Duration = Duration::from_secs(2);
/// Between two changes of a program that have it launched again: one that writes to itself does not keep the host busy.
const APART: Duration = Duration::from_secs(10);

type Look = Vec<(PathBuf, Option<Stamp>)>;

/// What is known of the files of one plugin.
#[derive(Debug, Default)]
struct Seen {
    /// By which it was looked for.
    manifest: Option<Arc<Manifest>>,
    /// What the plugin was launched from.
    launched: Look,
    /// What was there the last times, if it is something else, and since when.
    other: Option<(Look, Instant)>,
    last: Option<Instant>,
    /// A look is under way.
    looking: Arc<AtomicBool>,
}

/// Looks on until the host ends.
pub(super) async fn keep(inner: Arc<Inner>) {
    let ending = inner.services.tasks.ending().clone();
    // Later it may have a mark of having been replaced.
    let own = std::env::current_exe().ok();
    let mut seen = HashMap::<PluginId, Seen>::new();
    loop {
        tokio::select! {
            () = inner.programs.notified() => {}
            () = sleep(LOOK) => {}
            () = ending.cancelled() => return,
        }
        let table = inner.table.load_full();
        seen.retain(|id, _| table.contains_key(id));
        let mut round = Vec::new();
        for (id, plugin) in &*table {
            let Some(manifest) = plugin.newest().filter(|newest| matches!(newest.kind, Kind::Command(_)))
            else {
                continue;
            };
            let looking = Arc::clone(&seen.entry(id.clone()).or_default().looking);
            if looking.swap(true, Ordering::AcqRel) {
                continue;
            }
            let (own, plugin) = (own.clone(), Arc::clone(plugin));
            let job = inner.services.tasks.blocking(move || {
                let look = origin(&manifest, own.as_deref());
                looking.store(false, Ordering::Release);
                (manifest, look)
            });
            round.push(async move { Some((plugin, timeout(ROUND, job).await.ok()?.ok()?)) });
        }
        for (plugin, (manifest, look)) in join_all(round).await.into_iter().flatten() {
            judge(&mut seen, &plugin, manifest, look);
        }
    }
}

fn judge(
    seen: &mut HashMap<PluginId, Seen>,
    plugin: &Arc<PluginHandle>,
    manifest: Arc<Manifest>,
    look: Look,
) {
    let Some(seen) = seen.get_mut(&plugin.core.id) else { return };
    if seen.changed(manifest, look, Instant::now()) {
        tracing::info!(plugin = %plugin.core.id, "what it is launched from has changed on the disk");
        plugin.renewed();
    }
}

impl Seen {
    /// Whether the files are others than those that the plugin was launched from, and hold still.
    fn changed(&mut self, manifest: Arc<Manifest>, look: Look, now: Instant) -> bool {
        let last = self.manifest.replace(Arc::clone(&manifest));
        if last.is_none_or(|last| manifest.launches_otherwise(&last)) {
            // It is launched anew by itself.
            (self.launched, self.other) = (look, None);
            return false;
        }
        if look == self.launched {
            self.other = None;
            return false;
        }
        let since = self.other.take().filter(|(other, _)| *other == look).map_or(now, |(_, since)| since);
        let holds_still = now.duration_since(since) >= STILL;
        let is_whole = look.iter().all(|(_, stamp)| stamp.is_some());
        let is_due = self.last.is_none_or(|last| now.duration_since(last) >= APART);
        if holds_still && is_whole && is_due {
            (self.launched, self.other, self.last) = (look, None, Some(now));
            return true;
        }
        self.other = Some((look, since));
        false
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use tokio::time::Instant;
    use wharf_core::manifest::{Kind, Span, Template};

    use super::{APART, STILL, Seen};
    use crate::plugin::kinds::origin::origin;
    use crate::plugin::testkit::manifest;

    #[test]
    fn a_change_counts_when_it_holds_still_and_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("server.py");
        let mut manifest = manifest("p");
        let Kind::Command(command) = &mut manifest.kind else { panic!("a command") };
        command.argv = vec![Template::text("sh"), Template::text(script.to_str().unwrap())];
        let (mut seen, mut now) = (Seen::default(), Instant::now());
        let of = Arc::new(manifest);
        let mut look = |manifest: &Arc<_>| {
            now += STILL;
            seen.changed(Arc::clone(manifest), origin(manifest, None), now)
        };
        fs::write(&script, "one").unwrap();
        assert!(!look(&of) && !look(&of), "nothing has changed");
        fs::write(&script, "half").unwrap();
        assert!(!look(&of), "it may be half written");
        fs::write(&script, "the whole").unwrap();
        assert!(!look(&of), "it was");
        assert!(look(&of));
        assert!(!look(&of), "once");
        fs::remove_file(&script).unwrap();
        assert!(!look(&of) && !look(&of), "what is not there is not launched");
        fs::write(&script, "again").unwrap();
        assert!(!look(&of) && !look(&of), "too soon after the last");
        assert!((0..APART.as_secs()).any(|_| look(&of)));
        let mut other = (*of).clone();
        other.stop.term = Span::secs(77);
        fs::write(&script, "with a new manifest").unwrap();
        let other = Arc::new(other);
        assert!(!look(&other) && !look(&other), "that is an upgrade already");
    }
}
