//! What of a segment that is about to be deleted must not go with it.

use super::entry::{Entry, entries};
use super::frame::{Records, read_head};
use std::collections::HashMap;

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
/// still runs the caller knows. The newest are kept, at most `most` bytes, in the order in which they stand.
#[must_use]
pub fn kept(segment: &[u8], oldest: u64, most: usize) -> Vec<Kept<'_>> {
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
    let mut room = most;
    let mut newest: Vec<Kept<'_>> = kept
        .into_iter()
        .flatten()
        .rev()
        .take_while(|kept| {
            let fits = room >= kept.bytes.len();
            room = room.saturating_sub(kept.bytes.len());
            fits
        })
        .collect();
    newest.reverse();
    newest
}
