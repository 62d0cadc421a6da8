//! Whether the plugin has a network of its own.

use serde::{Deserialize, Serialize};
use wharf_core::manifest::Net;
use wharf_plugin_api::Cause;

use super::{InForce, Wanted, refused, sandbox};
use crate::process::level::Level;
use crate::process::probe::{Probe, Tried};

/// What network the shim makes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NetworkPlan {
    /// A network namespace of its own.
    pub(crate) apart: bool,
    /// Its loopback is up.
    pub(crate) loopback: bool,
    /// There is none of its own; instead it may make no socket but unix sockets.
    pub(crate) no_sockets: bool,
}

pub(super) fn plan(
    probe: &Probe,
    level: Level,
    wanted: &Wanted<'_>,
    in_force: &mut InForce,
) -> Result<NetworkPlan, Cause> {
    let filter = || sandbox::may_filter(probe, level, wanted);
    decide(tried(probe, level), filter, wanted, in_force)
}

/// `network`: whether one can be made. `filter`: whether system calls can be refused instead.
fn decide(
    network: Tried,
    filter: impl FnOnce() -> Tried,
    wanted: &Wanted<'_>,
    in_force: &mut InForce,
) -> Result<NetworkPlan, Cause> {
    let demand = match wanted.sandbox.net {
        None | Some(Net::Egress) => {
            let mut words = "the host's network".to_owned();
            if wanted.port.is_some() {
                words += "; every new connection is seen to reach the plugin before anything is sent";
            }
            in_force.sandbox.insert("net", words);
            return Ok(NetworkPlan::default());
        }
        Some(Net::None) => "sandbox.net = \"none\"",
        Some(Net::Loopback) => "sandbox.net = \"loopback\"",
    };
    if let Err(why) = network {
        let why = format!("a network namespace is refused ({why})");
        if wanted.sandbox.net != Some(Net::None) || wanted.port.is_some() {
            return Err(refused(demand, &why));
        }
        // Who needs no network at all can be kept from all by its system calls.
        filter()
            .map_err(|filter| refused(demand, &format!("{why}, and a filter of system calls ({filter})")))?;
        in_force
            .sandbox
            .insert("net", "none: no sockets but unix sockets, by a filter of system calls".to_owned());
        return Ok(NetworkPlan { no_sockets: true, ..NetworkPlan::default() });
    }
    // Who must be reached needs an address to listen on, and nothing else is reached by it.
    let loopback = wanted.sandbox.net == Some(Net::Loopback) || wanted.port.is_some();
    let words = match (loopback, wanted.port) {
        (false, _) => "a network namespace of its own, with nothing in it",
        (true, None) => "a network namespace of its own, with a loopback",
        (true, Some(_)) => "a network namespace of its own, with a loopback that only the host reaches",
    };
    in_force.sandbox.insert("net", format!("{words}; unix sockets that are files are not part of it"));
    Ok(NetworkPlan { apart: true, loopback, no_sockets: false })
}

