//! A call under way whose plugin may ask: whoever holds it drives it, and dropping it cancels the call.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use wharf_core::{Code, PluginId};
use wharf_plugin_api::{Delivery, Reply};

use super::question::Question;
use crate::late;
use crate::route::{Ask, Asked, CallEvent, Failure, Settled};

/// Questions that come within this of each other are asked together.
const TOGETHER: Duration = Duration::from_millis(25);
/// But none waits longer than this for others.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);
/// Open questions of one call. A plugin that asks more at once is told no.
const MOST_OPEN: usize = 64;

/// How a call ends.
pub(crate) type Outcome = Result<Settled, Failure>;

/// Takes what the plugin says during the call.
pub(crate) type Hear<'a> = dyn FnMut(CallEvent) + Send + 'a;

/// A call under way. In a box: it is handed on often.
pub(crate) struct Live {
    /// Whose call it is.
    pub(crate) plugin: PluginId,
    /// How many calls of the plugin may wait for their clients.
    pub(super) room: usize,
    /// `None` once it has ended.
    call: Option<Pin<Box<dyn Future<Output = Outcome> + Send>>>,
    /// How it ended while nobody was there. Apart: nearly none ends so.
    outcome: Option<Box<Outcome>>,
    /// Whether it still runs, for who counts the calls that wait.
    runs: Option<Arc<AtomicBool>>,
    /// Its place among the answers that are kept.
    kept: Option<OwnedSemaphorePermit>,
    asks: Asked,
    events: Option<late::Receiver<CallEvent>>,
    open: Vec<Question>,
    /// Questions so far.
    asked: usize,
    /// Answers that came with the very first request, for questions that were not asked yet.
    early: Option<Box<RawValue>>,
}

/// Questions that are open and wait for others, to be asked together.
struct Gathering {
    /// Since then.
    first: Instant,
    /// And so long.
    until: Pin<Box<Sleep>>,
}

/// What a call comes to next.
#[derive(Debug)]
pub(crate) enum Step {
    Ended(Outcome),
    /// It asks, and goes on when it is answered.
    Asked,
}

impl Live {
    pub(crate) fn new(
        plugin: PluginId,
        room: usize,
        call: Pin<Box<dyn Future<Output = Outcome> + Send>>,
        asks: Asked,
        events: Option<late::Receiver<CallEvent>>,
        early: Option<Box<RawValue>>,
    ) -> Box<Self> {
        Box::new(Self {
            plugin,
            room,
            call: Some(call),
            outcome: None,
            runs: None,
            kept: None,
            asks,
            events,
            open: Vec::new(),
            asked: 0,
            early,
        })
    }

    /// Drives the call until it has ended, or has asked and asks no more for a moment.
    pub(crate) async fn next(&mut self, hear: &mut Hear<'_>) -> Step {
        self.asks.attends(true);
        let mut gathers = (!self.open.is_empty()).then(|| Gathering::with_one_more(None));
        poll_fn(|cx| self.poll_next(cx, hear, &mut gathers)).await
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        hear: &mut Hear<'_>,
        gathers: &mut Option<Gathering>,
    ) -> Poll<Step> {
        loop {
            // Once it has ended, nothing else need be looked at; and it must be asked in time, whatever else it says.
            if let Some(outcome) = self.outcome.take() {
                self.hear_all(hear);
                self.kept = None;
                return Poll::Ready(Step::Ended(*outcome));
            }
            if let Some(Poll::Ready(outcome)) = self.call.as_mut().map(|call| call.as_mut().poll(cx)) {
                self.ended();
                self.hear_all(hear);
                return Poll::Ready(Step::Ended(outcome));
            }
            if gathers.as_mut().is_some_and(|gathers| gathers.until.as_mut().poll(cx).is_ready()) {
                self.open.retain(Question::is_open);
                if !self.open.is_empty() {
                    // Told to the plugin's side: what belongs to nobody is not this call's while its client is away.
                    self.asks.attends(false);
                    return Poll::Ready(Step::Asked);
                }
                *gathers = None;
            }
            if let Poll::Ready(ask) = self.asks.poll_next(cx) {
                self.take(ask);
                *gathers = (!self.open.is_empty()).then(|| Gathering::with_one_more(gathers.as_ref()));
            } else if let Some(Poll::Ready(Some(event))) =
                self.events.as_mut().map(|events| events.poll_recv(cx))
            {
                hear(event);
            } else {
                return Poll::Pending;
            }
        }
    }

