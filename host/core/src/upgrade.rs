//! A new version of a plugin beside the one that runs: when it takes over, and when the old one takes the calls back.
//!
//! ```text
//! changed -> proving -> (ready, lists let pass) -> trial -> (its time) -> done
//!               |                                    |
//!               +-- fails, late, other lists --------+-- crashes, lets no call through --> rolled back: the old one serves,
//!                                                                         the new one ends
//! ```
//! There are never more than two versions: another change while one proves itself takes that one's place, and another one
//! during a trial ends the trial. What an operator says to the plugin ends either: from then on the newest contents count.
//!
//! Not here: what the instances of a version are, and how they are started.

mod fare;
#[cfg(test)]
mod tests;

pub use fare::{Fare, failed};

use std::time::Duration;

use serde::Serialize;
use wharf_plugin_api::{Cause, CauseKind};

use crate::moment::Moment;
use crate::slot::Revision;

/// How long the first start of a new version may wait for leave to start.
const WAITS: Duration = Duration::from_secs(600);

/// How far an upgrade has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The new version starts beside the old one, which takes the calls.
    Proving,
    /// The new one takes the calls; the old one is warm.
    Trial,
    /// The old one takes the calls; the new one failed, and is not tried again by itself.
    RolledBack,
    /// The new one is all that there is.
    Done,
}

/// What is shown of the last upgrade.
#[derive(Clone, Debug)]
pub struct Status {
    /// How far it has come.
    pub step: Step,
    /// The version that it began with.
    pub from: Revision,
    /// The new one.
    pub to: Revision,
    /// Since when it is there.
    pub since: Moment,
    /// When the step ends at the latest, if it does by itself.
    pub until: Option<Moment>,
    /// Why it was rolled back, or ended early.
    pub cause: Option<Cause>,
}

/// How the next version is brought in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// It may run beside the one that serves, and there is one that serves.
    pub beside: bool,
    /// How long it has to prove itself, from its first launch.
    pub proof: Duration,
    /// How long the old one stays warm.
    pub trial: Duration,
}

/// What happened. What names another version than the one in question is stale, and ignored.
#[derive(Clone, Debug)]
pub enum Event {
    /// The contents are others, and must be launched otherwise.
    Changed(Terms),
    /// They are again those that serve.
    Back,
    /// The first process of it was let start.
    Launched(Revision),
    /// As much of it serves as has to, and its lists are let pass.
    Ready(Revision),
    /// It cannot prove itself, or its lists are not let pass.
    Failed(Revision, Cause),
    /// It has [`failed`] on trial. `old_serves`: the old version could take the calls.
    Crashed {
        /// Which version.
        to: Revision,
        /// Why.
        cause: Cause,
        /// Whether an instance of the other one serves.
        old_serves: bool,
    },
    /// Time has passed. With what the new version's instances last failed from.
    Tick(Option<Cause>),
    /// An operator ends or restarts what runs.
    Operator(&'static str),
    /// The plugin is taken away, or the host ends.
    Gone,
}

/// What has to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start instances of it beside those that serve; those of another version that is not proven yet become these.
    Start(Revision),
    /// It takes the calls; what took them until now stays warm.
    Switch(Revision),
    /// What is warm takes the calls again; the instances of this version end, once their calls have.
    TakeBack(Revision),
    /// It takes no calls: its instances end.
    EndNew(Revision),
    /// What is warm ends, once its calls have.
    EndOld,
    /// All instances go by it at once: each ends its calls, and is started anew.
    InPlace(Revision),
    /// All instances go by it from their next launch on.
    Adopt(Revision),
    /// The status has changed.
    Tell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Settled,
    Proving { to: Revision, deadline: Moment, launched: bool, terms: Terms },
    Trial { to: Revision, deadline: Moment },
}

/// The upgrades of one plugin, one after the other.
#[derive(Debug)]
pub struct Upgrade {
    phase: Phase,
    /// What takes the calls.
    serving: Revision,
    /// The highest number that was given.
    last: Revision,
    /// It failed; what an operator has started next is this one all the same.
    rejected: Option<Revision>,
    status: Option<Status>,
}

impl Default for Upgrade {
    fn default() -> Self {
        let first = Revision::default();
        Self { phase: Phase::Settled, serving: first, last: first, rejected: None, status: None }
    }
}

impl Upgrade {
    /// What takes the calls.
    #[must_use]
    pub fn serving(&self) -> Revision {
        self.serving
    }

    /// The version that proves itself.
    #[must_use]
    pub fn proving(&self) -> Option<Revision> {
        if let Phase::Proving { to, .. } = self.phase { Some(to) } else { None }
    }

    /// The version that is on trial.
    #[must_use]
    pub fn on_trial(&self) -> Option<Revision> {
        if let Phase::Trial { to, .. } = self.phase { Some(to) } else { None }
    }

