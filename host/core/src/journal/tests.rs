use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    Answer, Entry, FRAME, HEAD, HeadError, KeyState, Keyed, MAX_TEXT, NewestKeys, Outcome, Records, Replay,
    Scanned, Sent, Settled, begin, entries, head, kept, read_head, seal,
};
use crate::code::Code;
use crate::id::CallId;

const ALL: usize = 10_000;

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        // An LCG; its upper bits are good enough to choose by.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn sent(n: u64, at: u64, keyed: bool) -> Entry<'static> {
    Entry::Sent(Sent {
        call: CallId::new(1, n),
        at,
        keyed,
        plugin: "p",
        tool: "t",
        method: "tools/call",
        instance: 0,
        generation: 1,
        principal: "me",
    })
}

fn settled(n: u64, at: u64, keyed: bool) -> Entry<'static> {
    Entry::Settled(Settled { call: CallId::new(1, n), at, keyed, outcome: Outcome::Answered, code: None })
}

fn keyed(n: u64, at: u64) -> Entry<'static> {
    let call = CallId::new(1, n);
    Entry::Keyed(Keyed { call, at, principal: "me", key: "k", plugin: "p", tool: "t", digest: b"d" })
}

fn record(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut record = Vec::new();
    begin(&mut record);
    for entry in entries {
        entry.put(&mut record);
    }
    seal(&mut record);
    record
}

fn segment(records: &[Vec<u8>]) -> Vec<u8> {
    [head(5).to_vec(), records.concat()].concat()
}

/// What calls and keys come to, after a segment.
fn outcomes(segment: &[u8]) -> (BTreeMap<u64, Outcome>, BTreeMap<u64, KeyState>, Scanned) {
    let mut replay = Replay::new(0, ALL);
    replay.read(segment).ok();
    let found = replay.recovered();
    let calls = found.calls.into_iter().map(|call| (call.call.n(), call.outcome)).collect();
    let keys = found.keys.into_iter().map(|key| (key.call.n(), key.state)).collect();
    (calls, keys, found.scanned)
}

/// A life of a host: what it wrote, one record after the other, with what is known after each.
#[allow(clippy::type_complexity, reason = "what is known after each record is the same pair as above")]
fn life(seed: u64) -> (Vec<Vec<u8>>, Vec<(BTreeMap<u64, Outcome>, BTreeMap<u64, KeyState>)>) {
    let mut dice = Dice(seed);
    let (mut records, mut known) = (Vec::new(), Vec::new());
    let (mut calls, mut keys, mut open, mut next) = (BTreeMap::new(), BTreeMap::new(), Vec::new(), 0);
    for at in 1..=4 + dice.roll(5) {
        let mut batch = Vec::new();
        for _ in 0..=dice.roll(3) {
            match dice.roll(4) {
                0 | 1 => {
                    next += 1;
                    let has_key = dice.roll(3) == 0;
                    if has_key {
                        batch.push(keyed(next, at));
                        keys.insert(next, KeyState::Unknown);
                    }
                    batch.push(sent(next, at, has_key));
                    calls.insert(next, Outcome::Unknown);
                    open.push((next, has_key));
                }
                _ if open.is_empty() => {}
                _ => {
                    let which = usize::try_from(dice.roll(open.len() as u64)).unwrap();
                    let (n, has_key) = open.swap_remove(which);
                    batch.push(settled(n, at, has_key));
                    calls.insert(n, Outcome::Answered);
                    if has_key {
                        keys.insert(n, KeyState::Answered(b"{}".as_slice().into()));
                        batch.push(Entry::Answer(Answer { call: CallId::new(1, n), at, result: b"{}" }));
                    }
                }
            }
        }
        if !batch.is_empty() {
            records.push(record(&batch));
            known.push((calls.clone(), keys.clone()));
        }
    }
    (records, known)
}

