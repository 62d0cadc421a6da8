//! In which era a server is spoken to: what its manifest says, else what is remembered, else what it answers.
//!
//! The question takes time. A server that needs most of it to start never answers within what is left, so once it was
//! silent its launches take turns: all of the time for the old era, then for the new one, until one of them works.

use std::sync::Arc;

use wharf_core::manifest::{Dialect, EraChoice};
use wharf_plugin_api::{Cause, CauseKind, Era};

use super::Common;
use super::verdicts::Fingerprint;

/// What helps if a server does not start while its era is found out.
const SLOW: &str = "look at the plugin's log (`wharf logs`); raise health.start_timeout if it needs longer to start; \
                    `era = \"legacy\"` or `era = \"modern\"` in the manifest spares it the question how it speaks";
/// What helps if it refuses what it is asked then.
const REFUSED: &str = "see the detail for the server's own words; check `dialect`, `url` and the credentials; write \
                       `era = \"legacy\"` or `era = \"modern\"` into the manifest if the server speaks only one of them";

/// How one launch speaks to its server.
pub(super) struct Plan {
    /// How the next attempt speaks.
    pub(super) era: EraChoice,
    /// The server whose verdict counts; `None` where the manifest decides.
    server: Option<Fingerprint>,
    basis: Basis,
    /// Whether the question can have silenced the server, so that it must be started anew.
    silences: bool,
    /// Whether the era was to be found out in this launch.
    asked: bool,
}

/// Why a server is spoken to as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Basis {
    /// It spoke so before.
    Verdict,
    /// It was silent before, and it is this era's turn.
    Turn,
    /// It is asked in this launch, or was.
    Question,
}

/// What an attempt that failed teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lesson {
    /// How to go on at once.
    now: Option<EraChoice>,
    /// Whether the verdict is wrong, or may be.
    forget: bool,
    next: Next,
}

/// How the next launch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    AsThis,
    Asking,
    As(Era),
}

// === impl Plan ===

impl Plan {
    /// For a server of this dialect; `None`: it is to be found out.
    pub(super) fn of(common: &Common, dialect: Option<Dialect>, server: Fingerprint) -> Self {
        match common.manifest.era {
            _ if matches!(dialect, Some(Dialect::Sse | Dialect::SsePost)) => Self::fixed(EraChoice::Legacy),
            EraChoice::Auto => {
                let verdicts = &common.services.verdicts;
                let (era, basis) = match (verdicts.get(server), verdicts.turn(server)) {
                    (Some(known), _) => (spoken(known), Basis::Verdict),
                    (None, Some(turn)) => (spoken(turn), Basis::Turn),
                    (None, None) => (EraChoice::Auto, Basis::Question),
                };
                let silences = dialect == Some(Dialect::Stdio);
                Self { era, server: Some(server), basis, silences, asked: basis != Basis::Verdict }
            }
            era @ (EraChoice::Legacy | EraChoice::Modern) => Self::fixed(era),
        }
    }

    fn fixed(era: EraChoice) -> Self {
        Self { era, server: None, basis: Basis::Verdict, silences: false, asked: false }
    }

    /// Notes what an attempt shows: the era of the server, if it has shown it, or why it failed. True: another attempt is
    /// due, which speaks as `era` says now.
    pub(super) fn another(
        &mut self,
        common: &Common,
        outcome: Result<Option<Era>, &Cause>,
        over: bool,
    ) -> bool {
        let Some(server) = self.server else { return false };
        let verdicts = &common.services.verdicts;
        let cause = match outcome {
            Ok(Some(era)) => {
                if verdicts.put(server, era) {
                    keep(common);
                }
                return false;
            }
            Ok(None) => return false,
            Err(cause) => cause,
        };
        let lesson = lesson(self.era, self.basis, self.silences, cause.kind);
        if lesson.forget && verdicts.forget(server) {
            keep(common);
        }
        match lesson.next {
            Next::AsThis => {}
            Next::Asking => verdicts.set_turn(server, None),
            Next::As(era) => verdicts.set_turn(server, Some(era)),
        }
        let Some(now) = lesson.now.filter(|_| !over) else { return false };
        tracing::info!(%cause, was = ?self.era, is = ?now, "the server is spoken to in another way");
        (self.era, self.basis, self.asked) = (now, Basis::Question, true);
        true
    }

    /// Why the launch failed, with what the manifest can say about the era where that may help.
    pub(super) fn explained(&self, cause: Cause) -> Cause {
        let remedies = [(CauseKind::StartTimeout, SLOW), (CauseKind::HandshakeRefused, REFUSED)];
        match remedies.into_iter().find(|(kind, _)| self.asked && *kind == cause.kind) {
            Some((_, remedy)) => Cause { remedy, ..cause },
            None => cause,
        }
    }
}

