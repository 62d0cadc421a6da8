//! Keys by which a caller names a call, so that it runs at most once however often it is sent.
//!
//! A key is its caller's own: two callers with the same one do not meet. It stands for one tool and one set of arguments. What
//! is known of its call is kept for a time, and bounded in number and in bytes; the oldest make room. What still runs is
//! never forgotten.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::id::{CallId, PluginId};

/// A key as a caller gives it: 1 to 255 visible ASCII characters. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(Arc<str>);

/// A text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key is 1 to 255 visible ASCII characters, without spaces")]
pub struct BadKey;

/// Whose key it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// Under which name the caller was let in.
    pub principal: Arc<str>,
    /// The key.
    pub key: Key,
}

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct What {
    /// The plugin.
    pub plugin: PluginId,
    /// The tool as it is offered.
    pub tool: Arc<str>,
    /// A digest of the arguments.
    pub digest: [u8; 32],
}

/// What is known of the call with a key. `A` is an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known<A> {
    /// It runs.
    Running,
    /// It was answered with this.
    Answered(A),
    /// It was answered, and the answer was not kept: it is too large, or made room for later ones.
    NotKept,
    /// It was handed over, and what came of it is not known.
    Unknown,
}

/// What a caller who comes with a key is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim<A> {
    /// The key is new, or free again: the call may run.
    New,
    /// The key stands for another tool, or other arguments. Told is its call.
    Other(CallId),
    /// The key's call is this one, and so much is known of it.
    Same(CallId, Known<A>),
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Keys.
    pub keys: usize,
    /// Bytes of all answers.
    pub bytes: usize,
    /// Milliseconds since the key was taken.
    pub age: u64,
}

/// The keys of all callers.
#[derive(Debug)]
pub struct Keys<A> {
    bounds: Bounds,
    entries: HashMap<Name, Entry<A>>,
    /// By the order in which they were taken.
    order: BTreeMap<u64, Name>,
    /// Of these an answer is kept.
    answered: BTreeSet<u64>,
    bytes: usize,
    last: u64,
}

#[derive(Debug)]
struct Entry<A> {
    number: u64,
    call: CallId,
    at: u64,
    what: What,
    known: Known<A>,
    /// Of the answer.
    bytes: usize,
}

// === impl Key ===

impl Key {
    /// The longest key, bytes.
    pub const MOST: usize = 255;

    /// Checks and keeps a key.
    ///
    /// # Errors
    /// If it is empty, too long, or holds anything but visible ASCII.
    pub fn new(text: &str) -> Result<Self, BadKey> {
        let good = (1..=Self::MOST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if good { Ok(Self(text.into())) } else { Err(BadKey) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Keys ===

impl<A: Clone> Keys<A> {
    /// None yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let (entries, order, answered) = (HashMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { bounds, entries, order, answered, bytes: 0, last: 0 }
    }

    /// Whether a call may run under a key at `now`, milliseconds since 1970. If so, the key is taken by it until
    /// [`Keys::settle`].
    pub fn claim(&mut self, name: &Name, what: &What, call: &CallId, now: u64) -> Claim<A> {
        self.forget_old(now);
        if let Some(entry) = self.entries.get(name) {
            let first = entry.call;
            return if entry.what == *what {
                Claim::Same(first, entry.known.clone())
            } else {
                Claim::Other(first)
            };
        }
        self.put(name.clone(), what.clone(), *call, now);
        Claim::New
    }

    /// What is known of a key's call now that it has ended; `None`: nothing ran, and the key is free again. An answer counts
    /// with so many `bytes`. A key that another call has by now stays as it is.
    pub fn settle(&mut self, name: &Name, call: &CallId, known: Option<Known<A>>, bytes: usize) {
        if self.entries.get(name).is_none_or(|entry| entry.call != *call) {
            return;
        }
        let Some(known) = known else { return self.remove(name) };
        self.drop_answer(name);
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.known = known;
        if matches!(entry.known, Known::Answered(_)) {
            entry.bytes = bytes;
            self.bytes += bytes;
            self.answered.insert(entry.number);
        }
        while self.bytes > self.bounds.bytes
            && let Some(oldest) = self.answered.first().and_then(|number| self.order.get(number)).cloned()
        {
            self.drop_answer(&oldest);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of the answers that are kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The answer goes; that it was answered is still known.
    fn drop_answer(&mut self, name: &Name) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        if self.answered.remove(&entry.number) {
            self.bytes -= entry.bytes;
            entry.bytes = 0;
            entry.known = Known::NotKept;
        }
    }

    fn put(&mut self, name: Name, what: What, call: CallId, at: u64) {
        while self.entries.len() >= self.bounds.keys
            && let Some(oldest) = self.oldest_at_rest()
        {
            self.remove(&oldest);
        }
        self.last += 1;
        self.order.insert(self.last, name.clone());
        let entry = Entry { number: self.last, call, at, what, known: Known::Running, bytes: 0 };
        self.entries.insert(name, entry);
    }

    fn forget_old(&mut self, now: u64) {
        while let Some(oldest) = self.oldest_at_rest() {
            let age = self.entries.get(&oldest).map_or(0, |entry| now.saturating_sub(entry.at));
            if age < self.bounds.age {
                return;
            }
            self.remove(&oldest);
        }
    }

    /// The oldest whose call does not run. Those that run are few, and not for long.
    fn oldest_at_rest(&self) -> Option<Name> {
        let rests =
            |name: &&Name| self.entries.get(*name).is_none_or(|entry| !matches!(entry.known, Known::Running));
        self.order.values().find(rests).cloned()
    }

    fn remove(&mut self, name: &Name) {
        self.drop_answer(name);
        if let Some(entry) = self.entries.remove(name) {
            self.order.remove(&entry.number);
        }
    }
}
