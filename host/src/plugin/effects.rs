//! What the machine asks for, carried out: each effect that takes time is a task that answers with an [`Outcome`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wharf_core::Generation;
use wharf_core::lifecycle::{Effect, Policy};
use wharf_plugin_api::{Cause, CauseKind, Inbox, Launch};

use super::canary;
use super::inbox::{GenerationInbox, Outside};
use super::outcome::Outcome;
use super::prove::prove;
use super::supervisor::Supervisor;

/// How long after its deadline an opening may take to clean up, beside its stop policy, before it is given up (a plugin of an embedder that does not
/// watch [`Inbox::cancelled`]).
const CLEAN_UP: Duration = Duration::from_secs(60);

impl Supervisor {
    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare(g) => self.prepare(g),
            Effect::Open(g) => self.open(g),
            Effect::CancelOpen(_) => {
                self.leave = None;
                if let Some(inbox) = &self.inbox {
                    inbox.cancel();
                }
            }
            Effect::Prove(g) => self.prove(g),
            Effect::Serve(_) => self.serve(),
            Effect::Suspend(_) => {
                self.tending = None;
                self.serving = false;
                (self.probe_at, self.sleep_at) = (None, None);
                (self.relisting.at, self.relisting.stale_at) = (None, None);
            }
            Effect::Close(g) => self.close(g),
        }
    }

    fn prepare(&mut self, g: Generation) {
        if let Some(setup) = self.next_setup.take() {
            self.machine.set_policy(Policy::from(&*setup.manifest));
            self.setup = setup;
            self.fuse.set_rules(self.setup.manifest.breaker.clone());
        }
        self.forget_generation();
        self.mend();
        // A start of an earlier generation is over.
        self.leave = None;
        let outside = Outside {
            plugin: self.core.id.clone(),
            notices: self.services.notices.clone(),
            log: Arc::clone(&self.core.log),
            instance: self.n,
            generation: g,
            muted: (self.core.versions.muted(), self.setup.revision),
            visit: self.visit.clone(),
        };
        let (inbox, end) = GenerationInbox::telling(Arc::clone(&self.news), outside);
        self.inbox = Some(Arc::clone(&inbox));
        self.end = Some(end);
        let services = Arc::clone(&self.services);
        let plugin = Arc::clone(&self.setup.plugin);
        let (core, after_crash) = (Arc::clone(&self.core), self.machine.is_after_crash());
        let fetches = self.setup.manifest.fetches();
        let outcomes = self.outcomes.clone();
        self.effect(async move {
            let work = async {
                let leave = services.starts.acquire(services.clock, &core, after_crash, fetches, &inbox).await;
                // A supervisor that has ended needs no leave.
                outcomes.send(Outcome::Admitted(g, leave)).await.ok();
                plugin.prepare().await
            };
            tokio::select! {
                prepared = work => match prepared {
                    Ok(()) => Outcome::Prepared(g),
                    Err(cause) => Outcome::PrepareFailed(g, cause),
                },
                () = inbox.cancelled() => Outcome::PrepareFailed(g, Cause::new(CauseKind::Requested, "no longer wanted")),
            }
        });
    }

    /// The last generation's things, if any are left.
    fn forget_generation(&mut self) {
        self.tending = None;
        self.link = None;
        self.proof = None;
        self.serving = false;
        self.relisting.under_way = false;
        (self.relisting.at, self.relisting.stale_at) = (None, None);
    }

    /// Nothing is alive: what belonged to the generation goes.
    pub(super) fn forget(&mut self) {
        self.tending = None;
        self.inbox = None;
        self.end = None;
        self.link = None;
        self.proof = None;
        self.leave = None;
        self.probe_at = None;
        (self.relisting.at, self.relisting.stale_at, self.sleep_at) = (None, None, None);
        self.relisting.under_way = false;
        self.closing = None;
        if !self.fuse.is_closed() {
            self.mend();
        }
    }

    fn open(&mut self, g: Generation) {
        let Some(inbox) = self.inbox.clone() else { return };
        let deadline = self.start_deadline();
        let client = self.visit.as_ref().map(|visit| Arc::clone(&visit.client));
        let (instance, replica) = (self.slot.n.0, self.slot.replica);
        let launch = Launch { instance, replica, generation: g.0, deadline: deadline.into_std(), client };
        let plugin = Arc::clone(&self.setup.plugin);
        let stop = &self.setup.manifest.stop;
        let clean_up = CLEAN_UP + stop.grace.0 + stop.term.0;
        self.effect(async move {
            let opening = plugin.open(launch, inbox);
            match tokio::time::timeout_at(deadline + clean_up, opening).await {
                Ok(Ok(link)) => Outcome::Opened(g, link),
                Ok(Err(cause)) => Outcome::OpenFailed(g, cause),
                Err(_) => {
                    let detail = "the opening did not end after it was cancelled; it was dropped";
                    Outcome::OpenFailed(g, Cause::new(CauseKind::StartTimeout, detail))
                }
            }
        });
    }

    fn prove(&mut self, g: Generation) {
        let Some(link) = self.link.clone() else { return };
        let deadline = self.start_deadline();
        let canary = self.setup.manifest.health.canary.clone();
        self.effect(async move {
            let proving = async {
                let proof = prove(&*link, deadline.into_std()).await?;
                if let Some(canary) = canary {
                    canary::check(&*link, &proof, &canary, deadline.into_std()).await?;
                }
                Ok(proof)
            };
            match tokio::time::timeout_at(deadline, proving).await {
                Ok(Ok(proof)) => Outcome::Proven(g, proof),
                Ok(Err(cause)) => Outcome::ProofFailed(g, cause),
                Err(_) => Outcome::ProofFailed(
                    g,
                    Cause::new(CauseKind::StartTimeout, "its lists did not come in time"),
                ),
            }
        });
    }

    fn start_deadline(&self) -> Instant {
        let at = self.machine.latest_opening().unwrap_or_else(|| self.services.clock.now());
        self.services.clock.instant(at)
    }

    fn serve(&mut self) {
        self.leave = None;
        self.serving = true;
        self.woken_at = Instant::now();
        if let Some(inbox) = &self.inbox {
            self.core.meters.starts.record(inbox.age());
        }
        self.schedule_sleep();
        self.heard = self.signs_of_life();
        if let Some(proof) = self.proof.take().filter(|_| self.visit.is_none()) {
            self.offer(proof, "start");
        }
        self.schedule_probe();
        self.tend();
        // What changed while the lists were read.
        self.news.notify_one();
    }

    /// Reads the lists again, because the plugin says that they changed. One reading at a time.
    pub(super) fn relist(&mut self) {
        let g = self.machine.generation();
        let Some(link) = self.link.clone() else { return };
        self.relisting.under_way = true;
        let deadline = Instant::now() + self.setup.manifest.health.start_timeout.0;
        let core = Arc::clone(&self.core);
        self.effect(async move {
            let read = tokio::time::timeout_at(deadline, prove(&*link, deadline.into_std())).await;
            let late = || Cause::new(CauseKind::StartTimeout, "the lists did not come in time");
            match read.unwrap_or_else(|_| Err(late())) {
                Ok(proof) => Outcome::Relisted(g, Some(proof)),
                Err(cause) => {
                    let cause = core.clean(&cause.to_string());
                    tracing::warn!(cause, "the changed lists could not be read; the old ones stay");
                    Outcome::Relisted(g, None)
                }
            }
        });
    }

    fn close(&mut self, g: Generation) {
        self.leave = None;
        let Some(link) = self.link.clone() else { return };
        // Asked for once: a close ends in its own bounds, and a second one would only wait beside it.
        if self.closing.replace(g) == Some(g) {
            return;
        }
        self.effect(async move {
            link.close().await;
            Outcome::Closed(g)
        });
    }

    /// Runs an effect; its outcome comes back as a message.
    pub(super) fn effect(&self, effect: impl Future<Output = Outcome> + Send + 'static) {
        let outcomes = self.outcomes.clone();
        self.services.tasks.spawn(tracing::Span::current(), async move {
            // A supervisor that has ended needs no outcome.
            outcomes.send(effect.await).await.ok();
        });
    }
}
