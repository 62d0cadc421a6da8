//! What a host that starts makes of the records that the last one left: which calls ended how, of which the outcome is
//! unknown, and which keys are taken.
//!
//! Whatever was sent and is not known to have ended is unknown: what is lost with the host is never taken for more than it
//! proves. The order in which entries of a key come does not matter, as some are carried from old segments to new ones.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::entry::{Entry, Keyed, Outcome, Sent, entries};
use super::frame::{HeadError, Records, Scanned, read_head};
use crate::code::Code;
use crate::id::CallId;

/// A call of an earlier run that was handed to a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredCall {
    /// Which.
    pub call: CallId,
    /// Of which plugin.
    pub plugin: Box<str>,
    /// The tool; empty if it called none.
    pub tool: Box<str>,
    /// The MCP method.
    pub method: Box<str>,
    /// The instance that it was sent to last,
    pub instance: u32,
    /// and which launch of it.
    pub generation: u64,
    /// Whose it was.
    pub principal: Box<str>,
    /// When it was sent last, milliseconds since 1970.
    pub sent_at: u64,
    /// How often it was sent.
    pub attempts: u32,
    /// How it ended, [`Outcome::Unknown`] if that is not known.
    pub outcome: Outcome,
    /// With which code, if with one.
    pub code: Option<Code>,
    /// When it ended; `None`: with the host.
    pub ended_at: Option<u64>,
}

/// A key that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredKey {
    /// By which call.
    pub call: CallId,
    /// Whose key.
    pub principal: Box<str>,
    /// The key.
    pub key: Box<str>,
    /// The plugin.
    pub plugin: Box<str>,
    /// The tool; empty if it calls none.
    pub tool: Box<str>,
    /// The digest of the arguments.
    pub digest: Box<[u8]>,
    /// When it was taken, milliseconds since 1970.
    pub at: u64,
    /// What became of the call.
    pub state: KeyState,
}

/// What became of a call with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It was never handed to a plugin: nothing ran.
    NotSent,
    /// It was handed over, and how it ended is not known.
    Unknown,
    /// It ended so, and no answer is kept.
    Ended(Outcome, Option<Code>),
    /// It was answered with this.
    Answered(Box<[u8]>),
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Calls whose outcome is unknown, and the last of those that ended; oldest first.
    pub calls: Vec<RecoveredCall>,
    /// Keys that are taken; oldest first.
    pub keys: Vec<RecoveredKey>,
    /// What was damaged.
    pub scanned: Scanned,
    /// Calls and keys for which there was no room.
    pub dropped: usize,
}

/// Reads segments, oldest first.
#[derive(Debug)]
pub struct Replay {
    /// Entries before it are forgotten, milliseconds since 1970.
    oldest: u64,
    most: usize,
    open: HashMap<CallId, RecoveredCall>,
    ended: VecDeque<RecoveredCall>,
    keys: BTreeMap<CallId, Key>,
    scanned: Scanned,
    dropped: usize,
}

/// What is known of a call with a key.
#[derive(Debug, Default)]
struct Key {
    taken: Option<RecoveredKey>,
    sent: bool,
    ended: Option<(Outcome, Option<Code>)>,
    answer: Option<Box<[u8]>>,
}

// === impl Replay ===

impl Replay {
    /// Forgets what is older than `oldest`, milliseconds since 1970, and keeps at most `most` of each: calls whose outcome is
    /// unknown, calls that ended, keys.
    #[must_use]
    pub fn new(oldest: u64, most: usize) -> Self {
        Self {
            oldest,
            most,
            open: HashMap::new(),
            ended: VecDeque::new(),
            keys: BTreeMap::new(),
            scanned: Scanned::default(),
            dropped: 0,
        }
    }

    /// Takes in a segment.
    ///
    /// # Errors
    /// If it is none that can be read; what was read before stays.
    pub fn read(&mut self, segment: &[u8]) -> Result<(), HeadError> {
        let (_, records) = read_head(segment)?;
        let mut records = Records::new(records);
        for record in records.by_ref() {
            for (entry, _) in entries(record) {
                if entry.at() >= self.oldest {
                    self.take(&entry);
                }
            }
        }
        let found = records.scanned();
        self.scanned.corrupt += found.corrupt;
        self.scanned.torn += found.torn;
        Ok(())
    }

