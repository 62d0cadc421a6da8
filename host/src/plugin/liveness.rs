//! Whether an instance lives: what it says counts, and where it says nothing it is probed.

use tokio::time::Instant;
use wharf_core::Generation;
use wharf_core::lifecycle::Event;
use wharf_core::manifest::{Kind, Probe};

use super::outcome::Outcome;
use super::probe::{self, Reach};
use super::services::roll;
use super::supervisor::Supervisor;

impl Supervisor {
    pub(super) fn schedule_probe(&mut self) {
        let health = &self.setup.manifest.health;
        if self.serving && health.probe != Probe::None {
            // Spread, so that many instances that started together are not probed together.
            let wait = health.interval.0.mul_f64(0.9 + 0.2 * roll());
            self.probe_at = Some(Instant::now() + wait);
        }
    }

    /// Whatever it says counts: answers, progress, questions. Of an embedder's own links only the answers are seen.
    pub(super) fn signs_of_life(&self) -> u64 {
        self.load.answered() + self.inbox.as_ref().map_or(0, |inbox| inbox.heard_so_far())
    }

    /// Probes the instance, unless what it said meanwhile proves that it lives.
    pub(super) fn probe(&mut self) {
        let g = self.machine.generation();
        let Some(link) = self.link.clone() else { return };
        let heard = self.signs_of_life();
        self.schedule_probe();
        if std::mem::replace(&mut self.heard, heard) != heard {
            self.effect(std::future::ready(Outcome::Probed(g, true)));
            return;
        }
        let health = self.setup.manifest.health.clone();
        let reach = self.reach();
        self.effect(async move { Outcome::Probed(g, probe::probe(&*link, &health, &reach).await) });
    }

    /// How it is reached beside its link.
    pub(super) fn reach(&self) -> Reach {
        let facts = self.inbox.as_ref().map(|inbox| inbox.facts()).unwrap_or_default();
        let launched = matches!(self.setup.manifest.kind, Kind::Command(_));
        let door = facts.pid.and_then(|pid| self.services.doors.get(pid));
        Reach { at: facts.at, launched, door }
    }

    /// A probe has ended.
    pub(super) fn probed(&mut self, generation: Generation, ok: bool) {
        let heard = self.signs_of_life();
        // What it said while it was probed is as good as an answer.
        let ok = ok || heard != self.heard;
        self.heard = heard;
        let busy = self.load.is_busy();
        self.on(Event::Probed { generation, ok, busy });
    }

    /// The first word of a server that had to be fetched begins its start.
    pub(super) fn listen(&mut self) {
        let heard = self.inbox.as_ref().is_some_and(|inbox| inbox.heard_so_far() > 0);
        if heard && self.machine.awaits_a_word() {
            self.on(Event::Heard(self.machine.generation()));
        }
    }

    /// The connection may be of no more use, and its end under way. While its opening is not known to have ended, there is
    /// nothing to end: the word waits.
    pub(super) fn look_for_loss(&mut self) {
        let lost = self.inbox.as_ref().filter(|_| self.link.is_some()).and_then(|inbox| inbox.take_lost());
        if let Some(cause) = lost {
            self.on(Event::Lost(self.machine.generation(), self.clean(cause)));
        }
    }
}
