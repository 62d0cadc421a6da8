//! What is remembered of how a server speaks, so that it is asked once and not at every start.
//!
//! A wrong verdict of the old era does no harm and is therefore only kept for a day; a wrong one of the new era makes the
//! handshake fail, and is forgotten then. A server that was silent to the question has no verdict, but a turn: its next
//! launch spends all of its time on one era.
//!
//! Verdicts survive the host in its state folder. They are a help and no more: a file that cannot be read or written costs
//! a question.

mod file;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use wharf_plugin_api::Era;

use self::file::File;
use crate::clock::Clock;

/// How long a server counts as legacy without being asked again.
const LEGACY_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// More servers than a host has at once; the oldest is forgotten.
const MOST: usize = 1024;

/// What is launched, or where it runs. A hash: commands and addresses may hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u64);

/// The verdicts of one host.
#[derive(Debug)]
pub(crate) struct Verdicts {
    clock: Clock,
    known: Mutex<Known>,
    /// Where they are kept; `None`: they end with the host.
    file: Option<File>,
}

#[derive(Debug, Default)]
struct Known {
    verdicts: HashMap<Fingerprint, Verdict>,
    /// How servers are spoken to next that take longer to start than they are asked for.
    turns: HashMap<Fingerprint, Era>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    era: Era,
    /// Since 1970: it is compared across runs of the host.
    since: Duration,
}

// === impl Fingerprint ===

impl Fingerprint {
    pub(super) fn of(what: &impl Hash) -> Self {
        // Its keys are always the same. Should another release of it hash in another way, each server is asked once more.
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        Self(hasher.finish())
    }
}

// === impl Verdicts ===

impl Default for Verdicts {
    fn default() -> Self {
        Self { clock: Clock::start(), known: Mutex::default(), file: None }
    }
}

impl Verdicts {
    /// Those of the last run, which are kept from now on too.
    pub(crate) fn load(state: &Path) -> Self {
        let (file, kept) = File::load(state);
        let this = Self { file: Some(file), ..Self::default() };
        let now = this.now();
        // A date that is still to come is no date: the wall clock was wrong.
        this.known().verdicts =
            kept.into_iter().filter(|(_, verdict)| verdict.since <= now).take(MOST).collect();
        this
    }

    /// Writes them; on disk before it returns. To be called off the runtime, after what says that they changed.
    pub(super) fn save(&self) {
        if let Some(file) = &self.file {
            file.save(|| self.known().verdicts.iter().map(|(server, verdict)| (*server, *verdict)).collect());
        }
    }

    /// How the server is known to speak.
    pub(super) fn get(&self, server: Fingerprint) -> Option<Era> {
        let verdict = *self.known().verdicts.get(&server)?;
        verdict.holds(self.now()).then_some(verdict.era)
    }

    /// It spoke so now. True if that is news.
    pub(super) fn put(&self, server: Fingerprint, era: Era) -> bool {
        let now = self.now();
        let mut known = self.known();
        known.turns.remove(&server);
        let all = &mut known.verdicts;
        // One that only holds does not become younger, or a server in use would never be asked again.
        if all.get(&server).is_some_and(|known| known.era == era && known.holds(now)) {
            return false;
        }
        if all.len() >= MOST
            && !all.contains_key(&server)
            && let Some(oldest) =
                all.iter().min_by_key(|(_, verdict)| verdict.since).map(|(oldest, _)| *oldest)
        {
            all.remove(&oldest);
        }
        all.insert(server, Verdict { era, since: now });
        true
    }

    /// It did not speak so now. True if that is news.
    pub(super) fn forget(&self, server: Fingerprint) -> bool {
        self.known().verdicts.remove(&server).is_some()
    }

    /// How the server is spoken to next, without being asked.
    pub(super) fn turn(&self, server: Fingerprint) -> Option<Era> {
        self.known().turns.get(&server).copied()
    }

    /// It is spoken to so next; `None`: it is asked.
    pub(super) fn set_turn(&self, server: Fingerprint, turn: Option<Era>) {
        let turns = &mut self.known().turns;
        match turn {
            // One that is not remembered is asked again, that is all.
            Some(_) if turns.len() >= MOST && !turns.contains_key(&server) => {}
            Some(era) => drop(turns.insert(server, era)),
            None => drop(turns.remove(&server)),
        }
    }

    fn now(&self) -> Duration {
        self.clock.wall(self.clock.now()).duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Verdict ===

impl Verdict {
    fn holds(self, now: Duration) -> bool {
        self.era == Era::Modern || now.saturating_sub(self.since) < LEGACY_FOR
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;
    use wharf_plugin_api::Era;

    use super::{Fingerprint, LEGACY_FOR, MOST, Verdicts};

    #[tokio::test(start_paused = true)]
    async fn the_old_era_is_asked_for_anew_after_a_day_whatever_happens_meanwhile() {
        let verdicts = Verdicts::default();
        let (old, new) = (Fingerprint::of(&"old"), Fingerprint::of(&"new"));
        assert_eq!(verdicts.get(old), None);
        assert!(verdicts.put(old, Era::Legacy) && verdicts.put(new, Era::Modern));
        advance(LEGACY_FOR / 2).await;
        assert!(!verdicts.put(old, Era::Legacy), "it is known");
        assert_eq!((verdicts.get(old), verdicts.get(new)), (Some(Era::Legacy), Some(Era::Modern)));
        advance(LEGACY_FOR / 2).await;
        assert_eq!((verdicts.get(old), verdicts.get(new)), (None, Some(Era::Modern)));
        assert!(verdicts.put(old, Era::Legacy));
        assert_eq!(verdicts.get(old), Some(Era::Legacy), "it was asked again");
        assert!(verdicts.forget(new) && !verdicts.forget(new));
        assert_eq!(verdicts.get(new), None);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_remembered_than_fit() {
        let verdicts = Verdicts::default();
        for n in 0..=MOST {
            verdicts.put(Fingerprint::of(&n), Era::Modern);
            verdicts.set_turn(Fingerprint::of(&n), Some(Era::Legacy));
            advance(Duration::from_millis(1)).await;
        }
        let sizes = {
            let known = verdicts.known();
            (known.verdicts.len(), known.turns.len())
        };
        assert_eq!(sizes, (MOST, MOST));
        assert_eq!(
            (verdicts.get(Fingerprint::of(&0usize)), verdicts.get(Fingerprint::of(&1usize))),
            (None, Some(Era::Modern))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn verdicts_survive_the_host_and_a_day_is_a_day_across_runs() {
        let state = tempfile::tempdir().unwrap();
        let (old, new) = (Fingerprint::of(&"old"), Fingerprint::of(&"new"));
        let first = Verdicts::load(state.path());
        first.put(old, Era::Legacy);
        first.put(new, Era::Modern);
        first.save();
        let second = Verdicts::load(state.path());
        assert_eq!((second.get(old), second.get(new)), (Some(Era::Legacy), Some(Era::Modern)));
        // Less than a minute lies between the two hosts.
        advance(LEGACY_FOR - Duration::from_secs(60)).await;
        assert_eq!(second.get(old), Some(Era::Legacy));
        advance(Duration::from_secs(60)).await;
        assert_eq!((second.get(old), second.get(new)), (None, Some(Era::Modern)));
        second.forget(new);
        second.save();
        assert_eq!(Verdicts::load(state.path()).get(new), None);
    }
}
