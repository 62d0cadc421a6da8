//! The breaker of an instance: whether calls are led to it, by how the last ones ended.
//!
//! ```text
//! closed --too many failures--> open --its time is over--> asking --a probe is answered--> half open --good calls--> closed
//!                                ^                            |                              |
//!                                +------- twice as long ------+------------------------------+
//! ```
//!
//! What is counted are the failures; that calls go well is told by a count of answers which the instance keeps anyway, so that
//! a good call costs nothing here. No caller's call is the first to go to an instance that failed: the host's own probe goes
//! before it, and only when that is answered are callers' calls let through, a few at a time. They run no other risk than any
//! call does, for it is their delivery that decides whether they are tried again. The rules that its property test holds for any
//! order of events, stale and repeated ones included:
//! * a word of a call that was let in before the last change ([`Breaker::epoch`]) changes nothing;
//! * while it is open or asking nothing is let in, and no more than `half_open` calls at a time before it is closed;
//! * it is open for no longer than one and a half times `max_open`, and while it is open the time is known at which that ends.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use crate::backoff::Backoff;
use crate::manifest::Breaker as Rules;
use crate::moment::Moment;

/// Good answers that close it: the probe's and a call's.
const GOOD: u32 = 2;
/// Parts of the window in which failures are counted together.
const PARTS: u32 = 8;
/// Openings that wear an instance out.
const WORN: usize = 3;
/// In so long.
const WEAR: Duration = Duration::from_secs(300);

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Calls go through.
    Closed,
    /// None does.
    Open,
    /// It was open, and is being tried: a few calls at a time go through, once a probe was answered.
    HalfOpen,
}

/// How a call that was let in ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The instance answered.
    Good,
    /// The connection broke, no answer came in time, or what came was malformed.
    Bad,
    /// It says nothing of the instance.
    Void,
}

/// What is told with an event.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The time.
    pub now: Moment,
    /// Answers of the instance so far.
    pub answers: u64,
    /// A random number, uniform in `0.0..=1.0`, for jitter.
    pub roll: f64,
}

/// The breaker of one instance.
#[derive(Clone, Debug)]
pub struct Breaker {
    rules: Rules,
    phase: Phase,
    epoch: u64,
    since: Moment,
    /// Openings in a row before this one.
    step: u32,
    /// Failures in a row.
    row: u32,
    /// Answers at the last failure.
    answers: u64,
    parts: VecDeque<Part>,
    /// The last openings of this generation.
    openings: VecDeque<Moment>,
    opened: u64,
}

