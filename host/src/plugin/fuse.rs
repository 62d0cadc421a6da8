//! The breaker of an instance, carried out: callers look at one word of it, and take its lock only when something has gone
//! wrong. The pure decision is [`wharf_core::breaker`].
//!
//! It informs the supervisor, never the reverse: that probes an instance when its time is over, tells what changed, and starts
//! it anew when it is worn out. Of several instances the only one that is up is not started anew: as in quarantine, the last
//! one is never taken away.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;
use wharf_core::breaker::{Breaker, Context, Ending, State};
use wharf_core::lifecycle::Event;
use wharf_core::manifest::{Breaker as Rules, Probe};
use wharf_core::{Generation, Moment};
use wharf_plugin_api::{CallError, CallErrorKind, Cause, CauseKind};

use super::instance::{InstanceHandle, Load};
use super::outcome::Outcome;
use super::services::roll;
use super::supervisor::Supervisor;
use super::view::BreakerView;
use crate::clock::Clock;

/// A timeout tells of an instance only if the caller gave it at least so long, or as long as its manifest does: a caller in a
/// hurry does not take it away from others.
const PATIENT: Duration = Duration::from_secs(1);

/// Bits of the word: calls pass.
const CLOSED: u64 = 0;
/// None does.
const SHUT: u64 = 1;
/// A few may.
const ROOM: u64 = 2;
const MODE: u64 = 3;

/// The breaker of an instance, shared by all its callers.
#[derive(Debug)]
pub(crate) struct Fuse {
    /// The epoch, and in the lowest bits what callers may do.
    word: AtomicU64,
    inner: Mutex<Inner>,
    clock: Clock,
    load: Arc<Load>,
    /// Rung for the supervisor when something has changed.
    news: Arc<Notify>,
}

#[derive(Debug)]
struct Inner {
    breaker: Breaker,
    /// What the last failure was.
    cause: Option<Arc<str>>,
}

/// What callers may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// Pass, and tell failures with this epoch.
    Open(u64),
    /// Ask for leave.
    Ajar,
    /// Go elsewhere.
    Shut,
}

/// A call that was let through.
#[derive(Debug)]
pub(super) enum Pass {
    /// By a closed breaker, in this epoch.
    Free(u64),
    /// To try the instance.
    Trial(Trial),
}

/// One of the few calls that try an instance; dropping it takes it back.
#[derive(Debug)]
pub(super) struct Trial {
    instance: InstanceHandle,
    epoch: u64,
    told: AtomicBool,
}

// === impl Fuse ===

impl Fuse {
    pub(super) fn new(rules: Rules, clock: Clock, load: Arc<Load>, news: Arc<Notify>) -> Arc<Self> {
        let inner = Inner { breaker: Breaker::new(rules, clock.now()), cause: None };
        Arc::new(Self { word: AtomicU64::new(CLOSED), inner: Mutex::new(inner), clock, load, news })
    }

    pub(super) fn door(&self) -> Door {
        let word = self.word.load(Ordering::Relaxed);
        match word & MODE {
            CLOSED => Door::Open(word >> 2),
            ROOM => Door::Ajar,
            _ => Door::Shut,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.door(), Door::Open(_))
    }

    /// When it is tried again, if callers should go elsewhere until then; at once, if it is being tried.
    pub(crate) fn shut_until(&self) -> Option<Moment> {
        if self.door() != Door::Shut {
            return None;
        }
        Some(self.inner().breaker.next_try().unwrap_or_default())
    }

    /// What the API shows of it.
    pub(crate) fn view(&self) -> BreakerView {
        let inner = self.inner();
        let Inner { breaker, cause } = &*inner;
        let shown = (breaker.state() != State::Closed).then(|| cause.as_deref().map(str::to_owned)).flatten();
        BreakerView {
            state: breaker.state(),
            since: self.clock.wall(breaker.since()),
            cause: shown,
            next_try_at: breaker.next_try().map(|at| self.clock.wall(at)),
            opened: breaker.opened(),
        }
    }

    /// What the last failure was, while it is not closed.
    pub(crate) fn cause(&self) -> Option<Arc<str>> {
        self.inner().cause.clone()
    }

    pub(super) fn set_rules(&self, rules: Rules) {
        self.inner().breaker.set_rules(rules);
    }

    fn failed(&self, epoch: u64, why: &str) {
        self.change(|inner, cx| {
            if inner.breaker.epoch() == epoch && inner.breaker.is_closed() {
                inner.cause = Some(why.into());
                inner.breaker.failed(epoch, cx);
            }
        });
    }

    fn admit(&self) -> Option<u64> {
        self.change(|inner, _| inner.breaker.admit())
    }

