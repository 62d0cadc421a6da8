//! Which instance takes a call.
//!
//! Of those that can take one: what this call has not tried comes before what it has, a lower priority number before a higher
//! one, ready before degraded; and of what is equal by then, one by the plugin's balance. Those that stand by are among them
//! only as far as active ones are missing.

use std::cmp::Ordering;

use crate::id::InstanceNo;
use crate::lifecycle::State;
use crate::manifest::Balance;
use crate::slot::{Role, Slot};

/// An instance as the choice sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Its place.
    pub slot: Slot,
    /// Where it stands.
    pub state: State,
    /// Whether it has a link that takes calls, and nothing holds it back that a call should not run into (its breaker).
    pub serves: bool,
    /// Whether as many calls are in flight as may be.
    pub full: bool,
    /// Calls in flight.
    pub inflight: usize,
}

/// What is wished for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// The plugin's way to share calls.
    pub balance: Balance,
    /// How many active instances are to serve; those that stand by make up for what is missing.
    pub active: u32,
    /// Counts the calls of the plugin.
    pub turn: usize,
    /// Stands for the caller ([`key`]); counts for [`Balance::Sticky`] only.
    pub key: u64,
    /// The instance that holds what the caller has built up: as long as it serves, no other will do.
    pub pinned: Option<InstanceNo>,
    /// Where this call was tried already: only where nothing else is left.
    pub tried: &'a [InstanceNo],
}

/// What a call can do where no instance takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Wait: it comes up by itself, soon.
    Wait,
    /// Fail now.
    Fail,
}

/// Picks the position of an instance, or `None` if none can take the call now. The candidates are gone through several times
/// and may change meanwhile: what is picked must be looked at again.
#[must_use]
pub fn pick(candidates: impl Iterator<Item = Candidate> + Clone, wish: &Wish<'_>) -> Option<usize> {
    let untried = |n: InstanceNo| !wish.tried.contains(&n);
    if let Some(n) = wish.pinned.filter(|n| untried(*n)) {
        let mut all = candidates.clone().enumerate();
        if let Some((position, pinned)) = all.find(|(_, c)| c.slot.n == n && c.serves) {
            return (!pinned.full).then_some(position);
        }
    }
    let sound = |c: &Candidate| c.serves && c.slot.role == Role::Active && c.state == State::Ready;
    let active = candidates.clone().filter(sound).count();
    let missing = (wish.active as usize).saturating_sub(active);
    let may = |c: &Candidate| {
        let serves = c.serves && !c.full && matches!(c.state, State::Ready | State::Degraded);
        serves && (c.slot.role == Role::Active || stands_in(&candidates, c.slot.n, missing))
    };
    let class = |c: &Candidate| (!untried(c.slot.n), c.slot.priority, c.state);
    let best = candidates.clone().filter(&may).map(|c| class(&c)).min()?;
    let mut peers = candidates.clone().enumerate().filter(|(_, c)| may(c) && class(c) == best);
    match wish.balance {
        Balance::RoundRobin => in_turn(peers, wish.turn),
        Balance::LeastInflight => {
            let least = peers.clone().map(|(_, c)| c).min_by(by_load)?;
            // The turn breaks ties, so that idle instances share the work.
            in_turn(peers.filter(|(_, c)| by_load(c, &least) == Ordering::Equal), wish.turn)
        }
        Balance::Sticky => {
            let (first, one) = peers.next()?;
            let better = |best: (usize, f64), (position, c): (usize, Candidate)| {
                let score = affinity(wish.key, &c.slot);
                if score > best.1 { (position, score) } else { best }
            };
            Some(peers.fold((first, affinity(wish.key, &one.slot)), better).0)
        }
    }
}

/// Whether this one of those that stand by makes up for a missing one: those with the lowest numbers do.
fn stands_in(candidates: &(impl Iterator<Item = Candidate> + Clone), n: InstanceNo, missing: usize) -> bool {
    let before = |c: &Candidate| c.slot.role == Role::Standby && c.serves && c.slot.n < n;
    missing > 0 && candidates.clone().filter(before).count() < missing
}

/// Each in turn, as often as its weight says.
fn in_turn(peers: impl Iterator<Item = (usize, Candidate)> + Clone, turn: usize) -> Option<usize> {
    let share = |c: &Candidate| c.slot.weight.max(1) as usize;
    let all: usize = peers.clone().map(|(_, c)| share(&c)).sum();
    let mut left = turn.checked_rem(all)?;
    let mut last = None;
    for (position, c) in peers {
        last = Some(position);
        match left.checked_sub(share(&c)) {
            Some(less) => left = less,
            None => break,
        }
    }
    last
}

/// Fewer calls for its weight first.
fn by_load(a: &Candidate, b: &Candidate) -> Ordering {
    let scaled = |one: &Candidate, by: &Candidate| one.inflight as u64 * u64::from(by.slot.weight.max(1));
    scaled(a, b).cmp(&scaled(b, a))
}

/// How much a caller belongs to a place (weighted rendezvous hashing): that of one place does not depend on which others
/// there are, so only those callers move whose place is gone.
fn affinity(key: u64, slot: &Slot) -> f64 {
    let hash = mix(key ^ mix(u64::from(slot.n.0).wrapping_add(0x9e37_79b9_7f4a_7c15)));
    // Uniform in (0, 1), of 52 bits, which a float holds exactly.
    let uniform = ((hash >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
    f64::from(slot.weight.max(1)) / -uniform.ln()
}

/// The finalizer of splitmix64: each bit of the input changes half of those of the output.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A number that stands for a caller. The same for the same name on every run.
#[must_use]
pub fn key(name: &str) -> u64 {
    // FNV-1a: names are short, and nobody gains by a collision.
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether it is worth waiting for a plugin in this state. `wanted`: it is meant to be up, so that what ends comes back.
#[must_use]
pub fn outlook(state: State, wanted: bool) -> Outlook {
    match state {
        State::Ready | State::Degraded | State::Starting | State::Preparing | State::Backoff => Outlook::Wait,
        // One that sleeps is woken by the call.
        State::Draining | State::Stopping | State::Stopped if wanted => Outlook::Wait,
        State::Draining
        | State::Stopping
        | State::Quarantined
        | State::Fatal
        | State::Misconfigured
        | State::Stopped
        | State::Disabled => Outlook::Fail,
    }
}

#[cfg(test)]
mod tests;