    /// What is shown of the last upgrade; `None`: there was none.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// When [`Event::Tick`] is due; `None`: nothing is under way.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        match self.phase {
            Phase::Settled => None,
            Phase::Proving { deadline, .. } | Phase::Trial { deadline, .. } => Some(deadline),
        }
    }

    /// Decides.
    pub fn on(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        match (event, self.phase) {
            (Event::Changed(terms), _) => self.changed(terms, now),
            (Event::Back, Phase::Proving { to, .. }) => {
                self.phase = Phase::Settled;
                let cause = Cause::new(CauseKind::Requested, "the change was taken back");
                self.show(Step::RolledBack, self.serving, to, None, Some(cause), now);
                vec![Effect::EndNew(to), Effect::Tell]
            }
            (Event::Back, Phase::Settled) => {
                self.rejected = None;
                Vec::new()
            }
            (Event::Launched(of), Phase::Proving { to, launched: false, terms, .. }) if of == to => {
                let deadline = now + terms.proof;
                self.phase = Phase::Proving { to, deadline, launched: true, terms };
                if let Some(status) = &mut self.status {
                    status.until = Some(deadline);
                }
                Vec::new()
            }
            (Event::Ready(of), Phase::Proving { to, terms, .. }) if of == to => self.switch(to, terms, now),
            (Event::Failed(of, cause), Phase::Proving { to, .. }) if of == to => self.give_up(to, cause, now),
            (Event::Crashed { to: of, cause, old_serves: true }, Phase::Trial { to, .. }) if of == to => {
                self.take_back(to, cause, now)
            }
            (Event::Tick(last), Phase::Proving { to, deadline, .. }) if deadline <= now => {
                let late = || Cause::new(CauseKind::StartTimeout, "it did not prove itself in time");
                self.give_up(to, last.unwrap_or_else(late), now)
            }
            (Event::Tick(_), Phase::Trial { .. }) if self.is_due(now) => self.commit(None, now),
            (Event::Operator(word), phase) => self.operator(word, phase, now),
            (Event::Gone, _) => {
                self.phase = Phase::Settled;
                Vec::new()
            }
            // Stale, or too early.
            (
                Event::Back
                | Event::Launched(_)
                | Event::Ready(_)
                | Event::Failed(..)
                | Event::Crashed { .. }
                | Event::Tick(_),
                Phase::Settled | Phase::Proving { .. } | Phase::Trial { .. },
            ) => Vec::new(),
        }
    }

    fn is_due(&self, now: Moment) -> bool {
        self.next_deadline().is_some_and(|at| at <= now)
    }

    fn changed(&mut self, terms: Terms, now: Moment) -> Vec<Effect> {
        let mut effects = match self.phase {
            Phase::Trial { .. } => {
                self.commit(Some(Cause::new(CauseKind::Requested, "another change came")), now)
            }
            Phase::Proving { to, .. } if !terms.beside => vec![Effect::EndNew(to)],
            Phase::Proving { .. } | Phase::Settled => Vec::new(),
        };
        let (from, to) = (self.serving, Revision(self.last.0 + 1));
        self.last = to;
        self.rejected = None;
        if terms.beside {
            let deadline = now + terms.proof.max(WAITS);
            self.phase = Phase::Proving { to, deadline, launched: false, terms };
            self.show(Step::Proving, from, to, Some(deadline), None, now);
            effects.extend([Effect::Start(to), Effect::Tell]);
        } else {
            (self.phase, self.serving) = (Phase::Settled, to);
            let cause = Cause::new(CauseKind::Requested, "in the place of the old version");
            self.show(Step::Done, from, to, None, Some(cause), now);
            effects.extend([Effect::InPlace(to), Effect::Tell]);
        }
        effects
    }

    fn switch(&mut self, to: Revision, terms: Terms, now: Moment) -> Vec<Effect> {
        let (from, deadline) = (self.serving, now + terms.trial);
        self.serving = to;
        self.phase = Phase::Trial { to, deadline };
        self.show(Step::Trial, from, to, Some(deadline), None, now);
        let mut effects = vec![Effect::Switch(to), Effect::Tell];
        if terms.trial.is_zero() {
            effects.extend(self.commit(None, now));
        }
        effects
    }

    /// The new version is not taken.
    fn give_up(&mut self, to: Revision, cause: Cause, now: Moment) -> Vec<Effect> {
        self.phase = Phase::Settled;
        self.rejected = Some(to);
        self.show(Step::RolledBack, self.serving, to, None, Some(cause), now);
        vec![Effect::EndNew(to), Effect::Tell]
    }

    fn take_back(&mut self, to: Revision, cause: Cause, now: Moment) -> Vec<Effect> {
        let Some(Status { from, .. }) = self.status else { return Vec::new() };
        (self.phase, self.serving, self.rejected) = (Phase::Settled, from, Some(to));
        self.show(Step::RolledBack, from, to, None, Some(cause), now);
        vec![Effect::TakeBack(to), Effect::Tell]
    }

    /// The trial is over: the new version is what there is.
    fn commit(&mut self, cause: Option<Cause>, now: Moment) -> Vec<Effect> {
        self.phase = Phase::Settled;
        if let Some(Status { from, to, .. }) = self.status {
            self.show(Step::Done, from, to, None, cause, now);
        }
        vec![Effect::EndOld, Effect::Tell]
    }

    /// What is launched next is the newest there is, proven or not: whoever ends the old one has decided.
    fn operator(&mut self, word: &'static str, phase: Phase, now: Moment) -> Vec<Effect> {
        let cause = Cause::new(CauseKind::Requested, format!("an operator's {word}"));
        let newest = match phase {
            Phase::Trial { .. } => return self.commit(Some(cause), now),
            Phase::Proving { to, .. } => Some(to),
            Phase::Settled => self.rejected,
        };
        let Some(to) = newest else { return Vec::new() };
        let from = std::mem::replace(&mut self.serving, to);
        (self.phase, self.rejected) = (Phase::Settled, None);
        self.show(Step::Done, from, to, None, Some(cause), now);
        let ends = matches!(phase, Phase::Proving { .. }).then_some(Effect::EndNew(to));
        ends.into_iter().chain([Effect::Adopt(to), Effect::Tell]).collect()
    }

    fn show(
        &mut self,
        step: Step,
        from: Revision,
        to: Revision,
        until: Option<Moment>,
        cause: Option<Cause>,
        now: Moment,
    ) {
        self.status = Some(Status { step, from, to, since: now, until, cause });
    }
}

impl Step {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proving => "proving",
            Self::Trial => "trial",
            Self::RolledBack => "rolled_back",
            Self::Done => "done",
        }
    }
}