/// The host is killed at each byte of what it writes, in 200 lives: what is read is what the whole records before that
/// byte say, nothing else; and the rest is told as torn, never as damage.
#[test]
fn cut_anywhere_it_says_what_was_whole() {
    for seed in 0..200 {
        let (records, known) = life(seed);
        let whole = segment(&records);
        let mut ends = vec![HEAD];
        for record in &records {
            ends.push(ends.last().unwrap() + record.len());
        }
        for cut in HEAD..=whole.len() {
            let (calls, keys, scanned) = outcomes(&whole[..cut]);
            let complete = ends.iter().filter(|end| **end <= cut).count() - 1;
            let none = Default::default();
            let expected = complete.checked_sub(1).map_or(&none, |last| &known[last]);
            assert_eq!((&calls, &keys), (&expected.0, &expected.1), "seed {seed}, cut at {cut}");
            let torn = cut - ends[complete];
            assert_eq!(scanned, Scanned { corrupt: 0, torn }, "seed {seed}, cut at {cut}");
        }
    }
}

#[test]
fn a_head_that_is_cut_or_of_another_is_told() {
    let whole = segment(&[]);
    for cut in 0..HEAD {
        assert_eq!(read_head(&whole[..cut]).unwrap_err(), HeadError::Torn, "{cut}");
    }
    assert_eq!(read_head(&whole).unwrap().0, 5);
    assert_eq!(read_head(b"something else that is long enough").unwrap_err(), HeadError::Foreign);
    let mut newer = whole;
    newer[8] = 9;
    assert_eq!(read_head(&newer).unwrap_err(), HeadError::Foreign, "its checksum is wrong");
    let check = crc32fast::hash(&newer[..20]).to_le_bytes();
    newer[20..24].copy_from_slice(&check);
    assert_eq!(read_head(&newer).unwrap_err(), HeadError::Version(9));
}

#[test]
fn a_record_is_bounded_and_never_empty() {
    let mut record = Vec::new();
    begin(&mut record);
    seal(&mut record);
    assert!(record.is_empty());
    begin(&mut record);
    record.resize(FRAME + super::MAX_RECORD + 1, 1);
    seal(&mut record);
    assert!(record.is_empty());
}

#[test]
fn what_an_unknown_version_says_is_skipped() {
    let mut bytes = Vec::new();
    begin(&mut bytes);
    bytes.extend_from_slice(&[99, 3, 0, 0, 0, 1, 2, 3]);
    sent(1, 1, false).put(&mut bytes);
    let found: Vec<_> = entries(&bytes[FRAME..]).map(|(entry, _)| entry).collect();
    assert_eq!(found, [sent(1, 1, false)]);
}

#[test]
fn a_text_is_cut_where_a_character_ends() {
    let long = "ä".repeat(MAX_TEXT);
    let Entry::Sent(plain) = sent(1, 1, false) else { unreachable!() };
    let bytes = record(&[Entry::Sent(Sent { tool: &long, ..plain })]);
    let Some((Entry::Sent(read), _)) = entries(&bytes[FRAME..]).next() else { panic!("it is not read") };
    assert_eq!(read.tool, &long[..MAX_TEXT]);
    assert_eq!(read.principal, "me");
}

#[test]
fn a_retried_call_is_where_it_went_last() {
    let again = match sent(1, 9, false) {
        Entry::Sent(sent) => Entry::Sent(Sent { instance: 3, generation: 4, ..sent }),
        other @ (Entry::Settled(_) | Entry::Keyed(_) | Entry::Answer(_)) => other,
    };
    let mut replay = Replay::new(0, ALL);
    replay.read(&segment(&[record(&[sent(1, 2, false)]), record(&[again])])).unwrap();
    let calls = replay.recovered().calls;
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].instance, calls[0].generation, calls[0].attempts, calls[0].sent_at), (3, 4, 2, 9));
}

