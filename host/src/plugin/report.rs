//! What a supervisor shows: the snapshot of its instance, and a record of every transition.

use std::sync::Arc;

use serde_json::json;
use wharf_core::lifecycle::{Machine, State};
use wharf_core::manifest::Start;
use wharf_core::{Generation, Revision};
use wharf_plugin_api::{Cause, CauseKind, Hello};

use super::core::PluginCore;
use super::drift::tell_drift;
use super::exits::Exits;
use super::inbox::Facts;
use super::instance::Snapshot;
use super::memory::Record;
use super::prove::Proof;
use super::services::Services;
use super::supervisor::Supervisor;
use super::versions::Published;
use super::view::LastExit;

/// Lines of stderr that are kept with a death.
const TAIL: usize = 20;

/// What is seen before the task runs: an instance that is wanted up is on its way, also while it waits for its place.
pub(super) fn first_snapshot(
    machine: &Machine,
    revision: Revision,
    up: bool,
    hello: Option<Arc<Hello>>,
) -> Snapshot {
    Snapshot {
        state: if up { State::Preparing } else { machine.state() },
        since: machine.since(),
        cause: machine.cause().cloned(),
        next_attempt: None,
        generation: Generation(0),
        revision,
        restarts: 0,
        wanted: up || machine.is_wanted(),
        asleep: machine.is_asleep(),
        quarantined: false,
        pid: None,
        port: None,
        link: None,
        hello,
        exits: Exits::default(),
    }
}

/// Writes down what the plugin offers now; nobody waits for it.
pub(super) fn remember(core: &Arc<PluginCore>, services: &Arc<Services>) {
    let (core, keeper) = (Arc::clone(core), Arc::clone(services));
    drop(services.tasks.blocking(move || keeper.memory.keep(&core.id, || core.record.load_full())));
}

/// That its turn to fetch has not come says more than why it last ended.
fn queued(facts: &Facts) -> Option<Cause> {
    let behind = facts.behind.as_ref()?;
    let detail = format!("waits for its turn to fetch what it runs, behind {behind}");
    Some(Cause::new(CauseKind::Queued, detail))
}

impl Supervisor {
    /// What this instance offers is what the plugin offers from now on.
    pub(super) fn publish_proof(&self, proof: Proof, after: &'static str) {
        let Some(hello) = self.hello.clone() else { return };
        let manifest = &self.setup.manifest;
        let record = Arc::new(Record::of(manifest, hello, proof));
        match self.core.publish_proof(self.setup.revision, Arc::clone(&record), &self.services) {
            Published::Kept => return,
            Published::Shown(before) => {
                if let Some(before) = before {
                    let of = (self.n, self.machine.generation());
                    tell_drift(&self.core, &self.services, of, (&before.proof, &record.proof), after);
                }
            }
        }
        if manifest.start == Start::Lazy {
            remember(&self.core, &self.services);
        }
    }

    pub(super) fn note_exit(&mut self, generation: Generation, cause: &Cause) {
        let Some(exit) = &cause.exit else { return };
        self.exits.push(LastExit {
            generation,
            cause: cause.kind,
            code: exit.code,
            signal: exit.signal,
            oom: exit.oom,
            note: exit.note.clone(),
            uptime_ms: u64::try_from(exit.uptime.as_millis()).unwrap_or(u64::MAX),
            at: self.services.clock.wall(self.services.clock.now()),
            stderr_tail: self
                .core
                .log
                .tail_of(self.n.0, generation.0, TAIL)
                .into_iter()
                .map(|line| line.text)
                .collect(),
        });
    }

    pub(super) fn publish(&mut self) {
        let facts = self.inbox.as_ref().map(|inbox| inbox.facts()).unwrap_or_default();
        let snapshot = Snapshot {
            state: self.machine.state(),
            since: self.machine.since(),
            cause: queued(&facts).or_else(|| self.machine.cause().cloned()),
            next_attempt: self.machine.next_attempt(),
            generation: self.machine.generation(),
            revision: self.setup.revision,
            restarts: self.machine.restarts(),
            wanted: self.machine.is_wanted(),
            asleep: self.machine.is_asleep(),
            quarantined: self.machine.is_quarantined(),
            pid: facts.pid,
            port: facts.port,
            link: if self.serving { self.link.clone() } else { None },
            hello: self.hello.clone(),
            exits: self.exits.clone(),
        };
        let (state, link) = (snapshot.state, snapshot.link.clone());
        if link.is_none() {
            // Nobody is to be led to where there is nothing any more.
            self.face.show(state, None);
        }
        self.snapshot.send_replace(Arc::new(snapshot));
        self.face.show(state, link.as_deref());
        self.core.bump();
    }

    /// Every transition is a record, in the log of the host and of the plugin and in the events.
    pub(super) fn tell(&self, before: (State, Generation)) {
        let (to, generation) = (self.machine.state(), self.machine.generation());
        if before == (to, generation) {
            return;
        }
        let cause = self.machine.cause();
        let reason = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        tracing::info!(
            from = before.0.as_str(),
            to = to.as_str(),
            generation = generation.0,
            "state{reason}"
        );
        self.core.log.append(
            self.n.0,
            generation.0,
            "state",
            &format!("{} -> {}{reason}", before.0.as_str(), to.as_str()),
        );
        let next = self.machine.next_attempt().map(|at| self.services.clock.wall(at));
        self.services.events.publish(
            "plugin.state",
            json!({
                "plugin": self.core.id, "instance": self.n, "generation": generation,
                "from": before.0, "to": to, "cause": cause, "restarts": self.machine.restarts(),
                "next_attempt_at": next.map(|at| humantime::format_rfc3339_millis(at).to_string()),
            }),
        );
        self.services.catalog_dirty.notify_one();
    }
}
