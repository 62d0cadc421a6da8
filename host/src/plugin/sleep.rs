//! When a lazy plugin goes to sleep, and what wakes it.
//!
//! It sleeps when nobody has used it for `idle_stop`. In use it is by a call, an open task, a subscription, or a session
//! with an instance of its own; such instances end with their sessions and never sleep. One that was only started to learn
//! what it offers goes back to sleep at once.
//!
//! No call fails because of a sleep: first no further call is let in, and then those that slipped in before are looked for.

use std::time::Duration;

use tokio::time::Instant;
use wharf_core::lifecycle::{Event, State};
use wharf_core::manifest::Start;

use super::PluginHandle;
use super::instance::{InstanceHandle, Snapshot};
use super::own::Lane;
use super::supervisor::Supervisor;

/// How long one stays up that was started to learn what it offers.
const LEARNED: Duration = Duration::from_secs(5);

impl Supervisor {
    /// After how much idleness it sleeps; `None`: it does not.
    fn sleeps_after(&self) -> Option<Duration> {
        let manifest = &self.setup.manifest;
        if manifest.start != Start::Lazy || self.visit.is_some() {
            return None;
        }
        let idle = manifest.idle_stop.map(|span| span.0);
        if self.learning { Some(idle.unwrap_or(LEARNED).min(LEARNED)) } else { idle }
    }

    /// It serves, or goes by other rules: looks whether it may sleep when the time comes.
    pub(super) fn schedule_sleep(&mut self) {
        self.sleep_at = self.sleeps_after().filter(|_| self.serving).map(|after| Instant::now() + after);
    }

    /// The time has come: it goes to sleep, unless it is in use, or was a moment ago.
    pub(super) fn sleep_if_idle(&mut self) {
        self.sleep_at = None;
        let in_use = self.in_use();
        if in_use || self.load.left_at() > self.woken_at {
            self.learning = false;
        }
        let Some(after) = self.sleeps_after().filter(|_| self.serving) else { return };
        if in_use {
            self.sleep_at = Some(Instant::now() + after);
            return;
        }
        let last = self.load.left_at().max(self.woken_at);
        if last.elapsed() < after {
            self.sleep_at = Some(last + after);
            return;
        }
        self.on(Event::Sleep(self.machine.generation()));
        if self.machine.state() != State::Draining {
            // It may not yet.
            self.schedule_sleep();
        } else if self.load.inflight() > 0 {
            self.on(Event::Wake);
        } else {
            self.on(Event::Idle(self.machine.generation()));
        }
    }

    fn in_use(&self) -> bool {
        self.load.inflight() > 0 || self.core.is_held()
    }

    /// Somebody wants to use it.
    pub(super) fn wake(&mut self) {
        self.learning = false;
        // Each word of a supervisor makes those look again that wait for it; there must be something to see.
        if self.machine.is_asleep() {
            self.on(Event::Wake);
        }
    }

    /// What it is launched from, or its rules, have changed while it slept.
    pub(super) fn reconsider_sleep(&mut self, renew: bool) {
        if self.machine.is_asleep() && self.visit.is_none() {
            let eager = self.setup.manifest.start == Start::Eager;
            let learns = renew && self.n.0 == 0;
            if eager || learns {
                self.learning = !eager;
                self.on(Event::Wake);
            }
        }
        self.schedule_sleep();
    }
}

/// Whether it runs only when it is called, and does not now.
pub(crate) fn sleeps(now: &Snapshot) -> bool {
    now.state == State::Stopped && now.asleep
}

impl PluginHandle {
    /// Has an instance started for a call that no instance takes, if one sleeps and none is on its way.
    pub(crate) fn wake(&self, lane: &Lane) {
        match lane {
            Lane::Shared => self.wake_shared(),
            Lane::Own(own) if own.handle.now().asleep => wake(&own.handle),
            Lane::Own(_) => {}
        }
    }

    fn wake_shared(&self) {
        let instances = self.instances();
        let coming = |instance: &InstanceHandle| {
            matches!(instance.now().state, State::Preparing | State::Starting | State::Backoff)
        };
        if !instances.iter().any(coming)
            && let Some(asleep) = instances.iter().find(|instance| instance.now().asleep)
        {
            wake(asleep);
        }
    }

    /// Whether a lazy plugin must be started first, or is being started: that takes longer than a call waits for its turn.
    pub(crate) fn is_cold(&self, lane: &Lane) -> bool {
        let lazy = self.manifest.load().as_ref().is_some_and(|manifest| manifest.start == Start::Lazy);
        let cold = |now: &Snapshot| {
            now.asleep || (now.wanted && matches!(now.state, State::Preparing | State::Starting))
        };
        lazy && self.best_in(lane).is_some_and(|now| cold(&now))
    }
}

fn wake(instance: &InstanceHandle) {
    instance.wake.notify_one();
}
