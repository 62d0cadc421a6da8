//! Privileges, files, ports and system calls: what the kernel of this machine bounds for a plugin.

use std::path::Path;

use serde::{Deserialize, Serialize};
use wharf_core::manifest::{Seccomp, Tcp};
use wharf_plugin_api::Cause;

use super::{InForce, Wanted, refused};
use crate::process::level::Level;
use crate::process::probe::Probe;

/// From this version of Landlock on, a file that may not be written cannot be truncated either (Linux 6.2).
const ABI_FILES: u32 = 3;
/// TCP ports (Linux 6.7).
const ABI_TCP: u32 = 4;
/// Commands to devices (Linux 6.10).
const ABI_DEVICES: u32 = 5;
/// Signals, and unix sockets that have no file (Linux 6.12).
const ABI_SCOPES: u32 = 6;
/// Unix sockets that are files (Linux 7.1).
const ABI_SOCKET_FILES: u32 = 9;

/// Without a `/proc` of its own.
const OPEN_PROC: &str =
    "/proc shows it the processes of the whole machine, and those of the same user can be read";
/// In a user namespace only the host's own user has a name.
const FOREIGN_FILES: &str = "files of other users, root's too, appear to it as those of `nobody`; ssh refuses its system \
    configuration for that: run the host as root, or with --containment subreaper";

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
    /// Bounds on files and ports, where the manifest writes them.
    pub(crate) landlock: Option<LandlockPlan>,
    /// The list of system calls that are refused.
    pub(crate) seccomp: Seccomp,
    /// No socket but unix sockets, whatever the list says. Asked for by what plans the network, after [`may_filter`].
    pub(crate) no_sockets: bool,
}

/// What Landlock enforces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LandlockPlan {
    /// The version of its interface that this machine has.
    pub(crate) abi: u32,
    pub(crate) fs: Option<Reach>,
    pub(crate) tcp: Option<Tcp>,
}

/// The files that the plugin can reach, besides those of the system that every program needs. Empty in a plan: what the
/// program needs is looked up when it is launched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reach {
    pub(crate) read: Vec<String>,
    pub(crate) write: Vec<String>,
}

pub(super) fn plan(
    probe: &Probe,
    level: Level,
    wanted: &Wanted<'_>,
    in_force: &mut InForce,
) -> Result<SandboxPlan, Cause> {
    let no_new_privs = wanted.sandbox.no_new_privs;
    let told = if no_new_privs { "on" } else { "off, by the manifest" };
    in_force.sandbox.insert("no_new_privs", told.to_owned());
    if probe.namespace(level).is_none_or(|namespace| namespace.proc.is_err()) {
        in_force.gaps.push(OPEN_PROC.to_owned());
    }
    if level == Level::UserPidNamespace {
        in_force.gaps.push(FOREIGN_FILES.to_owned());
    }
    Ok(SandboxPlan {
        no_new_privs,
        landlock: landlock(probe, level, wanted, in_force)?,
        seccomp: seccomp(probe, level, wanted, in_force)?,
        no_sockets: false,
    })
}

/// Whether a list of system calls can be refused to this plugin; if not, why.
pub(super) fn may_filter(probe: &Probe, level: Level, wanted: &Wanted<'_>) -> Result<(), String> {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return Err("there is no list of system calls for this processor".to_owned());
    }
    probe.seccomp.clone()?;
    may_bound(probe, level, wanted)
}

/// The kernel lets itself be told to bound a process that gains no privileges, or by whom administers it.
fn may_bound(probe: &Probe, level: Level, wanted: &Wanted<'_>) -> Result<(), String> {
    let administers = probe.plain.made.is_ok() || level == Level::UserPidNamespace;
    if wanted.sandbox.no_new_privs || administers {
        Ok(())
    } else {
        Err("with no_new_privs = false it takes a privileged host".to_owned())
    }
}

fn landlock(
    probe: &Probe,
    level: Level,
    wanted: &Wanted<'_>,
    in_force: &mut InForce,
) -> Result<Option<LandlockPlan>, Cause> {
    let (fs, tcp) = (wanted.sandbox.fs.is_some(), wanted.sandbox.tcp.clone());
    let needs = [("fs", fs, ABI_FILES), ("tcp", tcp.is_some(), ABI_TCP)];
    let needs: Vec<_> = needs.into_iter().filter(|(_, written, _)| *written).collect();
    if needs.is_empty() {
        return Ok(None);
    }
    let mut found = 0;
    for (key, _, least) in needs {
        found =
            usable(probe, level, wanted, least).map_err(|why| refused(&format!("sandbox.{key}"), &why))?;
        let mut words = format!("landlock: abi {found}");
        if key == "fs" && found < ABI_SOCKET_FILES {
            words.push_str(" (no unix sockets by path)");
        } else if key == "tcp" {
            words.push_str(" (no UDP)");
        }
        in_force.sandbox.insert(key, words);
    }
    gaps(found, (fs, tcp.is_some()), in_force);
    let tcp = tcp.map(|mut tcp| {
        tcp.bind.extend(wanted.port);
        tcp
    });
    Ok(Some(LandlockPlan { abi: found, fs: fs.then(Reach::default), tcp }))
}

/// The version of Landlock, if it serves.
fn usable(probe: &Probe, level: Level, wanted: &Wanted<'_>, least: u32) -> Result<u32, String> {
    let abi = probe.landlock.clone().map_err(|why| format!("it has no Landlock ({why})"))?;
    if abi < least {
        return Err(format!("its Landlock has abi {abi}, and this takes abi {least}"));
    }
    may_bound(probe, level, wanted).map(|()| abi)
}

/// What such a Landlock leaves open.
fn gaps(abi: u32, (fs, tcp): (bool, bool), in_force: &mut InForce) {
    let open = [
        (
            fs && abi < ABI_SOCKET_FILES,
            "fs: it can connect to unix sockets outside of its folders, as Docker's is (this takes Landlock abi 9)",
        ),
        (
            fs,
            "fs: it can see that files outside of its folders exist, and change the mode, owner and times of those that its \
             user owns (no Landlock bounds that)",
        ),
        (fs && abi < ABI_DEVICES, "fs: it can send commands to devices that it can open (abi 5)"),
        (abi < ABI_SCOPES, "it can signal processes of the same user outside of its own tree (abi 6)"),
        (abi < ABI_SCOPES, "it can connect to abstract unix sockets of other processes (abi 6)"),
        (tcp, "tcp: UDP is not bounded; net = \"none\" or \"loopback\" bounds it"),
    ];
    in_force.gaps.extend(open.into_iter().filter(|(is, _)| *is).map(|(_, what)| what.to_owned()));
}

fn seccomp(
    probe: &Probe,
    level: Level,
    wanted: &Wanted<'_>,
    in_force: &mut InForce,
) -> Result<Seccomp, Cause> {
    let (list, word) = match (wanted.sandbox.seccomp, may_filter(probe, level, wanted)) {
        (Seccomp::Off, _) => (Seccomp::Off, "off, by the manifest"),
        (Seccomp::Default, Ok(())) => (Seccomp::Default, "default"),
        (Seccomp::Strict, Ok(())) => (Seccomp::Strict, "strict"),
        (Seccomp::Default, Err(why)) => {
            in_force.gaps.push(format!("seccomp: no system call is refused: {why}"));
            (Seccomp::Off, "off")
        }
        (Seccomp::Strict, Err(why)) => return Err(refused("sandbox.seccomp = \"strict\"", &why)),
    };
    in_force.sandbox.insert("seccomp", word.to_owned());
    Ok(list)
}

#[cfg(test)]
mod tests;
