//! Privileges, files and system calls.

use std::path::Path;

use serde::{Deserialize, Serialize};
use wharf_plugin_api::Cause;

use super::{InForce, Wanted};
use crate::process::level::Level;
use crate::process::probe::Probe;

/// The folders that a plugin needs to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own<'a> {
    pub(crate) program: &'a Path,
    pub(crate) cwd: &'a Path,
    /// The folder of its manifest.
    pub(crate) plugin_dir: &'a Path,
    /// Its `${data_dir}`.
    pub(crate) data_dir: &'a Path,
}

/// What the shim applies just before it executes the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SandboxPlan {
    pub(crate) no_new_privs: bool,
    /// No socket but unix sockets, whatever the list says. Asked for by what plans the network, after [`may_filter`].
    pub(crate) no_sockets: bool,
}

/// Whether a list of system calls can be refused to this plugin; if not, why.
pub(super) fn may_filter(_: &Probe, _: Level, _: &Wanted<'_>) -> Result<(), String> {
    Err("no system call is refused to plugins yet".to_owned())
}

pub(super) fn plan(_: &Probe, _: Level, wanted: &Wanted<'_>, _: &mut InForce) -> Result<SandboxPlan, Cause> {
    Ok(SandboxPlan { no_new_privs: wanted.sandbox.no_new_privs, no_sockets: false })
}
