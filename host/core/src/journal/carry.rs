//! What of a segment that is about to be deleted must not go with it.

use super::entry::{Entry, entries};
use super::frame::{Records, read_head};
use crate::id::CallId;
use std::collections::{BTreeSet, HashMap};

/// An entry that is worth keeping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept<'a> {
    /// What it says.
    pub entry: Entry<'a>,
    /// Its bytes, to be put into a record.
    pub bytes: &'a [u8],
}

/// The entries of a segment that a later one must have before this one goes: of calls with keys, what was written at
/// `oldest` (milliseconds since 1970) or later, and what was sent and, in this segment, not settled. Whether such a call
/// still runs the caller knows. They are in the order in which they stand. Of answers the newest are kept that fit into
/// `answers` bytes; a key whose answer is not kept stays taken: its call has ended, and does not run again.
#[must_use]
pub fn kept(segment: &[u8], oldest: u64, answers: usize) -> Vec<Kept<'_>> {
    let Ok((_, records)) = read_head(segment) else { return Vec::new() };
    let mut kept: Vec<Option<Kept<'_>>> = Vec::new();
    let mut open = HashMap::new();
    for (entry, bytes) in Records::new(records).flat_map(entries) {
        if entry.at() < oldest {
            continue;
        }
        match &entry {
            Entry::Settled(settled) if !settled.keyed => {
                if let Some(place) = open.remove(&settled.call).and_then(|at: usize| kept.get_mut(at)) {
                    *place = None;
                }
                continue;
            }
            Entry::Sent(sent) if !sent.keyed => {
                if let Some(place) = open.insert(sent.call, kept.len()).and_then(|at| kept.get_mut(at)) {
                    *place = None;
                }
            }
            Entry::Sent(_) | Entry::Settled(_) | Entry::Keyed(_) | Entry::Answer(_) => {}
        }
        kept.push(Some(Kept { entry, bytes }));
    }
    let mut room = answers;
    let fits = |kept: &Kept<'_>| {
        if !matches!(kept.entry, Entry::Answer(_)) {
            return true;
        }
        // One that does not fit leaves the room to those that do.
        let left = room.checked_sub(kept.bytes.len());
        room = left.unwrap_or(room);
        left.is_some()
    };
    let mut newest: Vec<Kept<'_>> = kept.into_iter().flatten().rev().filter(fits).collect();
    newest.reverse();
    newest
}

/// The newest keys of all segments. What is older makes room.
#[derive(Clone, Debug)]
pub struct NewestKeys {
    most: usize,
    taken: BTreeSet<(u64, CallId)>,
    /// There were more.
    full: bool,
}

impl NewestKeys {
    /// Of none yet; `most` are counted.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, taken: BTreeSet::new(), full: false }
    }

    /// Looks at one more segment. One key may be in several.
    pub fn look(&mut self, segment: &[u8]) {
        let Ok((_, records)) = read_head(segment) else { return };
        for (entry, _) in Records::new(records).flat_map(entries) {
            if let Entry::Keyed(keyed) = entry {
                self.taken.insert((keyed.at, keyed.call));
            }
            if self.taken.len() > self.most {
                self.taken.pop_first();
                self.full = true;
            }
        }
    }

    /// When the oldest of them was taken, milliseconds since 1970; 0 if there were no more.
    #[must_use]
    pub fn since(&self) -> u64 {
        self.taken.first().filter(|_| self.full).map_or(0, |(at, _)| *at)
    }
}
