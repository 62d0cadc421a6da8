//! What this machine lets us do, found out once per run by trying: what the documentation of a kernel promises, a
//! container, a security module or a sysctl may refuse.

use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::cgroup::Cgroups;
use super::exe;
use super::level::Level;
use super::wire::PROBE_WORD;

/// How long it may take. A fraction of a second is usual.
const BUDGET: Duration = Duration::from_secs(10);

/// Something that was tried: it works, or the reason why not.
pub(crate) type Tried = Result<(), String>;

/// What was tried, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Probe {
    /// A PID namespace, as we are.
    pub(crate) plain: Namespace,
    /// One within a user namespace.
    pub(crate) user: Namespace,
    /// `PR_SET_CHILD_SUBREAPER`.
    pub(crate) subreaper: Tried,
    /// A control group that can be killed as a whole.
    pub(crate) cgroup_kill: Tried,
    /// Which control groups can be made. Found out by the host itself.
    #[serde(skip)]
    pub(crate) cgroups: Cgroups,
    /// The version of Landlock's interface, or why there is none.
    pub(crate) landlock: Result<u32, String>,
    /// Filters of system calls.
    pub(crate) seccomp: Tried,
    /// No surer level than this is used, by an operator's word.
    pub(crate) at_most: Option<Level>,
}

/// A kind of PID namespace, and what it can have of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Namespace {
    /// It can be made.
    pub(crate) made: Tried,
    /// A `/proc` of its own.
    pub(crate) proc: Tried,
    /// A network with its loopback up.
    pub(crate) network: Tried,
    /// `pid_max` belongs to it (kernel 6.14).
    pub(crate) pid_max: Tried,
}

/// Tries everything. What cannot be tried counts as refused.
pub(crate) async fn probe(at_most: Option<Level>) -> Probe {
    let found = match tokio::time::timeout(BUDGET, ask()).await {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", BUDGET.as_secs())),
    };
    let found = found.unwrap_or_else(|error| {
        tracing::warn!(
            error,
            "what this machine allows could not be found out; plugins get what always works"
        );
        Probe::nothing(&error)
    });
    Probe { at_most, ..found }
}

/// In a process of its own: what is tried cannot be undone.
async fn ask() -> std::io::Result<Probe> {
    let path = exe::path().map_err(std::io::Error::other)?;
    let mut command = Command::new(path);
    command.arg0("wharf").arg(PROBE_WORD).env_clear().current_dir("/").kill_on_drop(true);
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().await?;
    serde_json::from_slice(&output.stdout).map_err(std::io::Error::other)
}

// === impl Probe ===

impl Probe {
    /// As if nothing could be tried.
    pub(crate) fn nothing(why: &str) -> Self {
        let no = || Err(why.to_owned());
        let none = || Namespace { made: no(), proc: no(), network: no(), pid_max: no() };
        Self {
            plain: none(),
            user: none(),
            subreaper: Ok(()),
            cgroup_kill: no(),
            cgroups: Cgroups::nothing(why),
            landlock: Err(why.to_owned()),
            seccomp: no(),
            at_most: None,
        }
    }

    /// The surest level that works here and is allowed.
    pub(crate) fn level(&self) -> Level {
        let most = self.at_most.unwrap_or(Level::PidNamespace);
        let works = |level: &Level| match level {
            Level::PidNamespace => self.plain.made.is_ok(),
            Level::UserPidNamespace => self.user.made.is_ok(),
            Level::Cgroup => self.cgroup_kill.is_ok() && self.subreaper.is_ok(),
            Level::Subreaper => self.subreaper.is_ok(),
            Level::ProcessGroup => true,
        };
        let mut allowed = Level::ALL.into_iter().filter(|level| *level >= most);
        allowed.find(works).unwrap_or(Level::ProcessGroup)
    }

    /// What the namespaces of a level can have; `None` at a level without.
    pub(crate) fn namespace(&self, level: Level) -> Option<&Namespace> {
        match level {
            Level::PidNamespace => Some(&self.plain),
            Level::UserPidNamespace => Some(&self.user),
            Level::Cgroup | Level::Subreaper | Level::ProcessGroup => None,
        }
    }

    /// Why there is no namespace, for people.
    pub(crate) fn why_no_namespace(&self) -> String {
        if let Some(most) = self.at_most.filter(|most| !most.is_namespace()) {
            return format!("the host was told to use no surer containment than {}", most.as_str());
        }
        let why = |tried: &Tried| tried.clone().err().unwrap_or_default();
        let (plain, user) = (why(&self.plain.made), why(&self.user.made));
        format!("a PID namespace is refused ({plain}), and one in a user namespace too ({user})")
    }
}

#[cfg(test)]
mod tests {
    use super::Probe;
    use crate::process::level::Level;

    #[test]
    fn the_surest_level_that_works_is_taken() {
        let mut probe = Probe::nothing("refused");
        assert_eq!(probe.level(), Level::Subreaper);
        probe.cgroup_kill = Ok(());
        assert_eq!(probe.level(), Level::Cgroup);
        probe.user.made = Ok(());
        assert_eq!(probe.level(), Level::UserPidNamespace);
        probe.plain.made = Ok(());
        assert_eq!(probe.level(), Level::PidNamespace);
        for level in Level::ALL {
            probe.at_most = Some(level);
            assert_eq!(probe.level(), level);
        }
        probe.subreaper = Err("refused".to_owned());
        probe.at_most = Some(Level::Cgroup);
        assert_eq!(probe.level(), Level::ProcessGroup);
        assert!(probe.why_no_namespace().contains("than cgroup"));
    }
}
