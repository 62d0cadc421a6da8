//! What a call does, as it does it: kept for who asks later, and cheap enough for every call. It reads the clock when an
//! attempt begins and when its first byte goes out; all else it is told.
//!
//! Nothing here decides anything, but for one thing: an operator may take a call back.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use wharf_core::catalog::Tool;
use wharf_core::journal::{Entry, Outcome, Sent, Settled};
use wharf_core::{CallId, Code, Generation, InstanceNo, PluginId};
use wharf_plugin_api::{CallErrorKind, Delivery};

use super::audit::Remembered;
use super::bell::Bell;
use super::spec::Edge;
use crate::clock::Clock;
use crate::journal::millis;

/// One call, from its begin to long after its end.
#[derive(Debug)]
pub(crate) struct CallTrace {
    pub(super) about: About,
    began_at: SystemTime,
    /// When the first byte of the present attempt went out: microseconds after the begin, and one more. 0: not yet.
    sent: AtomicU64,
    /// A byte of any attempt went out.
    handed_over: AtomicBool,
    /// Where the present attempt is.
    instance: AtomicU32,
    generation: AtomicU64,
    /// Bytes of the params.
    bytes_in: AtomicU64,
    progress: Mutex<Progress>,
    taken_back: AtomicBool,
    pub(super) bell: Bell,
}

/// What is known of a call from the begin.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) id: CallId,
    pub(crate) plugin: PluginId,
    pub(crate) tool: Option<Arc<Tool>>,
    pub(crate) method: std::borrow::Cow<'static, str>,
    pub(crate) principal: Arc<str>,
    pub(crate) edge: Edge,
    pub(crate) durable: bool,
    /// The name of the caller's own trace, if it said one.
    pub(crate) trace_id: Option<String>,
    /// It has a key of its caller's: the journal keeps what is said of it for longer.
    pub(crate) keyed: bool,
    /// What is remembered of its arguments.
    pub(super) arguments: Remembered,
}

/// What changes while it runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Nearly every call has one.
    pub(super) first: Option<Attempt>,
    pub(super) more: Vec<Attempt>,
    pub(super) end: Option<End>,
}

/// One attempt at a plugin. Times are microseconds after the call's begin.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) instance: InstanceNo,
    pub(super) generation: Generation,
    /// Instances among which it was picked.
    pub(super) candidates: usize,
    pub(super) begun: u64,
    pub(super) sent: Option<u64>,
    /// `None`: it goes on, or ended with the call.
    pub(super) ended: Option<u64>,
    pub(super) failed: Option<(CallErrorKind, Delivery, String)>,
}

/// How it ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) outcome: Outcome,
    pub(super) code: Option<Code>,
    pub(super) delivery: Delivery,
    pub(super) after: Duration,
    pub(super) bytes_out: usize,
}

impl CallTrace {
    pub(super) fn new(about: About, clock: Clock, begun: Instant) -> Self {
        Self {
            about,
            began_at: clock.wall_at(begun),
            sent: AtomicU64::new(0),
            handed_over: AtomicBool::new(false),
            instance: AtomicU32::new(0),
            generation: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            progress: Mutex::default(),
            taken_back: AtomicBool::new(false),
            bell: Bell::new(begun),
        }
    }

