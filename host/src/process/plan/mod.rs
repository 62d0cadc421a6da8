//! How a plugin is launched on this machine: decided from what its manifest wants and what the machine allows, before
//! anything is started. Pure.
//!
//! What a manifest demands and the machine lacks is a refusal that names both. What is only wished for is left out, and
//! the report of what is in force says so.

mod launched;
mod limits;
mod network;
mod sandbox;

use serde::{Deserialize, Serialize};
use wharf_core::manifest::{Limits, Sandbox, Strictness};
use wharf_plugin_api::{Cause, CauseKind};

pub(crate) use self::limits::LimitsPlan;
pub(crate) use self::network::NetworkPlan;
pub(crate) use self::sandbox::{LandlockPlan, Own, Reach, SandboxPlan};
use super::level::Level;
use super::probe::Probe;

/// What a launch asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) sandbox: &'a Sandbox,
    /// The folders that the plugin needs to run, besides those of its manifest.
    pub(crate) own: Own<'a>,
    /// The port that it listens on, if it does.
    pub(crate) port: Option<u16>,
}

/// What the shim does before it executes the program.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct Plan {
    pub(crate) level: Level,
    /// Mount a `/proc` that shows the namespace's processes only.
    pub(crate) own_proc: bool,
    pub(crate) limits: LimitsPlan,
    pub(crate) sandbox: SandboxPlan,
    pub(crate) network: NetworkPlan,
}

/// What is in force for an instance, in words for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InForce {
    /// None of its processes runs: so it would be.
    pub planned: bool,
    /// How its processes are kept from outliving the host.
    pub containment: &'static str,
    /// What holds each limit, by its key in the manifest: `memory` = `cgroup v2`.
    pub limits: std::collections::BTreeMap<&'static str, String>,
    /// What holds each part of the sandbox, by its key in the manifest.
    pub sandbox: std::collections::BTreeMap<&'static str, String>,
    /// What the manifest wishes for, or gets by default, and this machine does not give, with the reason.
    pub gaps: Vec<String>,
}

/// Decides.
///
/// # Errors
/// If the manifest demands what this machine does not give.
pub(crate) fn plan(probe: &Probe, wanted: &Wanted<'_>) -> Result<(Plan, InForce), Cause> {
    let level = probe.level();
    let mut in_force = InForce { containment: level.as_str(), ..InForce::default() };
    if wanted.sandbox.containment == Strictness::Strict && !level.is_namespace() && level != Level::Cgroup {
        return Err(refused("sandbox.containment = \"strict\"", &probe.why_no_namespace()));
    }
    let sandbox = sandbox::plan(probe, level, wanted, &mut in_force)?;
    let network = network::plan(probe, level, wanted, &mut in_force)?;
    let plan = Plan {
        level,
        own_proc: probe.namespace(level).is_some_and(|namespace| namespace.proc.is_ok()),
        limits: limits::plan(probe, level, wanted, &mut in_force),
        sandbox: SandboxPlan { no_sockets: network.no_sockets, ..sandbox },
        network,
    };
    Ok((plan, in_force))
}

/// The manifest demands what the machine does not give.
fn refused(demand: &str, why: &str) -> Cause {
    let detail = format!("the manifest demands {demand}, which this machine does not give: {why}");
    Cause::new(CauseKind::SandboxUnavailable, detail)
}