/// Has the verdicts written; nobody waits for it.
fn keep(common: &Common) {
    let services = Arc::clone(&common.services);
    drop(common.services.tasks.blocking(move || services.verdicts.save()));
}

fn spoken(era: Era) -> EraChoice {
    match era {
        Era::Legacy => EraChoice::Legacy,
        Era::Modern => EraChoice::Modern,
    }
}

/// What is learned from an attempt that spoke as `era`, for this reason, and failed.
fn lesson(era: EraChoice, basis: Basis, silences: bool, failed: CauseKind) -> Lesson {
    use CauseKind::{Exited, HandshakeRefused, LinkLost, Requested, Signalled, StartTimeout};
    let nothing = Lesson { now: None, forget: false, next: Next::AsThis };
    match (basis, era, failed) {
        // Nobody wanted it any more; that says nothing of the server.
        (_, _, Requested) => nothing,
        // It refuses what it once knew: it is another server now.
        (Basis::Verdict, EraChoice::Legacy | EraChoice::Modern, HandshakeRefused) => {
            Lesson { now: Some(EraChoice::Auto), forget: true, ..nothing }
        }
        // A server that no longer knows the new era may well say nothing; one that knows the old era says so, if it lives.
        (Basis::Verdict, EraChoice::Modern, _) => Lesson { forget: true, ..nothing },
        // Some servers end, or fall silent, when they are asked what they do not know. Others are only slow.
        (Basis::Question, EraChoice::Auto, StartTimeout) if silences => {
            Lesson { now: Some(EraChoice::Legacy), next: Next::As(Era::Legacy), ..nothing }
        }
        (Basis::Question, EraChoice::Auto, Exited | Signalled | LinkLost) if silences => {
            Lesson { now: Some(EraChoice::Legacy), ..nothing }
        }
        (Basis::Question, EraChoice::Legacy, StartTimeout) if silences => {
            Lesson { next: Next::As(Era::Legacy), ..nothing }
        }
        (Basis::Question | Basis::Turn, EraChoice::Legacy, HandshakeRefused) if silences => {
            Lesson { next: Next::As(Era::Modern), ..nothing }
        }
        (Basis::Turn, EraChoice::Legacy, StartTimeout) => Lesson { next: Next::As(Era::Modern), ..nothing },
        (Basis::Turn, EraChoice::Modern, StartTimeout) => Lesson { next: Next::As(Era::Legacy), ..nothing },
        // It has refused both.
        (Basis::Turn, EraChoice::Modern, HandshakeRefused) => Lesson { next: Next::Asking, ..nothing },
        (Basis::Verdict | Basis::Turn | Basis::Question, _, _) => nothing,
    }
}

#[cfg(test)]
mod tests {
    use wharf_core::manifest::{Dialect, EraChoice, Manifest};
    use wharf_plugin_api::{Cause, CauseKind, Era};

    use super::{Arc, Basis, Fingerprint, Next, Plan, lesson};
    use crate::plugin::Services;
    use crate::plugin::kinds::Common;
    use crate::plugin::testkit::manifest;
    use crate::process::Machine;
    use crate::process::logs::LogBook;
    use crate::tasks::Tasks;

    /// How long a launch may take.
    const BUDGET: u64 = 30;
    /// How much of it the question takes.
    const PROBE: u64 = 10;

    fn common() -> Common {
        Common {
            services: Arc::new(Services::new(Tasks::default(), std::env::temp_dir(), Machine::bare())),
            label: "p".into(),
            log: Arc::new(LogBook::new(std::env::temp_dir(), "p", Vec::new())),
            manifest: Arc::new(Manifest { era: EraChoice::Auto, ..manifest("p") }),
        }
    }

    fn plan(common: &Common) -> Plan {
        Plan::of(common, Some(Dialect::Stdio), Fingerprint::of(&"server"))
    }

    /// A server that speaks one era, to which it must be spoken `boots` seconds after its start.
    struct Server {
        speaks: Era,
        boots: u64,
    }

    impl Server {
        /// What comes of an attempt with so much time, and how much of it is left.
        fn attempt(&self, era: EraChoice, left: u64) -> (Result<Option<Era>, CauseKind>, u64) {
            let time = if era == EraChoice::Auto { PROBE.min(left / 3) } else { left };
            match (era, self.speaks) {
                _ if self.boots > time => (Err(CauseKind::StartTimeout), left - time),
                (EraChoice::Legacy, Era::Modern) | (EraChoice::Modern, Era::Legacy) => {
                    (Err(CauseKind::HandshakeRefused), left - self.boots)
                }
                (_, speaks) => (Ok(Some(speaks)), left - self.boots),
            }
        }