    /// What goes to the plugin has this many bytes.
    pub(super) fn weighs(&self, bytes: usize) {
        self.bytes_in.store(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// An attempt begins.
    pub(super) fn begins(&self, instance: InstanceNo, generation: Generation, candidates: usize) {
        self.sent.store(0, Ordering::Relaxed);
        self.instance.store(instance.0, Ordering::Relaxed);
        self.generation.store(generation.0, Ordering::Relaxed);
        let begun = self.micros();
        let attempt =
            Attempt { instance, generation, candidates, begun, sent: None, ended: None, failed: None };
        let mut progress = self.progress();
        if progress.first.is_none() {
            progress.first = Some(attempt);
        } else {
            progress.more.push(attempt);
        }
    }

    /// The first byte of the attempt is about to go out.
    pub(super) fn sends(&self) {
        self.sent.store(self.micros() + 1, Ordering::Relaxed);
        self.handed_over.store(true, Ordering::Release);
    }

    /// The attempt has failed; `detail` holds no secret.
    pub(super) fn fails(&self, kind: CallErrorKind, delivery: Delivery, detail: String) {
        let (sent, now) = (self.sent_after(), self.micros());
        let mut progress = self.progress();
        if let Some(attempt) = progress.last_mut() {
            attempt.sent = sent;
            attempt.ended = Some(now);
            attempt.failed = Some((kind, delivery, detail));
        }
    }

    /// The call has ended. Only the first end counts.
    pub(super) fn ends(&self, end: End) {
        self.bell.unset();
        let sent = self.sent_after();
        let mut progress = self.progress();
        if progress.end.is_none() {
            if let Some(attempt) = progress.last_mut()
                && attempt.ended.is_none()
            {
                attempt.sent = sent;
            }
            progress.end = Some(end);
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.progress().end.is_some()
    }

    /// The same, for whoever has it alone: the lock of a call that ended long ago is in no cache any more.
    pub(super) fn has_ended_mut(&mut self) -> bool {
        self.progress.get_mut().unwrap_or_else(PoisonError::into_inner).end.is_some()
    }

    /// How it stands.
    pub(super) fn snapshot(&self) -> Progress {
        let mut progress = self.progress().clone();
        if progress.end.is_none()
            && let Some(attempt) = progress.last_mut()
        {
            attempt.sent = attempt.sent.or_else(|| self.sent_after());
        }
        progress
    }

    /// How it ended, or that it has not.
    pub(super) fn outcome(&self) -> &'static str {
        self.progress().end.as_ref().map_or("running", |end| end.outcome.as_str())
    }

    /// Whether a byte of it was handed to a plugin, at any attempt.
    pub(super) fn was_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    pub(super) fn begun(&self) -> Instant {
        self.bell.begun()
    }

    pub(super) fn began_at(&self) -> SystemTime {
        self.began_at
    }

    /// Takes the call back: it ends as if its caller had left, and its caller is told. False: it has ended.
    pub(crate) fn take_back(&self) -> bool {
        if self.has_ended() {
            return false;
        }
        self.taken_back.store(true, Ordering::Release);
        self.bell.wake();
        true
    }

    /// Runs the call; `None`: it was taken back.
    pub(super) async fn unless_taken_back<F: Future>(&self, mut call: Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|cx| {
            // Before the call is polled: what it finds of the bell is true only if whoever rings after that wakes this task.
            self.bell.heard_by(cx.waker());
            if self.taken_back.load(Ordering::Acquire) {
                return Poll::Ready(None);
            }
            call.as_mut().poll(cx).map(Some)
        })
        .await
    }

    /// What the journal is told before it is handed over.
    pub(super) fn note(&self, to: &mut Vec<u8>) {
        let after = self.sent_after().unwrap_or_else(|| self.micros());
        let entry = Sent {
            call: self.about.id,
            at: millis(self.began_at() + Duration::from_micros(after)),
            keyed: self.about.keyed,
            plugin: self.about.plugin.as_str(),
            tool: self.tool_name().unwrap_or_default(),
            method: &self.about.method,
            instance: self.instance.load(Ordering::Relaxed),
            generation: self.generation.load(Ordering::Relaxed),
            principal: &self.about.principal,
        };
        Entry::Sent(entry).put(to);
    }

    /// And what when it has ended.
    pub(super) fn settled(&self, end: &End) -> Settled {
        Settled {
            call: self.about.id,
            at: millis(self.began_at() + end.after),
            keyed: self.about.keyed,
            outcome: end.outcome,
            code: end.code,
        }
    }

    pub(super) fn tool_name(&self) -> Option<&str> {
        self.about.tool.as_deref().map(|tool| tool.name.as_str())
    }

    fn sent_after(&self) -> Option<u64> {
        self.sent.load(Ordering::Relaxed).checked_sub(1)
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.begun().elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    pub(super) fn last_mut(&mut self) -> Option<&mut Attempt> {
        self.more.last_mut().or(self.first.as_mut())
    }

    pub(super) fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.first.iter().chain(&self.more)
    }
}