    /// Does something to the breaker and shows what it came to.
    fn change<T>(&self, act: impl FnOnce(&mut Inner, Context) -> T) -> T {
        let cx = Context { now: self.clock.now(), answers: self.load.answered(), roll: roll() };
        let mut inner = self.inner();
        let done = act(&mut inner, cx);
        let breaker = &inner.breaker;
        let mode = match (breaker.is_closed(), breaker.has_room()) {
            (true, _) => CLOSED,
            (false, true) => ROOM,
            (false, false) => SHUT,
        };
        let word = (breaker.epoch() << 2) | mode;
        if self.word.swap(word, Ordering::Relaxed) != word {
            self.news.notify_one();
        }
        done
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Pass ===

impl Pass {
    /// Lets a call through to an instance; `None`: it should go elsewhere.
    pub(super) fn through(instance: &InstanceHandle) -> Option<Self> {
        match instance.fuse.door() {
            Door::Open(epoch) => Some(Self::Free(epoch)),
            Door::Shut => None,
            Door::Ajar => {
                let epoch = instance.fuse.admit()?;
                Some(Self::Trial(Trial { instance: instance.clone(), epoch, told: false.into() }))
            }
        }
    }

    /// The call was answered.
    pub(super) fn answered(&self) {
        if let Self::Trial(trial) = self {
            trial.tell(Ending::Good);
        }
    }

    /// It was not. `given`: how long it had at most; `usual`: what the manifest gives.
    pub(super) fn failed(
        &self,
        instance: &InstanceHandle,
        error: &CallError,
        given: Duration,
        usual: Duration,
    ) {
        let bad = match error.kind {
            CallErrorKind::Connection | CallErrorKind::Protocol => true,
            CallErrorKind::Timeout => given >= usual.min(PATIENT),
            // These say nothing of whether it works.
            CallErrorKind::Refused
            | CallErrorKind::Session
            | CallErrorKind::Cancelled
            | CallErrorKind::Full
            | _ => false,
        };
        match self {
            Self::Trial(trial) if bad => {
                instance.fuse.inner().cause = Some(error.detail.as_str().into());
                trial.tell(Ending::Bad);
            }
            Self::Free(epoch) if bad => instance.fuse.failed(*epoch, &error.detail),
            // One that is taken back tells so itself.
            Self::Trial(_) | Self::Free(_) => {}
        }
    }
}

impl Trial {
    fn tell(&self, ending: Ending) {
        if !self.told.swap(true, Ordering::Relaxed) {
            self.instance.fuse.change(|inner, cx| inner.breaker.tried(self.epoch, ending, cx));
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.tell(Ending::Void);
    }
}

// === impl Supervisor ===

impl Supervisor {
    /// A generation begins to serve: its breaker is closed.
    pub(super) fn mend(&self) {
        self.fuse.change(|inner, cx| {
            inner.cause = None;
            inner.breaker.renew(cx);
        });
    }

    /// When the breaker wants to be looked at.
    pub(super) fn fuse_due(&self) -> Option<Instant> {
        let until = self.fuse.inner().breaker.next_try().filter(|_| self.serving)?;
        Some(self.services.clock.instant(until))
    }

    /// If its time is over, the instance is asked whether it works again, before any caller's call goes there.
    pub(super) fn tick_fuse(&mut self) {
        let epoch = self.fuse.change(|inner, cx| inner.breaker.tick(cx.now));
        let (Some(epoch), Some(link)) = (epoch.filter(|_| self.serving), self.link.clone()) else { return };
        let g = self.machine.generation();
        let health = self.setup.manifest.health.clone();
        let probed = health.probe != Probe::None;
        let reach = self.reach();
        self.effect(async move {
            let ending = match super::probe::probe(&*link, &health, &reach).await {
                true if probed => Ending::Good,
                true => Ending::Void,
                false => Ending::Bad,
            };
            Outcome::Tried(g, epoch, ending)
        });
    }

    /// It was asked.
    pub(super) fn fuse_probed(&mut self, g: Generation, epoch: u64, ending: Ending) {
        if g != self.machine.generation() {
            return;
        }
        self.fuse.change(|inner, cx| {
            if ending == Ending::Bad {
                inner.cause = Some("it did not answer a probe either".into());
            }
            inner.breaker.probed(epoch, ending, cx);
        });
    }

    /// Tells what has become of the breaker, and starts the instance anew if it is worn out.
    pub(super) fn look_at_fuse(&mut self) {
        let (state, opened, worn) = {
            let inner = self.fuse.inner();
            let breaker = &inner.breaker;
            (breaker.state(), breaker.opened(), breaker.is_worn(self.services.clock.now()))
        };
        if std::mem::replace(&mut self.fuse_told, (state, opened)) == (state, opened) {
            return;
        }
        let view = self.fuse.view();
        let why = view.cause.as_deref().map(|cause| self.core.clean(cause));
        tracing::info!(state = ?state, opened, "breaker{}", why.as_ref().map(|why| format!(": {why}")).unwrap_or_default());
        let next = view.next_try_at.map(|at| humantime::format_rfc3339_millis(at).to_string());
        let event = json!({
            "plugin": self.core.id, "instance": self.n, "generation": self.machine.generation(),
            "state": state, "cause": &why, "next_try_at": next, "opened": opened,
        });
        self.services.events.publish("plugin.breaker", event);
        if worn && state == State::Open && self.serving {
            self.wear_out(why.as_deref().unwrap_or_default());
        }
    }

    /// Of several instances the only one that is up goes on as it is: what it is tried with is all that is left.
    fn wear_out(&mut self, why: &str) {
        let core = Arc::clone(&self.core);
        let _deciding = core.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        if self.visit.is_some() || !core.is_only_one_up(self.n) {
            let detail =
                format!("its breaker opened three times within five minutes; the last failure: {why}");
            self.decide(Event::Lost(self.machine.generation(), Cause::new(CauseKind::Failing, detail)));
        }
    }
}
