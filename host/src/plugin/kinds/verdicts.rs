//! What is remembered of how a server speaks, so that it is asked once and not at every start.
//!
//! A wrong verdict of the old era does no harm and is therefore only kept for a day; a wrong one of the new era makes the
//! handshake fail, and is forgotten then. A server that was silent to the question has no verdict, but a turn: its next
//! launch spends all of its time on one era.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use wharf_plugin_api::Era;

/// How long a server counts as legacy without being asked again.
const LEGACY_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// More servers than a host ever has at once; the oldest is forgotten.
const MOST: usize = 4096;

/// What is launched, or where it runs. A hash: commands and addresses may hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u64);

/// The verdicts of one host.
#[derive(Debug, Default)]
pub(crate) struct Verdicts(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    verdicts: HashMap<Fingerprint, (Era, Instant)>,
    /// How servers are spoken to next that take longer to start than they are asked for.
    turns: HashMap<Fingerprint, Era>,
}

// === impl Fingerprint ===

impl Fingerprint {
    pub(super) fn of(what: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        Self(hasher.finish())
    }
}

// === impl Verdicts ===

impl Verdicts {
    /// How the server is known to speak.
    pub(super) fn get(&self, server: Fingerprint) -> Option<Era> {
        let (era, since) = *self.known().verdicts.get(&server)?;
        (era == Era::Modern || since.elapsed() < LEGACY_FOR).then_some(era)
    }

    /// It spoke so now.
    pub(super) fn put(&self, server: Fingerprint, era: Era) {
        let mut known = self.known();
        known.turns.remove(&server);
        let all = &mut known.verdicts;
        // One that only holds does not become younger, or a server in use would never be asked again.
        if all.get(&server).is_some_and(|(known, since)| *known == era && since.elapsed() < LEGACY_FOR) {
            return;
        }
        if all.len() >= MOST
            && !all.contains_key(&server)
            && let Some(oldest) = all.iter().min_by_key(|(_, (_, since))| *since).map(|(oldest, _)| *oldest)
        {
            all.remove(&oldest);
        }
        all.insert(server, (era, Instant::now()));
    }

    /// It did not speak so now.
    pub(super) fn forget(&self, server: Fingerprint) {
        self.known().verdicts.remove(&server);
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

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        verdicts.put(old, Era::Legacy);
        verdicts.put(new, Era::Modern);
        advance(LEGACY_FOR / 2).await;
        verdicts.put(old, Era::Legacy);
        assert_eq!((verdicts.get(old), verdicts.get(new)), (Some(Era::Legacy), Some(Era::Modern)));
        advance(LEGACY_FOR / 2).await;
        assert_eq!((verdicts.get(old), verdicts.get(new)), (None, Some(Era::Modern)));
        verdicts.put(old, Era::Legacy);
        assert_eq!(verdicts.get(old), Some(Era::Legacy), "it was asked again");
        verdicts.forget(new);
        assert_eq!(verdicts.get(new), None);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_remembered_than_fit() {
        let verdicts = Verdicts::default();
        for n in 0..=MOST {
            verdicts.put(Fingerprint::of(&n), Era::Modern);
            advance(Duration::from_millis(1)).await;
        }
        assert_eq!(verdicts.known().verdicts.len(), MOST);
        assert_eq!(
            (verdicts.get(Fingerprint::of(&0usize)), verdicts.get(Fingerprint::of(&1usize))),
            (None, Some(Era::Modern))
        );
    }
}
