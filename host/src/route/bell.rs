//! What wakes a call whose time may be over: its deadline, which the host's alarm finds in the book of calls, or the end of a
//! question, which makes it an earlier one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use crate::alarm::Alarm;

/// No time.
const NEVER: u64 = u64::MAX;

/// The bell of one call.
#[derive(Debug)]
pub(super) struct Bell {
    begun: Instant,
    /// When it rings, nanoseconds after the begin.
    at: AtomicU64,
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Bell {
    /// Of a call that began then.
    pub(super) fn new(begun: Instant) -> Self {
        Self { begun, at: AtomicU64::new(NEVER), rung: AtomicBool::new(false), task: AtomicWaker::new() }
    }

    /// When the call began.
    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// This task hears it from now on.
    pub(super) fn heard_by(&self, task: &Waker) {
        self.task.register(task);
    }

    /// It rings then.
    pub(super) fn set(&self, time: Instant, alarm: &Alarm) {
        let after = time.saturating_duration_since(self.begun).as_nanos();
        // Before the alarm is told: whoever looks after that finds it.
        self.at.swap(u64::try_from(after).unwrap_or(NEVER - 1), Ordering::SeqCst);
        alarm.at(time);
    }

    /// It never rings again by itself, and keeps nothing of who heard it.
    pub(super) fn unset(&self) {
        self.at.store(NEVER, Ordering::Relaxed);
        drop(self.task.take());
    }

    pub(super) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.wake();
    }

    /// Wakes its task without a sound.
    pub(super) fn wake(&self) {
        self.task.wake();
    }

    /// Whether it rang since this was asked last.
    pub(super) fn has_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire) && self.rung.swap(false, Ordering::AcqRel)
    }

    /// Rings if its time has come by `now`; else that is returned.
    pub(super) fn come(&self, now: Instant) -> Option<Instant> {
        let after = self.at.load(Ordering::SeqCst);
        if after == NEVER {
            return None;
        }
        let time = self.begun + Duration::from_nanos(after);
        if time > now {
            return Some(time);
        }
        // Unless it was set anew in this moment.
        self.at.compare_exchange(after, NEVER, Ordering::SeqCst, Ordering::Relaxed).ok();
        self.ring();
        None
    }
}