/// Failures that are counted together.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// When the first of them was.
    since: Moment,
    /// Answers before it.
    answers: u64,
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Moment },
    Asking,
    Trying { inside: u32, good: u32 },
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(rules: Rules, now: Moment) -> Self {
        Self {
            rules,
            phase: Phase::Closed,
            epoch: 0,
            since: now,
            step: 0,
            row: 0,
            answers: 0,
            parts: VecDeque::new(),
            openings: VecDeque::new(),
            opened: 0,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::Asking | Phase::Trying { .. } => State::HalfOpen,
        }
    }

    /// Since when.
    #[must_use]
    pub fn since(&self) -> Moment {
        self.since
    }

    /// How often it has opened.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// When it is tried again; `None` while it is not open.
    #[must_use]
    pub fn next_try(&self) -> Option<Moment> {
        if let Phase::Open { until } = self.phase { Some(until) } else { None }
    }

    /// Counts its changes: what is let in is told of the one in which it was.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether calls pass without being looked at.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether it is half open, and another call may go through.
    #[must_use]
    pub fn has_room(&self) -> bool {
        matches!(self.phase, Phase::Trying { inside, .. } if inside < self.rules.half_open.max(1))
    }

    /// Whether it opened so often of late that the instance should be started anew.
    #[must_use]
    pub fn is_worn(&self, now: Moment) -> bool {
        self.openings.iter().filter(|at| now - **at < WEAR).count() >= WORN
    }

    /// Goes by other rules from now on.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// A new generation of the instance begins: what the last one did is not its fault.
    pub fn renew(&mut self, cx: Context) {
        self.openings.clear();
        self.step = 0;
        self.close(cx);
    }

    /// A call that was let in while it was closed got no answer.
    pub fn failed(&mut self, epoch: u64, cx: Context) {
        if epoch != self.epoch || !self.is_closed() {
            return;
        }
        self.row = if cx.answers == self.answers { self.row.saturating_add(1) } else { 1 };
        self.answers = cx.answers;
        self.count(cx);
        if self.row >= self.rules.consecutive.max(1) || self.is_flaky(cx) {
            // Having worked in between for a while, it begins with the shortest time again.
            self.step = if cx.now - self.since < self.rules.window.0 { self.step } else { 0 };
            self.open(cx);
        }
    }

    /// Lets a call in where it is half open; the epoch to tell its end with.
    pub fn admit(&mut self) -> Option<u64> {
        let room = self.has_room();
        match &mut self.phase {
            Phase::Trying { inside, .. } if room => {
                *inside += 1;
                Some(self.epoch)
            }
            Phase::Trying { .. } | Phase::Closed | Phase::Open { .. } | Phase::Asking => None,
        }
    }

    /// A call that was let in while it was half open has ended.
    pub fn tried(&mut self, epoch: u64, ending: Ending, cx: Context) {
        let current = epoch == self.epoch;
        let Phase::Trying { inside, good } = &mut self.phase else { return };
        if !current || *inside == 0 {
            return;
        }
        *inside -= 1;
        match ending {
            Ending::Void => {}
            Ending::Bad => self.open(cx),
            Ending::Good => {
                *good += 1;
                if *good >= GOOD {
                    self.close(cx);
                }
            }
        }
    }

    /// Its time may be over. If it is, the instance is to be probed, and the answer told with the epoch.
    pub fn tick(&mut self, now: Moment) -> Option<u64> {
        self.next_try().filter(|until| *until <= now)?;
        self.change(Phase::Asking, now);
        Some(self.epoch)
    }

    /// The probe has ended.
    pub fn probed(&mut self, epoch: u64, ending: Ending, cx: Context) {
        if epoch != self.epoch || self.phase != Phase::Asking {
            return;
        }
        match ending {
            Ending::Bad => self.open(cx),
            Ending::Good => self.phase = Phase::Trying { inside: 0, good: 1 },
            Ending::Void => self.phase = Phase::Trying { inside: 0, good: 0 },
        }
    }

    fn open(&mut self, cx: Context) {
        let Rules { open, max_open, .. } = &self.rules;
        let backoff = Backoff { initial: open.0, factor: 2.0, max: max_open.0 };
        let until = cx.now + backoff.around(self.step, 0.5, cx.roll);
        self.step = self.step.saturating_add(1);
        self.opened = self.opened.saturating_add(1);
        self.openings.push_back(cx.now);
        if self.openings.len() > WORN {
            self.openings.pop_front();
        }
        self.change(Phase::Open { until }, cx.now);
    }

    fn close(&mut self, cx: Context) {
        (self.row, self.answers) = (0, cx.answers);
        self.parts.clear();
        self.change(Phase::Closed, cx.now);
    }

    fn change(&mut self, phase: Phase, now: Moment) {
        self.phase = phase;
        self.epoch = self.epoch.wrapping_add(1);
        self.since = now;
    }

    fn count(&mut self, cx: Context) {
        let (window, now) = (self.rules.window.0, cx.now);
        while self.parts.front().is_some_and(|part| now - part.since >= window) {
            self.parts.pop_front();
        }
        match self.parts.back_mut() {
            Some(last) if now - last.since < window / PARTS => {
                last.failures = last.failures.saturating_add(1)
            }
            Some(_) | None => self.parts.push_back(Part { since: now, answers: cx.answers, failures: 1 }),
        }
    }

    /// Whether too large a share of the calls since the first failure within the window failed.
    fn is_flaky(&self, cx: Context) -> bool {
        let failures: u64 = self.parts.iter().map(|part| u64::from(part.failures)).sum();
        let before = self.parts.front().map_or(cx.answers, |part| part.answers);
        let calls = failures.saturating_add(cx.answers.saturating_sub(before));
        calls >= u64::from(self.rules.calls.max(1)) && failures as f64 >= self.rules.ratio * calls as f64
    }
}

#[cfg(test)]
mod tests;
