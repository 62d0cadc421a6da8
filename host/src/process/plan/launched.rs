//! What a launch has in force in the end: as planned, but for what could not be made. Pure.

use wharf_core::manifest::{Limits, Strictness};
use wharf_plugin_api::Cause;

use super::{InForce, LimitsPlan, refused};
use crate::process::cgroup::{Purpose, Unmade};
use crate::process::level::Level;

impl InForce {
    /// Goes on without what could not be made, with what else holds it. Returns what there is to tell, a line each.
    /// `swaps`: this machine has swap.
    ///
    /// # Errors
    /// If the manifest demands one of them.
    pub(in crate::process) fn without(
        &mut self,
        unmade: &[Unmade],
        plan: &mut LimitsPlan,
        limits: &Limits,
        strictness: Strictness,
        swaps: bool,
    ) -> Result<Vec<String>, Cause> {
        let mut told = Vec::new();
        for Unmade { purpose, why } in unmade {
            let gap = match *purpose {
                Purpose::Kill if strictness == Strictness::Strict => {
                    return Err(refused("sandbox.containment = \"strict\"", why));
                }
                Purpose::Kill => {
                    self.containment = Level::Subreaper.as_str();
                    format!("containment: no control group holds its processes together: {why}")
                }
                // Of two files of the same limit both can be refused.
                Purpose::Limit(key) if told.iter().any(|line: &String| line.starts_with(&named(key))) => {
                    continue;
                }
                Purpose::Limit("memory") => {
                    plan.watchdog = true;
                    self.limits.insert("memory", "watchdog".to_owned());
                    format!("{} is held by the watchdog only: {why}", named("memory"))
                }
                Purpose::Limit("pids") if plan.pid_max_otherwise.is_some() => {
                    plan.pid_max = plan.pid_max_otherwise;
                    let by = plan.pid_max.map(super::limits::by_pid_max).unwrap_or_default();
                    let gap = format!("{} is held by {by} only: {why}", named("pids"));
                    self.limits.insert("pids", by);
                    gap
                }
                Purpose::Limit(key) => {
                    self.limits.remove(key);
                    format!("{} is not held: {why}", named(key))
                }
                Purpose::Swap if swaps && limits.memory.is_some() && !plan.watchdog => {
                    format!("{}: swap is not bounded: {why}", named("memory"))
                }
                Purpose::Swap | Purpose::Ease => continue,
            };
            told.push(gap);
        }
        self.gaps.extend(told.iter().cloned());
        Ok(told)
    }
}

fn named(key: &str) -> String {
    format!("limits.{key}")
}

#[cfg(test)]
mod tests {
    use wharf_core::manifest::{ByteSize, Limits, Strictness};
    use wharf_plugin_api::CauseKind;

    use super::{InForce, LimitsPlan, Purpose, Unmade};

    fn unmade(purpose: Purpose) -> Unmade {
        Unmade { purpose, why: "/cg/file: refused".to_owned() }
    }

    fn planned() -> InForce {
        let limits = [("memory", "cgroup v2"), ("cpu", "cgroup v2"), ("pids", "cgroup v2")];
        let limits = limits.map(|(key, by)| (key, by.to_owned())).into();
        InForce { containment: "cgroup", limits, ..InForce::default() }
    }

    fn limits() -> Limits {
        Limits { memory: Some(ByteSize::mib(64)), ..Limits::default() }
    }

    #[test]
    fn each_loss_is_told_and_takes_no_other_with_it() {
        let plan = || LimitsPlan { pid_max_otherwise: Some(340), ..LimitsPlan::default() };
        let cases = [
            (Purpose::Limit("memory"), "memory=watchdog", "limits.memory is held by the watchdog only: "),
            (
                Purpose::Limit("pids"),
                "pids=pid_max (up to 339)",
                "limits.pids is held by pid_max (up to 339) only: ",
            ),
            (Purpose::Limit("cpu"), "", "limits.cpu is not held: "),
            (Purpose::Swap, "memory=cgroup v2", "limits.memory: swap is not bounded: "),
            (Purpose::Kill, "memory=cgroup v2", "containment: no control group holds"),
        ];
        for (purpose, held, gap) in cases {
            let (mut in_force, mut plan) = (planned(), plan());
            let both = [unmade(purpose), unmade(purpose)];
            let one = if matches!(purpose, Purpose::Limit(_)) { &both[..] } else { &both[..1] };
            let told = in_force.without(one, &mut plan, &limits(), Strictness::BestEffort, true).unwrap();
            assert!(told.len() == 1 && told[0].starts_with(gap), "{told:?}");
            assert!(told[0].ends_with("/cg/file: refused") && in_force.gaps == told);
            let shown: Vec<String> = in_force.limits.iter().map(|(key, by)| format!("{key}={by}")).collect();
            assert!(held.is_empty() || shown.contains(&held.to_owned()), "{shown:?}");
            assert_eq!(shown.len(), if held.is_empty() { 2 } else { 3 });
            assert_eq!(plan.watchdog, purpose == Purpose::Limit("memory"));
            assert_eq!(plan.pid_max, (purpose == Purpose::Limit("pids")).then_some(340));
            let containment = if purpose == Purpose::Kill { "subreaper" } else { "cgroup" };
            assert_eq!(in_force.containment, containment);
        }
    }

    #[test]
    fn what_takes_nothing_away_is_not_told() {
        let (mut in_force, mut plan) = (planned(), LimitsPlan::default());
        let mut without = |purpose, swaps| {
            in_force.without(&[unmade(purpose)], &mut plan, &limits(), Strictness::Strict, swaps).unwrap()
        };
        assert!(without(Purpose::Ease, true).is_empty());
        assert!(without(Purpose::Swap, false).is_empty(), "there is no swap to bound");
        assert_eq!(in_force, planned());
    }

    #[test]
    fn what_is_demanded_is_not_gone_without() {
        let (mut in_force, mut plan) = (planned(), LimitsPlan::default());
        let cause = in_force
            .without(&[unmade(Purpose::Kill)], &mut plan, &limits(), Strictness::Strict, true)
            .unwrap_err();
        assert_eq!(cause.kind, CauseKind::SandboxUnavailable);
        assert!(cause.detail.contains("\"strict\"") && cause.detail.contains("/cg/file: refused"), "{cause}");
    }
}