#[test]
fn a_key_without_a_byte_sent_ran_nothing_and_its_order_does_not_matter() {
    let (_, keys, _) = outcomes(&segment(&[record(&[keyed(1, 1)])]));
    assert_eq!(keys[&1], KeyState::NotSent);
    // As after carrying: the end stands in an older segment than what was sent.
    let code = Some(Code::OutcomeUnknown);
    let end = Settled { call: CallId::new(1, 1), at: 2, keyed: true, outcome: Outcome::Unknown, code };
    let (calls, keys, _) =
        outcomes(&segment(&[record(&[Entry::Settled(end)]), record(&[keyed(1, 1), sent(1, 1, true)])]));
    assert_eq!(keys[&1], KeyState::Ended(Outcome::Unknown, code));
    assert!(calls.is_empty(), "it does not seem to run");
    // A writer that does not say that the call has a key must not have it run again.
    let (_, keys, _) = outcomes(&segment(&[record(&[keyed(1, 1)]), record(&[sent(1, 1, false)])]));
    assert_eq!(keys[&1], KeyState::Unknown);
}

#[test]
fn what_is_old_is_forgotten_and_there_is_never_too_much() {
    let batch: Vec<_> = (0..100).flat_map(|n| [keyed(n, n), sent(n, n, true)]).collect();
    let mut replay = Replay::new(90, 5);
    replay.read(&segment(&[record(&batch)])).unwrap();
    let found = replay.recovered();
    assert_eq!((found.calls.len(), found.keys.len(), found.dropped), (5, 5, 10));
    assert!(found.keys.iter().all(|key| key.at >= 95), "the newest keys stay");
}

#[test]
fn what_must_be_kept_of_a_segment_is_what_is_open_or_has_a_key() {
    let batch = [
        sent(1, 10, false),
        keyed(2, 10),
        sent(2, 10, true),
        sent(3, 10, false),
        settled(2, 11, true),
        settled(3, 12, false),
        keyed(4, 3),
        sent(5, 13, false),
    ];
    let whole = segment(&[record(&batch)]);
    let of =
        |oldest, most| -> Vec<_> { kept(&whole, oldest, most).into_iter().map(|kept| kept.entry).collect() };
    assert_eq!(of(5, 10_000), [&batch[0..3], &batch[4..5], &batch[7..8]].concat());
    assert_eq!(of(5, 0), of(5, 10_000), "only answers have a bound in bytes");
    assert!(of(14, 10_000).is_empty());
    // What is kept is put into a record as it is.
    let mut carried = Vec::new();
    begin(&mut carried);
    for kept in kept(&whole, 5, 10_000) {
        carried.extend_from_slice(kept.bytes);
    }
    seal(&mut carried);
    let (calls, keys, _) = outcomes(&segment(&[carried]));
    assert_eq!(calls.len(), 3);
    assert_eq!(keys[&2], KeyState::Ended(Outcome::Answered, None));
}

/// A key must not be lost with what of its answers there is no room for: its call would run again.
#[test]
fn a_key_outlives_its_answer() {
    let answer = |n, result: &'static [u8]| Entry::Answer(Answer { call: CallId::new(1, n), at: n, result });
    let (long, short) = (&[b'x'; 4000][..], &[b'y'; 40][..]);
    let call = |n, result| [keyed(n, n), sent(n, n, true), settled(n, n, true), answer(n, result)];
    let records: Vec<_> =
        (1..=500).map(|n| record(&call(n, if n % 2 == 0 { long } else { short }))).collect();
    let mut carried = Vec::new();
    begin(&mut carried);
    for kept in kept(&segment(&records), 0, 3000) {
        carried.extend_from_slice(kept.bytes);
    }
    seal(&mut carried);
    let (_, keys, _) = outcomes(&segment(&[carried]));
    assert_eq!(keys.len(), 500);
    assert_eq!(keys[&1], KeyState::Ended(Outcome::Answered, None), "the oldest answer made room");
    assert_eq!(keys[&500], KeyState::Ended(Outcome::Answered, None), "this one does not fit");
    assert_eq!(keys[&499], KeyState::Answered(short.into()), "the next one does");
}

