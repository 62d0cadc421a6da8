//! In which era a server is spoken to: what its manifest says, else what is remembered, else what it answers.

use wharf_core::manifest::{Dialect, EraChoice};
use wharf_plugin_api::{Cause, CauseKind, Era};

use super::Common;
use super::verdicts::Fingerprint;
use crate::dialect::Connected;

/// How one launch speaks to its server.
pub(super) struct Plan {
    /// How the next attempt speaks.
    pub(super) era: EraChoice,
    /// The server whose verdict counts; `None` where the manifest decides.
    server: Option<Fingerprint>,
    /// Whether `era` is only what is remembered.
    remembered: bool,
    /// Whether the question can have silenced the server, so that it must be started anew.
    silences: bool,
}

impl Plan {
    /// For a server of this dialect; `None`: it is to be found out.
    pub(super) fn of(common: &Common, dialect: Option<Dialect>, server: Fingerprint) -> Self {
        match common.manifest.era {
            _ if matches!(dialect, Some(Dialect::Sse | Dialect::SsePost)) => Self::fixed(EraChoice::Legacy),
            EraChoice::Auto => {
                let known = common.services.verdicts.get(server);
                let era = match known {
                    None => EraChoice::Auto,
                    Some(Era::Legacy) => EraChoice::Legacy,
                    Some(Era::Modern) => EraChoice::Modern,
                };
                let silences = dialect == Some(Dialect::Stdio);
                Self { era, server: Some(server), remembered: known.is_some(), silences }
            }
            era @ (EraChoice::Legacy | EraChoice::Modern) => Self::fixed(era),
        }
    }

    fn fixed(era: EraChoice) -> Self {
        Self { era, server: None, remembered: false, silences: false }
    }

    /// Notes what an attempt shows. True: another one is due, which speaks as `era` says now.
    pub(super) fn another(
        &mut self,
        common: &Common,
        outcome: Result<&Connected, &Cause>,
        over: bool,
    ) -> bool {
        let Some(server) = self.server else { return false };
        let verdicts = &common.services.verdicts;
        let cause = match outcome {
            Ok(connected) => {
                verdicts.put(server, connected.link.hello().era());
                return false;
            }
            Err(cause) => cause,
        };
        if self.remembered {
            verdicts.forget(server);
        }
        let next = next(self.era, self.remembered, self.silences, cause.kind);
        self.remembered = false;
        let Some(next) = next.filter(|_| !over) else { return false };
        tracing::info!(%cause, was = ?self.era, is = ?next, "the server is spoken to in another way");
        self.era = next;
        true
    }
}

/// How to go on after an attempt that spoke as `era` and failed.
fn next(era: EraChoice, remembered: bool, silences: bool, failed: CauseKind) -> Option<EraChoice> {
    match (era, failed) {
        // It refuses what it once knew: it is another server now.
        (EraChoice::Legacy | EraChoice::Modern, CauseKind::HandshakeRefused) if remembered => {
            Some(EraChoice::Auto)
        }
        // Some servers end, or fall silent, when they are asked what they do not know.
        (
            EraChoice::Auto,
            CauseKind::Exited | CauseKind::Signalled | CauseKind::LinkLost | CauseKind::StartTimeout,
        ) if silences => Some(EraChoice::Legacy),
        (EraChoice::Auto | EraChoice::Legacy | EraChoice::Modern, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use wharf_core::manifest::EraChoice::{Auto, Legacy, Modern};
    use wharf_plugin_api::CauseKind;

    use super::next;

    #[test]
    fn a_server_that_the_question_silenced_is_spoken_to_in_the_old_way() {
        for kind in [CauseKind::Exited, CauseKind::Signalled, CauseKind::LinkLost, CauseKind::StartTimeout] {
            assert_eq!(next(Auto, false, true, kind), Some(Legacy), "{kind:?}");
            assert_eq!(next(Legacy, true, true, kind), None, "once");
            assert_eq!(next(Modern, true, true, kind), None);
            assert_eq!(next(Auto, false, false, kind), None, "over HTTP it is not the question");
        }
        for kind in [CauseKind::Requested, CauseKind::HandshakeRefused, CauseKind::ExitedForGood] {
            assert_eq!(next(Auto, false, true, kind), None, "{kind:?}");
        }
    }

    #[test]
    fn a_refusal_overrules_what_is_remembered() {
        for era in [Legacy, Modern] {
            assert_eq!(next(era, true, true, CauseKind::HandshakeRefused), Some(Auto));
            assert_eq!(next(era, false, true, CauseKind::HandshakeRefused), None);
        }
    }
}
