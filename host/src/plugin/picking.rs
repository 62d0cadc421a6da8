//! Which instance takes a call, by what each of them shows at the moment: the pure choice is [`wharf_core::pick`].
//!
//! A legacy server may hold state for the session of a client. Where there is more than one instance of it, the session stays
//! with the one that took its first call, as long as that serves, whatever `balance` says ([`super::pins`]). Callers
//! without a session, those of the modern era and of REST, are free.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use wharf_core::manifest::{Balance, Manifest};
use wharf_core::pick::{Candidate, Outlook, Wish, key, outlook, pick};
use wharf_core::{Generation, InstanceNo, Moment};
use wharf_plugin_api::{CallError, Caller, Link};

use super::PluginHandle;
use super::fuse::{Door, Pass};
use super::instance::{InFlight, InstanceHandle};
use super::own::Lane;

/// What a call brings to the choice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice<'a> {
    /// Who calls.
    pub(crate) caller: &'a Caller,
    /// Where the call was tried already: such an instance takes it only where no other does.
    pub(crate) tried: &'a [InstanceNo],
}

/// An instance that takes a call.
pub(crate) struct Picked {
    pub(crate) n: InstanceNo,
    pub(crate) generation: Generation,
    pub(crate) link: Arc<dyn Link>,
    pub(crate) instance: InstanceHandle,
    /// Counts the call in; the attempt takes it.
    pub(crate) inflight: Option<InFlight>,
    pass: Pass,
}

impl Picked {
    /// Counts a call in, if the instance has room for it and a link, and its breaker lets it through.
    pub(super) fn enter(instance: &InstanceHandle, limit: usize) -> Option<Self> {
        let inflight = instance.load.enter(limit)?;
        // Counted in before it is looked at again: a drain that begins now waits for this call.
        let (link, generation) = {
            let now = instance.snapshot.borrow();
            (now.link.clone()?, now.generation)
        };
        let pass = Pass::through(instance)?;
        let (instance, inflight) = (instance.clone(), Some(inflight));
        Some(Self { n: instance.n, generation, link, instance, inflight, pass })
    }

    /// Whether a breaker learns of it if calls may pass again.
    pub(crate) fn is_trial(&self) -> bool {
        matches!(self.pass, Pass::Trial(_))
    }

    /// The instance has answered the call, be it with an error.
    pub(crate) fn answered(&self) {
        self.instance.load.count_answer();
        self.pass.answered();
    }

    /// It has not. `given`: the time that the call had at most; `usual`: what the manifest gives a call.
    pub(crate) fn failed(&self, error: &CallError, given: Duration, usual: Duration) {
        self.pass.failed(&self.instance, error, given, usual);
    }
}

impl PluginHandle {
    /// Picks an instance for a call and counts the call in. `None`: none serves, or all that do are full.
    pub(crate) fn pick(&self, choice: &Choice<'_>) -> Option<Picked> {
        let manifest = self.manifest.load();
        let manifest = manifest.as_ref()?;
        let limit = manifest.limits.concurrency as usize;
        let instances = self.core.roster.load();
        if let [only] = instances.as_slice() {
            // One that does not serve is not entered: leaving it would wake those that wait for it.
            return serves(only).then(|| Picked::enter(only, limit))?;
        }
        self.pick_of(&instances, manifest, choice)
    }

    fn pick_of(
        &self,
        instances: &[InstanceHandle],
        manifest: &Manifest,
        choice: &Choice<'_>,
    ) -> Option<Picked> {
        let limit = manifest.limits.concurrency as usize;
        let caller = choice.caller;
        let legacy = || instances.iter().any(|instance| instance.face.look().is_legacy());
        let session = caller.session.as_ref().filter(|_| legacy());
        let pinned = session.and_then(|session| self.pins.of(session));
        let key = match manifest.balance {
            Balance::Sticky => key(caller.session.as_ref().unwrap_or(&caller.principal)),
            Balance::RoundRobin | Balance::LeastInflight => 0,
        };
        // Who goes where it was takes nobody's turn.
        let steps = usize::from(pinned.is_none());
        // Another round only if the choice was overtaken; then what was chosen is no longer a candidate, or soon.
        for _ in 0..=instances.len() {
            let turn = self.turn.fetch_add(steps, Ordering::Relaxed);
            let (balance, active) = (manifest.balance, manifest.replicas);
            let wish = Wish { balance, active, turn, key, pinned, tried: choice.tried };
            let candidates = instances.iter().map(|instance| candidate(instance, limit));
            let instance = instances.get(pick(candidates, &wish)?)?;
            let Some(picked) = Picked::enter(instance, limit) else { continue };
            if let Some(session) = session.filter(|_| pinned != Some(picked.n)) {
                self.pins.set(session, picked.n);
            }
            return Some(picked);
        }
        None
    }

    /// Rung when a call leaves one of its instances.
    pub(crate) fn freed(&self) -> Arc<Notify> {
        Arc::clone(&self.core.freed)
    }

    /// Whether it is worth waiting for it.
    pub(crate) fn outlook(&self) -> Outlook {
        let wait = self.instances().iter().any(|instance| outlook_of(instance) == Outlook::Wait);
        if wait { Outlook::Wait } else { Outlook::Fail }
    }

    /// When one that it is worth waiting for may take a call, at the earliest; `None`: none is.
    pub(crate) fn awaited_in(&self, lane: &Lane) -> Option<Moment> {
        let all = self.of_lane(lane);
        let waits = all.iter().filter(|instance| outlook_of(instance) == Outlook::Wait);
        waits.map(|instance| instance.snapshot.borrow().next_attempt.unwrap_or_default()).min()
    }

    /// If breakers keep calls from instances: when the first of these is tried again, and what its last failure was.
    pub(crate) fn shut_in(&self, lane: &Lane) -> Option<(Moment, Option<Arc<str>>)> {
        let all = self.of_lane(lane);
        let shut = all.iter().filter_map(|instance| Some((instance.fuse.shut_until()?, instance)));
        let (until, instance) = shut.min_by_key(|(until, _)| *until)?;
        Some((until, instance.fuse.cause()))
    }

    fn of_lane(&self, lane: &Lane) -> Arc<Vec<InstanceHandle>> {
        match lane {
            Lane::Shared => self.instances(),
            Lane::Own(own) => Arc::new(vec![own.handle.clone()]),
        }
    }
}

/// Whether a call may be led to it.
pub(super) fn serves(instance: &InstanceHandle) -> bool {
    instance.face.look().is_linked() && instance.fuse.door() != Door::Shut
}

/// Whether it is worth waiting for it. Nobody waits for a breaker: what it leaves alone may be left alone for long.
pub(super) fn outlook_of(instance: &InstanceHandle) -> Outlook {
    if instance.fuse.shut_until().is_some() {
        return Outlook::Fail;
    }
    let now = instance.snapshot.borrow();
    outlook(now.state, now.wanted)
}

fn candidate(instance: &InstanceHandle, limit: usize) -> Candidate {
    let look = instance.face.look();
    let inflight = instance.load.inflight();
    Candidate {
        slot: instance.slot,
        state: look.state(),
        serves: serves(instance),
        full: inflight >= limit,
        inflight,
    }
}