#[test]
fn the_newest_keys_are_counted_over_all_segments() {
    let of = |numbers: std::ops::Range<u64>| {
        segment(&numbers.map(|n| record(&[keyed(n, n), sent(n, n, true)])).collect::<Vec<_>>())
    };
    let mut newest = NewestKeys::new(100);
    newest.look(&of(1..61));
    newest.look(&of(21..101));
    assert_eq!(newest.since(), 0, "there are a hundred, some of them twice");
    // The order of the segments is not that of the keys: some were carried.
    newest.look(&of(101..131));
    newest.look(&of(1..21));
    assert_eq!(newest.since(), 31);
}

proptest! {
    #[test]
    fn an_entry_is_read_as_it_was_written(
        run in any::<u32>(), n in any::<u64>(), at in any::<u64>(), has_key in any::<bool>(), text in ".{0,40}",
        instance in any::<u32>(), generation in any::<u64>(), bytes in prop::collection::vec(any::<u8>(), 0..40),
        which in 0..4_usize, code in 0..Code::ALL.len(), outcome in 0..4_usize,
    ) {
        let call = CallId::new(run, n);
        let outcome = [Outcome::Answered, Outcome::Failed, Outcome::Unknown, Outcome::Cancelled][outcome];
        let entry = match which {
            0 => Entry::Sent(Sent { call, at, keyed: has_key, plugin: &text, tool: "", method: &text, instance, generation, principal: &text }),
            1 => Entry::Settled(Settled { call, at, keyed: has_key, outcome, code: has_key.then(|| Code::ALL[code]) }),
            2 => Entry::Keyed(Keyed { call, at, principal: &text, key: &text, plugin: &text, tool: &text, digest: &bytes }),
            _ => Entry::Answer(Answer { call, at, result: &bytes }),
        };
        let record = record(&[entry.clone(), entry.clone()]);
        let mut records = Records::new(&record);
        let read: Vec<_> = records.by_ref().flat_map(entries).map(|(entry, _)| entry).collect();
        prop_assert_eq!(read, vec![entry.clone(), entry]);
        prop_assert_eq!(records.scanned(), Scanned::default());
    }

    /// One damaged byte costs the record that it is in and no other, and is told.
    #[test]
    fn damage_costs_one_record(seed in 0..1000_u64, place in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let (records, _) = life(seed);
        prop_assume!(!records.is_empty());
        let mut bytes = records.concat();
        let at = place.index(bytes.len());
        bytes[at] ^= flip;
        let mut end = 0;
        let hit = records.iter().position(|record| { end += record.len(); at < end }).unwrap();
        let mut reader = Records::new(&bytes);
        let read: Vec<Vec<u8>> = reader.by_ref().map(<[u8]>::to_vec).collect();
        let mut expected: Vec<Vec<u8>> = records.iter().map(|record| record[FRAME..].to_vec()).collect();
        expected.remove(hit);
        prop_assert_eq!(read, expected);
        let scanned = reader.scanned();
        prop_assert!(scanned.corrupt == 1 || (scanned.torn > 0 && hit + 1 == records.len()), "{:?}", scanned);
    }

    /// Whatever lies in the folder: it is read to its end, nothing panics, and no call is made up.
    #[test]
    fn any_bytes_at_all(noise in prop::collection::vec(any::<u8>(), 0..300), seed in 0..100_u64, at in any::<prop::sample::Index>()) {
        let (records, _) = life(seed);
        let mut whole = records.concat();
        let place = at.index(whole.len() + 1);
        whole.splice(place..place, noise.iter().copied());
        let said: Vec<Vec<u8>> = records.iter().map(|record| record[FRAME..].to_vec()).collect();
        for record in Records::new(&whole) {
            prop_assert!(said.iter().any(|said| said == record));
        }
        prop_assert!(entries(&noise).count() <= noise.len());
        outcomes(&noise);
        let all = kept(&whole, 0, 100);
        let answers = all.iter().filter(|kept| matches!(kept.entry, Entry::Answer(_)));
        prop_assert!(answers.map(|kept| kept.bytes.len()).sum::<usize>() <= 100);
    }
}