/// Whether a network can be made at this level. Without a PID namespace, the shim makes it as the host is: where a PID
/// namespace with a network can be made without a user namespace, a network alone can be.
fn tried(probe: &Probe, level: Level) -> Tried {
    probe.namespace(level).unwrap_or(&probe.plain).network.clone()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use wharf_core::manifest::{Limits, Net, Sandbox};
    use wharf_plugin_api::{Cause, CauseKind};

    use super::super::{InForce, Own, Wanted};
    use super::{NetworkPlan, decide, plan};
    use crate::process::level::Level;
    use crate::process::probe::Probe;

    fn planned(
        probe: &Probe,
        level: Level,
        net: Option<Net>,
        port: Option<u16>,
    ) -> Result<(NetworkPlan, InForce), Cause> {
        wanting(net, port, |wanted, in_force| plan(probe, level, wanted, in_force))
    }

    fn wanting(
        net: Option<Net>,
        port: Option<u16>,
        plan: impl FnOnce(&Wanted<'_>, &mut InForce) -> Result<NetworkPlan, Cause>,
    ) -> Result<(NetworkPlan, InForce), Cause> {
        let nowhere = Path::new("/");
        let own = Own { program: nowhere, cwd: nowhere, plugin_dir: nowhere, data_dir: nowhere };
        let (limits, sandbox) = (Limits::default(), Sandbox { net, ..Sandbox::default() });
        let mut in_force = InForce::default();
        let wanted = Wanted { limits: &limits, sandbox: &sandbox, own, port };
        plan(&wanted, &mut in_force).map(|plan| (plan, in_force))
    }

    #[test]
    fn who_needs_no_network_is_kept_from_all_by_its_system_calls_where_none_can_be_made() {
        let refused = || Err("refused".to_owned());
        let decided = |net, port| {
            wanting(Some(net), port, |wanted, in_force| decide(refused(), || Ok(()), wanted, in_force))
        };
        let (plan, in_force) = decided(Net::None, None).unwrap();
        assert_eq!(plan, NetworkPlan { no_sockets: true, ..NetworkPlan::default() });
        assert!(in_force.sandbox["net"].contains("unix sockets"));
        for (net, port) in [(Net::None, Some(80)), (Net::Loopback, None), (Net::Loopback, Some(80))] {
            assert_eq!(decided(net, port).unwrap_err().kind, CauseKind::SandboxUnavailable);
        }
        let none =
            wanting(Some(Net::None), None, |wanted, in_force| decide(refused(), refused, wanted, in_force));
        assert!(none.unwrap_err().detail.contains("filter of system calls"));
    }

    #[test]
    fn a_network_of_its_own_is_made_where_the_manifest_asks_and_the_machine_allows() {
        let mut probe = Probe::nothing("refused");
        (probe.plain.network, probe.user.network) = (Ok(()), Ok(()));
        let plan = |net, port| planned(&probe, Level::PidNamespace, net, port).unwrap().0;
        let made = |loopback| NetworkPlan { apart: true, loopback, no_sockets: false };
        for open in [None, Some(Net::Egress)] {
            assert_eq!(plan(open, Some(80)), NetworkPlan::default());
        }
        assert_eq!(plan(Some(Net::Loopback), None), made(true));
        assert_eq!(plan(Some(Net::None), None), made(false));
        assert_eq!(plan(Some(Net::None), Some(80)), made(true), "the host must reach it");
    }

    #[test]
    fn each_level_makes_it_as_it_makes_the_rest() {
        let mut probe = Probe::nothing("refused");
        let works = |probe: &Probe, level| planned(probe, level, Some(Net::Loopback), None).is_ok();
        probe.user.network = Ok(());
        assert!(
            Level::ALL.into_iter().all(|level| works(&probe, level) == (level == Level::UserPidNamespace))
        );
        probe.plain.network = Ok(());
        assert!(Level::ALL.into_iter().all(|level| works(&probe, level)));
    }

    #[test]
    fn what_cannot_be_made_is_refused_with_the_demand_and_the_reason() {
        let probe = Probe::nothing("Operation not permitted");
        for (net, demand) in [(Net::None, "net = \"none\""), (Net::Loopback, "net = \"loopback\"")] {
            for port in [None, Some(80)] {
                let cause = planned(&probe, Level::Subreaper, Some(net), port).unwrap_err();
                assert_eq!(cause.kind, CauseKind::SandboxUnavailable);
                assert!(cause.detail.contains(demand), "{cause}");
                assert!(cause.detail.contains("Operation not permitted"), "{cause}");
            }
        }
    }

    #[test]
    fn what_holds_is_told() {
        let mut probe = Probe::nothing("refused");
        probe.plain.network = Ok(());
        let told = |net, port| {
            let (_, in_force) = planned(&probe, Level::PidNamespace, net, port).unwrap();
            in_force.sandbox["net"].clone()
        };
        assert!(told(None, None).starts_with("the host's network"));
        assert!(told(None, Some(80)).contains("every new connection"));
        assert!(told(Some(Net::None), None).contains("with nothing in it"));
        assert!(told(Some(Net::Loopback), Some(80)).contains("only the host reaches"));
    }
}
