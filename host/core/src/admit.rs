//! Who waits for a turn, who gets the next one, and who is turned away at once.
//!
//! Each caller has a line of its own, first come first served. While only one caller waits, it may have the whole queue and
//! every place; as soon as another one waits too, nobody has more than a share: a quarter of the queue, and of the places its
//! part among those that wait. Knows no clock: who has waited for too long is taken out by whoever keeps the time.

use std::collections::VecDeque;

use crate::spread::ByNumber;

/// One caller has at most this part of a queue while another one waits: a quarter.
const SHARE: usize = 4;

/// Why a call may not even wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// The queue is full, and nobody in it has more than the one who comes.
    Full,
    /// Others wait, and the caller has its share of the queue.
    Share {
        /// How many of a caller may wait while others do.
        most: usize,
    },
}

/// Those that wait for a turn, in lines by caller. A caller is a number that nobody can choose; who it
/// stands for is not known here.
#[derive(Debug)]
pub struct FairQueue<T> {
    lines: ByNumber<Line<T>>,
    /// Each caller that waits, once; who is served next stands first.
    turns: VecDeque<u64>,
    waiting: usize,
    last: u64,
}

/// The calls of one caller, by their numbers.
type Line<T> = VecDeque<(u64, T)>;

/// How many of one caller may wait in a queue of `bound` while others wait.
#[must_use]
pub fn share(bound: usize) -> usize {
    (bound / SHARE).max(1)
}

// === impl FairQueue ===

impl<T> FairQueue<T> {
    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Whether a call of this caller has to be turned away from a queue of `bound`.
    #[must_use]
    pub fn sheds(&self, caller: u64, bound: usize) -> Option<Shed> {
        let own = self.of(caller);
        if own < self.waiting && own >= share(bound) {
            return Some(Shed::Share { most: share(bound) });
        }
        (self.waiting >= bound && self.makes_room(own).is_none()).then_some(Shed::Full)
    }

    /// Lets a call wait that is not shed. Returns its number, and the call that was sent away for it: the last one of the
    /// caller who has most, if the queue was full.
    pub fn join(&mut self, caller: u64, bound: usize, call: T) -> (u64, Option<T>) {
        let full = self.waiting >= bound;
        let longest = if full { self.makes_room(self.of(caller)) } else { None };
        let sent_away = longest.and_then(|longest| self.take(longest, VecDeque::pop_back));
        self.last += 1;
        let line = self.lines.entry(caller).or_insert_with(|| {
            self.turns.push_back(caller);
            VecDeque::new()
        });
        line.push_back((self.last, call));
        self.waiting += 1;
        (self.last, sent_away)
    }

    /// Takes out the call whose turn it is: callers take turns, and one that has its part of the `places` already, by what
    /// `running` says of it, is passed over as long as another one waits that has not.
    pub fn next(&mut self, places: usize, running: impl Fn(u64) -> usize) -> Option<T> {
        let part = (places / self.turns.len().max(1)).max(1);
        let has_less = |caller: &u64| running(*caller) < part;
        // Who waits alone is next, whatever it has.
        let turn = if self.turns.len() > 1 { self.turns.iter().position(has_less) } else { None };
        let caller = self.turns.remove(turn.unwrap_or(0))?;
        let (call, waits_on) = self.remove(caller, VecDeque::pop_front)?;
        if waits_on {
            // Behind all others.
            self.turns.push_back(caller);
        }
        Some(call)
    }

    /// Takes a call out that waits no longer. `None`: it does not wait any more.
    pub fn leave(&mut self, caller: u64, number: u64) -> Option<T> {
        self.take(caller, |line| {
            let place = line.binary_search_by_key(&number, |(number, _)| *number).ok()?;
            line.remove(place)
        })
    }

    /// Takes all calls out of which `ends` says that they wait no longer; it sees each call once.
    pub fn take_all(&mut self, mut ends: impl FnMut(&mut T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for line in self.lines.values_mut() {
            let mut at = 0;
            while let Some((_, call)) = line.get_mut(at) {
                if ends(call) {
                    taken.extend(line.remove(at).map(|(_, call)| call));
                } else {
                    at += 1;
                }
            }
        }
        if !taken.is_empty() {
            self.waiting -= taken.len();
            self.lines.retain(|_, line| !line.is_empty());
            self.turns.retain(|caller| self.lines.contains_key(caller));
        }
        taken
    }

    fn of(&self, caller: u64) -> usize {
        self.lines.get(&caller).map_or(0, VecDeque::len)
    }

    /// The caller who has most of the queue, if a call of it is to make room for one who has `own`.
    fn makes_room(&self, own: usize) -> Option<u64> {
        // The look at every line is needed only where one of them is longer than others.
        if self.turns.len() == self.waiting {
            return None;
        }
        let (caller, line) = self.lines.iter().max_by_key(|(_, line)| line.len())?;
        (line.len() > own + 1).then_some(*caller)
    }

    /// Takes a call out of a caller's line, and the caller's turn with its last one.
    fn take(&mut self, caller: u64, from: impl FnOnce(&mut Line<T>) -> Option<(u64, T)>) -> Option<T> {
        let (call, waits_on) = self.remove(caller, from)?;
        if !waits_on {
            self.turns.retain(|turn| *turn != caller);
        }
        Some(call)
    }

    /// Takes a call out of a caller's line, and says whether it has another one there. Its turn stays.
    fn remove(
        &mut self,
        caller: u64,
        from: impl FnOnce(&mut Line<T>) -> Option<(u64, T)>,
    ) -> Option<(T, bool)> {
        let line = self.lines.get_mut(&caller)?;
        let (_, call) = from(line)?;
        self.waiting -= 1;
        let waits_on = !line.is_empty();
        if !waits_on {
            self.lines.remove(&caller);
        }
        Some((call, waits_on))
    }
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { lines: ByNumber::default(), turns: VecDeque::new(), waiting: 0, last: 0 }
    }
}

#[cfg(test)]
mod tests;
