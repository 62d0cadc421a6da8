//! Control groups: which of them this machine lets us use, and those of one launch. Only the host's side: a process of the
//! plugin puts itself into its groups before it becomes the program, so the shim is in none and can be the one that kills.
//!
//! There are two kinds. In version 2 there is one hierarchy for all controllers, and a group is killed by one write. In
//! version 1 each controller has a hierarchy of its own. A machine may have both, each controller in one of them.
//!
//! A launch gets a group `wharf-<host>-<random>/<mark>` below the host's own, in each hierarchy that it needs. It knows
//! nothing of what the limits mean: the plan says what is written into which file.

mod attempt;
mod delegate;
mod end;
mod events;
mod find;
mod groups;
mod layout;
mod stale;

use std::path::PathBuf;

pub(crate) use self::delegate::Changes;
pub(super) use self::delegate::Stay;
pub(super) use self::end::{clear, members_ended};
pub(super) use self::find::{find_out, take_place};
pub(super) use self::groups::Groups;

/// Which of the two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// Where groups can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) version: Version,
    /// The folder of all groups of this host, below the host's own group. It is there while one of them is.
    pub(crate) parent: PathBuf,
    /// What is handed down to the groups, in version 2.
    pub(crate) controllers: Vec<&'static str>,
}

/// What works here, each tried, or the reason why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cgroups {
    pub(crate) memory: Result<Hierarchy, String>,
    pub(crate) pids: Result<Hierarchy, String>,
    pub(crate) cpu: Result<Hierarchy, String>,
    /// A group that is killed as a whole.
    pub(crate) kill: Result<Hierarchy, String>,
    /// What was changed for it.
    pub(crate) changes: Changes,
}

/// What is written into a file of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) file: &'static str,
    pub(crate) value: String,
    pub(crate) purpose: Purpose,
}

/// What is lost without a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The limit with this key.
    Limit(&'static str),
    /// Swap counts as memory.
    Swap,
    /// Nothing that the host does not do itself then.
    Ease,
    /// The group can be killed as a whole.
    Kill,
}

/// What a launch goes without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unmade {
    pub(crate) purpose: Purpose,
    /// The file, and what the system says of it. Without the name of the launch.
    pub(crate) why: String,
}

/// A group that a launch needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupPlan {
    pub(crate) hierarchy: Hierarchy,
    pub(crate) settings: Vec<Setting>,
    /// It holds the tree together.
    pub(crate) kills: bool,
}

// === impl Version ===

impl Version {
    /// For people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "cgroup v1",
            Self::V2 => "cgroup v2",
        }
    }
}

// === impl Cgroups ===

impl Cgroups {
    /// None, for one reason.
    pub(crate) fn nothing(why: &str) -> Self {
        let no = || Err(why.to_owned());
        Self { memory: no(), pids: no(), cpu: no(), kill: no(), changes: Changes::default() }
    }
}

impl Default for Cgroups {
    fn default() -> Self {
        Self::nothing("not tried")
    }
}

// === impl Setting ===

impl Setting {
    pub(crate) fn new(purpose: Purpose, file: &'static str, value: impl ToString) -> Self {
        Self { file, value: value.to_string(), purpose }
    }

    /// Without it the limit with this key does not hold.
    pub(crate) fn needed(key: &'static str, file: &'static str, value: impl ToString) -> Self {
        Self::new(Purpose::Limit(key), file, value)
    }
}

// === impl GroupPlan ===

impl GroupPlan {
    /// What is lost if the group cannot be made at all.
    fn purposes(&self) -> impl Iterator<Item = Purpose> {
        let needed = |purpose: &Purpose| matches!(purpose, Purpose::Limit(_));
        let mut all: Vec<Purpose> = self.settings.iter().map(|one| one.purpose).filter(needed).collect();
        all.extend(self.kills.then_some(Purpose::Kill));
        all.dedup();
        all.into_iter()
    }

    /// The folder of the group with this name.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.hierarchy.parent.join(name)
    }
}
