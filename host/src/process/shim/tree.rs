//! All that descends from the shim: signal it, kill it, reap it.
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

/// Kills all descendants once. Called again until there are none: what forks between our look and our signal is orphaned
/// by it, becomes our child and is seen the next time.
pub(super) fn kill() {
    each_group(Signal::SIGKILL);
}

/// Sends a signal to all descendants, and SIGCONT after it: a stopped process would not get it otherwise.
pub(super) fn signal(number: u8) {
    if let Ok(signal) = Signal::try_from(i32::from(number)) {
        let tree = proc::descendants(unistd::getpid().as_raw());
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
