//! The way up, and what probes say while it serves.

use std::time::Duration;

use wharf_plugin_api::{Cause, CauseKind};

use super::event::{Context, Effect};
use super::machine::{Machine, Phase, Policy};

/// How long an instance may wait for leave to start, behind others that start.
const ADMISSION: Duration = Duration::from_secs(3600);
/// Good probes in a row that make a degraded instance ready.
const RECOVERED: u32 = 2;

impl Machine {
    pub(super) fn begin(&mut self, cx: Context) -> Vec<Effect> {
        // That it slept is no reason any more.
        self.cause.take_if(|cause| cause.kind == CauseKind::Lazy);
        self.generation = self.generation.next();
        self.phase = Phase::Preparing { deadline: cx.now + ADMISSION };
        vec![Effect::Prepare(self.generation)]
    }

    /// The wait for leave to start was the host's, not the plugin's: its budget begins now.
    pub(super) fn admitted(&mut self, cx: Context) -> Vec<Effect> {
        if let Phase::Preparing { deadline } = &mut self.phase {
            *deadline = cx.now + self.policy.prepare_timeout;
        }
        Vec::new()
    }

    pub(super) fn prepared(&mut self, cx: Context) -> Vec<Effect> {
        match &self.phase {
            Phase::Preparing { .. } => {
                let Policy { fetches, start_timeout, prepare_timeout, .. } = self.policy;
                self.phase = if fetches {
                    Phase::Fetching { deadline: cx.now + prepare_timeout }
                } else {
                    Phase::Opening { deadline: cx.now + start_timeout, unheard: false }
                };
                vec![Effect::Open(self.generation)]
            }
            // It was no longer wanted while it prepared, and nothing has been opened.
            Phase::Ending { effect: Effect::CancelOpen(_), failure, ready_for: None, .. } => {
                let failure = failure.clone();
                self.settle(failure, None, cx)
            }
            Phase::Resting { .. }
            | Phase::Fetching { .. }
            | Phase::Opening { .. }
            | Phase::Proving { .. }
            | Phase::Serving { .. }
            | Phase::Draining { .. }
            | Phase::Ending { .. } => Vec::new(),
        }
    }

    /// What was fetched runs: the start begins.
    pub(super) fn heard(&mut self, cx: Context) -> Vec<Effect> {
        if self.awaits_a_word() {
            self.phase = Phase::Opening { deadline: cx.now + self.policy.start_timeout, unheard: false };
        }
        Vec::new()
    }

    pub(super) fn opened(&mut self, cx: Context) -> Vec<Effect> {
        match &mut self.phase {
            Phase::Opening { deadline, unheard: false } => {
                self.phase = Phase::Proving { deadline: *deadline };
                vec![Effect::Prove(self.generation)]
            }
            Phase::Fetching { .. } | Phase::Opening { unheard: true, .. } => {
                self.phase = Phase::Proving { deadline: cx.now + self.policy.start_timeout };
                vec![Effect::Prove(self.generation)]
            }
            // The opening was quicker than the wish to end it.
            Phase::Ending { effect: effect @ Effect::CancelOpen(_), remind, .. } => {
                *effect = Effect::Close(self.generation);
                *remind = cx.now + self.policy.stop;
                vec![*effect]
            }
            Phase::Resting { .. }
            | Phase::Preparing { .. }
            | Phase::Proving { .. }
            | Phase::Serving { .. }
            | Phase::Draining { .. }
            | Phase::Ending { .. } => Vec::new(),
        }
    }

    pub(super) fn proven(&mut self, cx: Context) -> Vec<Effect> {
        if !matches!(self.phase, Phase::Proving { .. }) {
            return Vec::new();
        }
        self.cause = None;
        self.phase = Phase::Serving { ready_since: cx.now, degraded: false, misses: 0, hits: 0 };
        vec![Effect::Serve(self.generation)]
    }

    pub(super) fn probed(&mut self, ok: bool, busy: bool, cx: Context) -> Vec<Effect> {
        let limit = self.policy.failures.max(1);
        let Phase::Serving { degraded, misses, hits, .. } = &mut self.phase else { return Vec::new() };
        if ok {
            *misses = 0;
            *hits = hits.saturating_add(1);
            if *degraded && *hits >= RECOVERED {
                *degraded = false;
                self.cause = None;
            }
            return Vec::new();
        }
        *hits = 0;
        *misses = misses.saturating_add(1);
        let missed = *misses;
        let cause = Cause::new(CauseKind::Unhealthy, format!("{missed} health probes in a row failed"));
        if missed >= limit && !busy {
            return self.end(Some(cause), cx);
        }
        if missed >= limit.saturating_sub(1).max(1) {
            *degraded = true;
            self.cause = Some(cause);
        }
        Vec::new()
    }
}