    /// Drives the call while its client is away. Its answer is kept as far as `room` has bytes for it. Never resolves.
    pub(super) async fn idle(&mut self, room: &Arc<Semaphore>) {
        loop {
            tokio::select! {
                outcome = running(&mut self.call) => {
                    let size = outcome.as_ref().map_or(0, size);
                    self.kept = Arc::clone(room).try_acquire_many_owned(u32::try_from(size).unwrap_or(u32::MAX)).ok();
                    let outcome = if self.kept.is_some() { outcome } else { Err(self.unkept(size)) };
                    self.ended();
                    self.outcome = Some(Box::new(outcome));
                }
                ask = self.asks.next() => self.take(ask),
                // Progress of a request that was answered goes nowhere.
                Some(event) = heard(&mut self.events) => drop(event),
            }
        }
    }

    fn unkept(&self, size: usize) -> Failure {
        let detail = format!(
            "the plugin answered while its client was away, and there was no room to keep the answer of {size} bytes; the \
             call has run, so check before you repeat it"
        );
        tracing::warn!(plugin = %self.plugin, size, "an answer was dropped: too much is kept for clients that are away");
        Failure {
            plugin: Some(self.plugin.as_str().into()),
            delivery: Some(Delivery::Answered),
            ..Failure::new(Code::OutcomeUnknown, detail)
        }
    }

    /// Becomes false when it has ended.
    pub(super) fn runs(&mut self) -> Arc<AtomicBool> {
        Arc::clone(self.runs.get_or_insert_with(|| Arc::new(AtomicBool::new(self.call.is_some()))))
    }

    fn ended(&mut self) {
        self.call = None;
        if let Some(runs) = &self.runs {
            runs.store(false, Ordering::Relaxed);
        }
        self.open.clear();
    }

    fn take(&mut self, ask: Ask) {
        self.asked += 1;
        self.open.retain(Question::is_open);
        let question = Question::new(ask, self.asked, |key| self.open.iter().any(|open| open.key == key));
        if self.open.len() >= MOST_OPEN {
            return question.refuse("too many questions of one call are open");
        }
        let question = match &self.early {
            Some(early) => question.answered_by(early),
            None => Some(question),
        };
        self.open.extend(question);
    }

    /// Gives the plugin the answers that fit. What is missing, or does not fit, is asked again; what was not asked is nothing.
    pub(crate) fn answer(&mut self, answers: &RawValue) {
        let open = std::mem::take(&mut self.open);
        self.open = open.into_iter().filter_map(|question| question.answered_by(answers)).collect();
    }

    /// Tells the plugin no.
    pub(super) fn refuse(&mut self, why: &str) {
        self.open.drain(..).for_each(|question| question.refuse(why));
    }

    /// The result that asks the client all that is open.
    pub(super) fn asked(&self, token: &str) -> Option<Box<RawValue>> {
        let mut out = r#"{"resultType":"input_required","inputRequests":{"#.to_owned();
        for (n, question) in self.open.iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            question.write(&mut out)?;
        }
        out.push_str(r#"},"requestState":"#);
        out.push_str(to_raw_value(token).ok()?.get());
        out.push('}');
        RawValue::from_string(out).ok()
    }

    /// What was said before the end comes before the end.
    fn hear_all(&mut self, hear: &mut Hear<'_>) {
        while let Some(event) = self.events.as_mut().and_then(|events| events.try_recv().ok()) {
            hear(event);
        }
    }
}

/// What an answer holds in memory.
fn size(settled: &Settled) -> usize {
    match &settled.reply {
        Reply::Result(result) => result.get().len(),
        Reply::Error(error) => {
            let parts = [error.data.as_deref(), error.whole.as_deref()];
            error.message.len() + parts.into_iter().flatten().map(|part| part.get().len()).sum::<usize>()
        }
    }
}

async fn running(call: &mut Option<Pin<Box<dyn Future<Output = Outcome> + Send>>>) -> Outcome {
    match call {
        Some(call) => call.await,
        None => std::future::pending().await,
    }
}

async fn heard(events: &mut Option<late::Receiver<CallEvent>>) -> Option<CallEvent> {
    match events {
        Some(events) => events.recv().await,
        None => None,
    }
}

impl Gathering {
    fn with_one_more(before: Option<&Self>) -> Self {
        let now = Instant::now();
        let first = before.map_or(now, |before| before.first);
        Self { first, until: Box::pin(tokio::time::sleep_until((now + TOGETHER).min(first + PATIENCE))) }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("open", &self.open)
            .field("ended", &self.call.is_none())
            .finish_non_exhaustive()
    }
}