        /// One launch; the cause if it failed.
        fn launch(&self, common: &Common) -> Result<(), Cause> {
            let (mut plan, mut left) = (plan(common), BUDGET);
            loop {
                let (outcome, rest) = self.attempt(plan.era, left);
                left = rest;
                let outcome = outcome.map_err(|kind| Cause::new(kind, "it failed"));
                if !plan.another(common, outcome.as_ref().map(|era| *era), left == 0) {
                    return outcome.map(drop).map_err(|cause| plan.explained(cause));
                }
            }
        }
    }

    #[tokio::test]
    async fn a_slow_server_gets_all_of_the_time_once_the_question_took_too_much_of_it() {
        for (speaks, boots, most) in [
            (Era::Legacy, 5, 0),
            (Era::Legacy, 18, 0),
            (Era::Legacy, 25, 1),
            (Era::Legacy, 30, 1),
            (Era::Modern, 5, 0),
            (Era::Modern, 18, 1),
            (Era::Modern, 25, 2),
            (Era::Modern, 30, 2),
        ] {
            let (common, server) = (common(), Server { speaks, boots });
            let mut failures = 0;
            while let Err(cause) = server.launch(&common) {
                failures += 1;
                assert!(failures <= most, "{speaks:?} {boots}: {cause}");
                for word in ["era = \"legacy\"", "era = \"modern\""] {
                    assert!(cause.remedy.contains(word), "{}", cause.remedy);
                }
            }
            assert_eq!(failures, most, "{speaks:?} {boots}");
            assert!(server.launch(&common).is_ok(), "it is remembered");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_slower_than_its_time_once_is_found_again() {
        for speaks in [Era::Legacy, Era::Modern] {
            let common = common();
            for _ in 0..7 {
                assert!(Server { speaks, boots: 99 }.launch(&common).is_err());
            }
            let failures = (0..9).take_while(|_| Server { speaks, boots: 28 }.launch(&common).is_err());
            assert!(failures.count() < 4, "{speaks:?}");
        }
    }

    #[tokio::test]
    async fn only_a_refusal_overrules_the_old_era_and_any_failure_the_new() {
        let outcome = |era, kind: CauseKind| {
            let common = common();
            let server = Fingerprint::of(&"server");
            common.services.verdicts.put(server, era);
            let another = plan(&common).another(&common, Err(&Cause::new(kind, "")), false);
            (common.services.verdicts.get(server), another)
        };
        for kind in [CauseKind::Exited, CauseKind::StartTimeout, CauseKind::Unreachable, CauseKind::LinkLost]
        {
            assert_eq!(outcome(Era::Legacy, kind), (Some(Era::Legacy), false), "{kind:?}");
            assert_eq!(outcome(Era::Modern, kind), (None, false), "{kind:?}");
        }
        for era in [Era::Legacy, Era::Modern] {
            assert_eq!(outcome(era, CauseKind::HandshakeRefused), (None, true), "asked anew at once");
            assert_eq!(outcome(era, CauseKind::Requested), (Some(era), false));
        }
    }

    #[tokio::test]
    async fn a_connection_that_shows_no_era_leaves_no_verdict() {
        let common = common();
        assert!(!plan(&common).another(&common, Ok(None), false));
        assert_eq!(common.services.verdicts.get(Fingerprint::of(&"server")), None);
    }

    #[test]
    fn a_server_that_the_question_silenced_is_spoken_to_in_the_old_way() {
        let at_once = |era, basis, silences, kind| lesson(era, basis, silences, kind).now;
        for kind in [CauseKind::Exited, CauseKind::Signalled, CauseKind::LinkLost, CauseKind::StartTimeout] {
            let legacy = Some(EraChoice::Legacy);
            assert_eq!(at_once(EraChoice::Auto, Basis::Question, true, kind), legacy, "{kind:?}");
            assert_eq!(at_once(EraChoice::Legacy, Basis::Question, true, kind), None, "once");
            let over_http = lesson(EraChoice::Auto, Basis::Question, false, kind);
            assert_eq!((over_http.now, over_http.next), (None, Next::AsThis), "it is not the question");
        }
        for kind in [CauseKind::Requested, CauseKind::HandshakeRefused, CauseKind::ExitedForGood] {
            assert_eq!(at_once(EraChoice::Auto, Basis::Question, true, kind), None, "{kind:?}");
        }
    }
}
