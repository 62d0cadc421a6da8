//! What the instances of a new version show, as events of the upgrade.

use std::sync::Arc;

use tokio::time::sleep_until;
use wharf_core::lifecycle::State;
use wharf_core::manifest;
use wharf_core::upgrade::{Event, Fare, failed};
use wharf_core::{Moment, Revision};
use wharf_plugin_api::{Cause, CauseKind};

use super::{Upgrading, serves};
use crate::plugin::drift::compare;
use crate::plugin::fuse::Door;
use crate::plugin::instance::InstanceHandle;
use crate::plugin::memory::Record;
use crate::plugin::prove::Proof;
use crate::plugin::sleep::sleeps;
use crate::plugin::{PluginHandle, Snapshot};

use super::Lists;

impl PluginHandle {
    /// Looks on for as long as an upgrade is under way.
    pub(super) async fn look_on(self: Arc<Self>) {
        let ending = self.services.tasks.ending().clone();
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            let Some(until) = self.look() else { return };
            tokio::select! {
                // The sender lives as long as the plugin does.
                _ = changes.changed() => {}
                () = sleep_until(self.services.clock.instant(until)) => {}
                () = ending.cancelled() => return,
            }
        }
    }

    /// What is to be seen now. Returns until when nothing else need happen; `None`: nothing is under way.
    fn look(&self) -> Option<Moment> {
        let mut guard = self.upgrading();
        let up = &mut *guard;
        let seen = match (up.machine.proving(), up.machine.on_trial()) {
            (Some(to), _) => self.proving(up, to),
            (None, Some(to)) => self.on_trial(up, to),
            (None, None) => None,
        };
        if let Some(event) = seen {
            self.step(up, event);
        }
        let last = up.fresh.iter().find_map(|one| failure(&one.now()));
        self.step(up, Event::Tick(last));
        let next = up.machine.next_deadline();
        up.watched = next.is_some();
        next
    }

    fn proving(&self, up: &mut Upgrading, to: Revision) -> Option<Event> {
        let of_it: Vec<&InstanceHandle> = up.fresh.iter().filter(|one| one.now().revision == to).collect();
        let is_there = |one: &&&InstanceHandle| takes_calls(one);
        if of_it.iter().filter(is_there).count() >= up.needed
            && let (Some(now), Some(before)) = (self.core.kept_of(to), self.core.record.load_full())
        {
            return Some(match self.let_pass(up, &before, &now) {
                Ok(()) => Event::Ready(to),
                Err(cause) => Event::Failed(to, cause),
            });
        }
        let hopeless: Vec<_> = of_it.iter().map(|one| one.now()).filter(|now| is_hopeless(now)).collect();
        if up.fresh.len() - hopeless.len() < up.needed {
            let unknown = || Cause::new(CauseKind::Exited, "it did not stay up");
            return Some(Event::Failed(
                to,
                hopeless.iter().find_map(|now| failure(now)).unwrap_or_else(unknown),
            ));
        }
        let launched = of_it.iter().any(|one| !matches!(one.now().state, State::Preparing | State::Stopped));
        launched.then_some(Event::Launched(to))
    }

    /// Compares what both versions list.
    fn let_pass(&self, up: &mut Upgrading, before: &Record, now: &Record) -> Result<(), Cause> {
        let drift = compare(&before.proof, &now.proof);
        let policy = up.newest.as_ref().map_or_else(Default::default, |newest| newest.manifest.upgrade.lists);
        let verdict = match policy {
            manifest::Lists::Any if !is_empty(&before.proof) && is_empty(&now.proof) => {
                Some("nothing at all")
            }
            manifest::Lists::More if !drift.only_adds() => Some("not all that the old one does"),
            manifest::Lists::Same if !drift.is_empty() => Some("something else than the old one"),
            manifest::Lists::Any | manifest::Lists::More | manifest::Lists::Same => None,
        };
        let text = self.core.clean(&drift.to_string());
        let refused = verdict
            .map(|what| Cause::new(CauseKind::OtherLists, format!("the new version offers {what}: {text}")));
        up.lists = (!drift.is_empty()).then(|| Arc::new(Lists { lists: drift, text }));
        refused.map_or(Ok(()), Err)
    }

    fn on_trial(&self, up: &Upgrading, to: Revision) -> Option<Event> {
        let roster = self.instances();
        let of_it = roster.iter().filter(|one| one.now().revision == to);
        let cause = failed(of_it.map(|one| self.fare(up, one)))?;
        // Where both let no call through, it is not the version.
        let lets_through = |one: &InstanceHandle| takes_calls(one) && one.fuse.door() != Door::Shut;
        let is_left_alone = cause.kind == CauseKind::Failing;
        let old_serves =
            if is_left_alone { up.warm.iter().any(lets_through) } else { up.warm.iter().any(takes_calls) };
        Some(Event::Crashed { to, cause, old_serves })
    }

    fn fare(&self, up: &Upgrading, one: &InstanceHandle) -> Fare {
        let (now, before) = (one.now(), up.restarts.iter().find(|(n, _)| *n == one.n));
        let restarted = now.restarts > before.map_or(0, |(_, restarts)| *restarts);
        let crashed = || {
            let unknown = || Cause::new(CauseKind::Exited, "it crashed and was started again");
            Fare::Crashed(failure(&now).unwrap_or_else(unknown))
        };
        match now.state {
            State::Backoff | State::Quarantined | State::Fatal => crashed(),
            State::Stopping => failure(&now).map_or(Fare::Away, Fare::Crashed),
            _ if restarted => crashed(),
            State::Ready | State::Degraded if one.fuse.door() == Door::Shut => {
                let why = one.fuse.cause().map(|why| self.core.clean(&why)).unwrap_or_default();
                Fare::Shut(Cause::new(CauseKind::Failing, format!("its breaker has opened: {why}")))
            }
            _ if takes_calls(one) => Fare::Takes,
            State::Ready
            | State::Degraded
            | State::Draining
            | State::Starting
            | State::Preparing
            | State::Misconfigured
            | State::Stopped
            | State::Disabled => Fare::Away,
        }
    }
}

/// It serves; or it did and is asleep, and starts again with the next call.
fn takes_calls(instance: &InstanceHandle) -> bool {
    let now = instance.now();
    serves(instance) || (sleeps(&now) && now.generation.0 > 0)
}

fn is_hopeless(now: &Snapshot) -> bool {
    match now.state {
        State::Fatal | State::Quarantined | State::Misconfigured | State::Disabled => true,
        State::Stopped => !now.asleep,
        State::Ready
        | State::Degraded
        | State::Draining
        | State::Starting
        | State::Preparing
        | State::Backoff
        | State::Stopping => false,
    }
}

/// From what it failed, if it did.
fn failure(now: &Snapshot) -> Option<Cause> {
    let asked_for = [CauseKind::Requested, CauseKind::Queued, CauseKind::Lazy];
    now.cause.clone().filter(|cause| !asked_for.contains(&cause.kind))
}

fn is_empty(proof: &Proof) -> bool {
    proof.tools.is_empty()
        && proof.prompts.is_empty()
        && proof.resources.is_empty()
        && proof.templates.is_empty()
}
