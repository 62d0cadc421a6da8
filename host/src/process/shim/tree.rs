//! All that descends from the shim: signal it, kill it, reap it.
//!
//! In a PID namespace the kernel knows what that is, and one call reaches all of it. Elsewhere the shim looks.
#![allow(unsafe_code, reason = "wait4 has no safe wrapper, and its resource usage is part of the report")]

use std::collections::HashSet;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{self, Signal};
use nix::unistd::{self, Pid as NixPid};
use wharf_plugin_api::ExitReport;

use crate::process::proc::{self, Pid};

/// What `reap_one` found.
pub(super) enum Reaped {
    /// A child has ended. Its uptime is not filled in.
    Ended(Pid, ExitReport),
    /// There are children; none has ended.
    NoneYet,
    /// There is no child.
    NoChildren,
}

/// How the processes of the tree are known.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tree {
    /// They are all that this PID namespace has, but for the shim itself.
    Namespace,
    /// They descend from the shim.
    Descendants,
}

impl Tree {
    /// Kills all of it once. Called again until there is nothing: what forks between our look and our signal is orphaned
    /// by it, becomes our child and is seen the next time.
    pub(super) fn kill(self) {
        match self {
            // ESRCH: nothing is there any more.
            Self::Namespace => drop(signal::kill(NixPid::from_raw(-1), Signal::SIGKILL)),
            Self::Descendants => each_group(Signal::SIGKILL),
        }
    }

    /// Sends a signal to all of it, and SIGCONT after it: a stopped process would not get it otherwise.
    pub(super) fn signal(self, number: u8) {
        let Ok(signal) = Signal::try_from(i32::from(number)) else { return };
        let tree = match self {
            Self::Namespace => vec![-1],
            Self::Descendants => proc::descendants(unistd::getpid().as_raw()),
        };
        for signal in [signal, Signal::SIGCONT] {
            for pid in &tree {
                // Gone already is as good as signalled.
                signal::kill(NixPid::from_raw(*pid), signal).ok();
            }
        }
    }
}

/// A group first: that is atomic, no member can fork away from it. Then each process, for it may share our own group for
/// an instant between its fork and its new session.
fn each_group(signal: Signal) {
    let own = unistd::getpgrp().as_raw();
    let tree = proc::descendants(unistd::getpid().as_raw());
    let groups: HashSet<Pid> = tree.iter().filter_map(|pid| Some(proc::stat(*pid)?.group)).collect();
    for group in groups.into_iter().filter(|group| *group != own && *group > 1) {
        signal::killpg(NixPid::from_raw(group), signal).ok();
    }
    for pid in tree {
        signal::kill(NixPid::from_raw(pid), signal).ok();
    }
}

/// Reaps a child that has ended. Orphans of the plugin are our children too, so any child is waited for.
pub(super) fn reap_one() -> Reaped {
    let mut status = 0;
    // SAFETY: all zeroes is a valid rusage, which holds integers only.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live, writable values of the right types for the length of the call.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
    match pid {
        0 => Reaped::NoneYet,
        pid if pid > 0 => Reaped::Ended(pid, report(status, &usage)),
        // ECHILD. EINTR cannot be: all signals are blocked and the call does not wait.
        _ => Reaped::NoChildren,
    }
}

fn report(status: libc::c_int, usage: &libc::rusage) -> ExitReport {
    ExitReport {
        code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        // Only the kernel's log tells an out-of-memory kill from any other SIGKILL.
        oom: false,
        note: None,
        uptime: Duration::ZERO,
        user_ms: millis(usage.ru_utime),
        system_ms: millis(usage.ru_stime),
        max_rss_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024),
    }
}

fn millis(time: libc::timeval) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(micros / 1000)
}