    /// What it comes to.
    #[must_use]
    pub fn recovered(self) -> Recovery {
        let mut calls: Vec<RecoveredCall> = self.ended.into_iter().chain(self.open.into_values()).collect();
        calls.sort_by(|a, b| (a.sent_at, &a.call).cmp(&(b.sent_at, &b.call)));
        let mut keys: Vec<RecoveredKey> = self.keys.into_values().filter_map(Key::recovered).collect();
        keys.sort_by(|a, b| (a.at, &a.call).cmp(&(b.at, &b.call)));
        Recovery { calls, keys, scanned: self.scanned, dropped: self.dropped }
    }

    fn take(&mut self, entry: &Entry<'_>) {
        // Whoever did not say so: what is said of a call with a key counts for the key.
        if entry.is_keyed() || self.keys.contains_key(entry.call()) {
            self.take_keyed(entry);
        }
        match entry {
            Entry::Sent(sent) => self.sent(sent),
            Entry::Settled(settled) => {
                let Some(mut call) = self.open.remove(&settled.call) else { return };
                call.outcome = settled.outcome;
                call.code = settled.code;
                call.ended_at = Some(settled.at);
                if self.ended.len() >= self.most {
                    self.ended.pop_front();
                }
                self.ended.push_back(call);
            }
            Entry::Keyed(_) | Entry::Answer(_) => {}
        }
    }

    fn sent(&mut self, sent: &Sent<'_>) {
        // What has a key may be read again behind its end, carried from an older segment.
        if self.keys.get(&sent.call).is_some_and(|key| key.ended.is_some()) {
            return;
        }
        if let Some(call) = self.open.get_mut(&sent.call) {
            (call.instance, call.generation) = (sent.instance, sent.generation);
            call.attempts += u32::from(sent.at > call.sent_at);
            call.sent_at = call.sent_at.max(sent.at);
            return;
        }
        if self.open.len() >= self.most {
            self.dropped += 1;
            return;
        }
        self.open.insert(sent.call, RecoveredCall::of(sent));
    }

    fn take_keyed(&mut self, entry: &Entry<'_>) {
        if !self.keys.contains_key(entry.call()) && self.keys.len() >= self.most {
            self.dropped += 1;
            self.keys.pop_first();
        }
        let key = self.keys.entry(*entry.call()).or_default();
        match entry {
            Entry::Sent(_) => key.sent = true,
            Entry::Settled(settled) => key.ended = Some((settled.outcome, settled.code)),
            Entry::Keyed(keyed) => key.taken = Some(RecoveredKey::of(keyed)),
            Entry::Answer(answer) => key.answer = Some(answer.result.into()),
        }
    }
}

// === impl Key ===

impl Key {
    /// `None`: the key itself was not found, only what is said of its call.
    fn recovered(self) -> Option<RecoveredKey> {
        let state = match (self.answer, self.ended, self.sent) {
            (Some(answer), _, _) => KeyState::Answered(answer),
            (None, Some((outcome, code)), _) => KeyState::Ended(outcome, code),
            (None, None, true) => KeyState::Unknown,
            (None, None, false) => KeyState::NotSent,
        };
        self.taken.map(|taken| RecoveredKey { state, ..taken })
    }
}

// === impl RecoveredCall, RecoveredKey ===

impl RecoveredCall {
    fn of(sent: &Sent<'_>) -> Self {
        Self {
            call: sent.call,
            plugin: sent.plugin.into(),
            tool: sent.tool.into(),
            method: sent.method.into(),
            instance: sent.instance,
            generation: sent.generation,
            principal: sent.principal.into(),
            sent_at: sent.at,
            attempts: 1,
            outcome: Outcome::Unknown,
            code: None,
            ended_at: None,
        }
    }
}

impl RecoveredKey {
    fn of(keyed: &Keyed<'_>) -> Self {
        Self {
            call: keyed.call,
            principal: keyed.principal.into(),
            key: keyed.key.into(),
            plugin: keyed.plugin.into(),
            tool: keyed.tool.into(),
            digest: keyed.digest.into(),
            at: keyed.at,
            state: KeyState::NotSent,
        }
    }
}
