//! The place of an instance among those of its plugin: what it is there for, decided when it is made and never changed.

use std::fmt;

use serde::Serialize;

use crate::id::InstanceNo;

/// Counts the contents of a plugin's manifest and program, from 1: a change makes new places of the next revision beside
/// those of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// What an instance is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It takes calls.
    #[default]
    Active,
    /// It is proven, and takes calls only where too few of the others serve.
    Standby,
}

/// A place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its number, which no other living instance of the plugin has.
    pub n: InstanceNo,
    /// Its position among those of its revision: `${replica}`, the offset of a fixed port, the target.
    pub replica: u32,
    /// Which contents of the manifest it was made for.
    pub revision: Revision,
    /// What it is there for.
    pub role: Role,
    /// Lower ones are preferred.
    pub priority: u32,
    /// Its share among those of the same priority.
    pub weight: u32,
}

impl Default for Revision {
    fn default() -> Self {
        Self(1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Slot {
    /// Whether what runs in the other does for this one too, whichever number and contents of the manifest each was made for.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        Self { revision: other.revision, n: other.n, ..*self } == *other
    }

    /// The place of a plugin that has no other, or the `n`th of several alike, in the first revision.
    #[must_use]
    pub fn new(n: InstanceNo) -> Self {
        Self { n, replica: n.0, revision: Revision::default(), role: Role::Active, priority: 1, weight: 1 }
    }
}
