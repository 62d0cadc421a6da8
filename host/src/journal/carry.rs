//! What of a segment that is about to be deleted is written to the newest first. Blocks.
//!
//! Calls write to the journal meanwhile: what is carried is chosen before the writer's lock is taken, and written in pieces.

use std::iter::Peekable;

use wharf_core::journal::{Kept, NewestKeys, kept};

use super::segment::Found;
use super::{Inner, durable};

/// Of the answers in one that goes, no more are carried, bytes.
const ANSWERS: usize = 1 << 20;
/// Keys that are carried, of all segments; as many as are known while the host lives.
const KEYS: usize = 10_000;
/// A record of what is carried ends with the entry that reaches this, bytes.
const PIECE: usize = 64 << 10;

impl Inner {
    /// Writes what must be kept of a segment to the newest. False: it could not be.
    pub(super) fn carry(&self, segment: &[u8], oldest: u64) -> bool {
        let mut candidates = kept(segment, oldest, ANSWERS);
        let has_keys = candidates.iter().any(|kept| kept.entry.is_keyed());
        let since = if has_keys { self.keys_since() } else { 0 };
        candidates
            .retain(|kept| (kept.entry.is_keyed() && kept.entry.at() >= since) || self.still_open(kept));
        let mut left = candidates.iter().peekable();
        while left.peek().is_some() {
            if !self.carry_piece(&mut left) {
                return false;
            }
        }
        // Before the only other copy goes.
        durable::now(self)
    }

    fn carry_piece<'a>(&self, left: &mut Peekable<impl Iterator<Item = &'a Kept<'a>>>) -> bool {
        let mut writer = self.writer();
        let record = writer.begin();
        let empty = record.len();
        while record.len() < PIECE
            && let Some(kept) = left.next()
        {
            // Again, under the lock: a call that ends after this writes that it did behind it.
            if kept.entry.is_keyed() || self.still_open(kept) {
                record.extend_from_slice(kept.bytes);
            }
        }
        if record.len() == empty {
            return true;
        }
        let written = writer.write(&self.folder, true);
        self.wrote(writer, written).is_ok()
    }

    fn still_open(&self, kept: &Kept<'_>) -> bool {
        self.is_open.get().is_some_and(|is_open| is_open(kept.entry.call()))
    }

    /// Keys that were taken before it have made room for others.
    fn keys_since(&self) -> u64 {
        let mut newest = NewestKeys::new(KEYS);
        // What cannot be read makes nobody's room.
        for bytes in Found::all(&self.folder).into_iter().flatten().flat_map(|segment| segment.read()) {
            newest.look(&bytes);
        }
        newest.since()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use wharf_core::CallId;
    use wharf_core::journal::{Answer, Entry, KeyState, Records, head, read_head};

    use super::super::testkit::{self, keyed_at, sent_at};
    use super::super::writer::Writer;
    use super::super::{millis, recover};
    use super::*;

    /// What one call with a key and one without leave, as a record.
    fn record(n: u64, at: u64) -> Vec<u8> {
        let (call, other) = (CallId::new(7, n), CallId::new(8, n));
        let answer = Entry::Answer(Answer { call, at, result: &[b'x'; 200] });
        testkit::record(&[keyed_at(&call, at), answer, sent_at(&other, at)])
    }

    #[test]
    fn it_is_chosen_without_the_lock_and_written_in_pieces_the_newest_keys_all_of_them() {
        let home = tempfile::tempdir().unwrap();
        let begun = millis(SystemTime::now()) - 60_000;
        let surplus = 500;
        let records = (0..KEYS as u64 + surplus).flat_map(|n| record(n, begun + n));
        let old: Vec<u8> = head(begun).into_iter().chain(records).collect();
        let path = home.path().join("0000000000000001.journal");
        std::fs::write(&path, &old).unwrap();

        let inner = Arc::new(Inner::new(home.path().to_owned(), Writer::new(2)));
        let asked = Arc::downgrade(&inner);
        let is_open = move |_: &CallId| {
            assert!(asked.upgrade().unwrap().writer.try_lock().is_ok(), "calls cannot write meanwhile");
            false
        };
        inner.is_open.set(Box::new(is_open)).ok();
        inner.try_again();
        assert!(inner.carry(&old, 0));
        std::fs::remove_file(path).unwrap();

        let new = Found::all(home.path()).unwrap()[0].read().unwrap();
        let lengths: Vec<_> = Records::new(read_head(&new).unwrap().1).map(<[u8]>::len).collect();
        assert!(lengths.len() > 10 && lengths.iter().all(|length| *length < 2 * PIECE), "{lengths:?}");
        let (found, _) = recover::recover(home.path());
        assert_eq!((found.keys.len(), found.keys[0].at, found.calls.len()), (KEYS, begun + surplus, 0));
        let answered = found.keys.iter().filter(|key| matches!(key.state, KeyState::Answered(_))).count();
        assert!((3_000..6_000).contains(&answered), "of answers what fits: {answered}");
    }
}
