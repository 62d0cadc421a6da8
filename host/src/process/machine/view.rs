//! What the machine allows, for people and the API.

use std::collections::BTreeMap;

use serde::Serialize;
use wharf_core::manifest::{ByteSize, Limits, Sandbox};

use super::Machine;

/// What this machine allows. Found out by trying when the host started.
#[derive(Clone, Debug, Serialize)]
pub struct MachineView {
    /// How processes are kept from outliving the host.
    pub containment: &'static str,
    /// What would hold each limit, by its key in the manifest. A limit that nothing holds is not there.
    pub limits: BTreeMap<&'static str, String>,
    /// The version of Landlock's interface, if there is one.
    pub landlock: Option<u32>,
    /// Whether system calls can be refused.
    pub seccomp: bool,
    /// Whether a plugin can have a network of its own.
    pub private_network: bool,
    /// What it does not give, each with the reason.
    pub lacks: Vec<String>,
}

impl Machine {
    /// What this machine allows.
    #[must_use]
    pub fn view(&self) -> MachineView {
        let some = Some(ByteSize::mib(1024));
        let limits = Limits {
            memory: some,
            cpu: Some(1.0),
            open_files: Some(1024),
            file_size: some,
            ..Limits::default()
        };
        // The defaults of the sandbox are never refused.
        let in_force = self.in_force(&limits, &Sandbox::default(), None).unwrap_or_default();
        let probe = &self.probe;
        let network = probe
            .namespace(self.level())
            .map_or_else(|| Err(probe.why_no_namespace()), |namespace| namespace.network.clone());
        let mut lacks = Vec::new();
        let mut lack =
            |what: &str, why: Option<&String>| lacks.extend(why.map(|why| format!("{what}: {why}")));
        if !self.level().is_namespace() {
            lack("PID namespaces", Some(&probe.why_no_namespace()));
        }
        lack("control groups for memory", probe.cgroups.memory.as_ref().err());
        lack("control groups for cpu", probe.cgroups.cpu.as_ref().err());
        lack("control groups for pids", probe.cgroups.pids.as_ref().err());
        lack("Landlock", probe.landlock.as_ref().err());
        lack("seccomp", probe.seccomp.as_ref().err());
        lack("private networks", network.as_ref().err());
        MachineView {
            containment: self.level().as_str(),
            limits: in_force.limits,
            landlock: probe.landlock.as_ref().ok().copied(),
            seccomp: probe.seccomp.is_ok(),
            private_network: network.is_ok(),
            lacks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Machine;

    #[test]
    fn what_is_lacking_is_told_with_the_reason() {
        let view = Machine::bare().view();
        assert_eq!(view.limits.get("memory").map(String::as_str), Some("watchdog"));
        assert!(!view.limits.contains_key("cpu"));
        assert_eq!((view.landlock, view.seccomp, view.private_network), (None, false, false));
        for what in
            ["PID namespaces", "control groups for cpu: not tried", "Landlock: not tried", "private networks"]
        {
            assert!(view.lacks.iter().any(|lack| lack.starts_with(what)), "{what}: {:?}", view.lacks);
        }
    }
}
