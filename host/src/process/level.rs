//! How sure it is that no process of a plugin outlives the host.

use serde::{Deserialize, Serialize};

/// The ways in which a process tree is held together, from the surest to the least sure.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Level {
    /// A PID namespace of its own, whose first process is the shim: the kernel kills all of it with the shim.
    PidNamespace,
    /// Likewise, in a user namespace, which an unprivileged host can make.
    UserPidNamespace,
    /// A control group that is killed as a whole, and a shim that adopts orphans.
    Cgroup,
    /// A shim that adopts orphans (`PR_SET_CHILD_SUBREAPER`).
    Subreaper,
    /// A shim that kills the processes it can find.
    ProcessGroup,
}

impl Level {
    /// From the surest to the least sure.
    pub const ALL: [Self; 5] =
        [Self::PidNamespace, Self::UserPidNamespace, Self::Cgroup, Self::Subreaper, Self::ProcessGroup];

    /// The API's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PidNamespace => "pid_namespace",
            Self::UserPidNamespace => "user_pid_namespace",
            Self::Cgroup => "cgroup",
            Self::Subreaper => "subreaper",
            Self::ProcessGroup => "process_group",
        }
    }

    /// Whether the kernel itself ends the tree with its first process.
    #[must_use]
    pub fn is_namespace(self) -> bool {
        matches!(self, Self::PidNamespace | Self::UserPidNamespace)
    }
}
