//! Whether a plugin can have another number of replicas, and when it has it.

use wharf_core::manifest::{Kind, Manifest, PortChoice};

use super::operations::stands;
use crate::plugin::PluginHandle;

/// As many as a manifest may declare.
const MOST: u32 = 64;

/// Why a plugin cannot have so many replicas, and what helps.
pub(super) fn refusal(manifest: &Manifest, replicas: u32) -> Option<String> {
    let id = &manifest.id;
    if !(1..=MOST).contains(&replicas) {
        let instead =
            if replicas == 0 { format!("; to have none, `wharf stop {id}`") } else { String::new() };
        return Some(format!("{replicas} replicas cannot be: 1 to {MOST} can{instead}"));
    }
    match &manifest.kind {
        Kind::Remote(remote) if remote.targets.len() > 1 => Some(format!(
            "the instances of {id:?} are its targets; add or remove [[targets]] in its manifest"
        )),
        Kind::Embedded(_) => Some(format!(
            "{id:?} is a part of the program that embeds the host, and has as many instances as that gives it"
        )),
        Kind::Command(command) => {
            let Some(PortChoice::Fixed(port)) = command.port else {
                return command.url.as_ref().filter(|url| replicas > 1 && !url.uses_port() && !url.uses_replica()).map(
                    |_| format!("all replicas of {id:?} would listen at the same address; write ${{port}} in its `url`"),
                );
            };
            let all = replicas.saturating_add(manifest.standby);
            let last = u32::from(port).saturating_add(all).saturating_sub(1);
            (last > u32::from(u16::MAX)).then(|| {
                format!("{all} instances of {id:?} need the ports from {port} on, but they end at 65535; write port = \"auto\"")
            })
        }
        Kind::Remote(_) => None,
    }
}

/// Whether it has come to what was asked for, or one of its instances failed to come up. What is meant to be down, or sleeps
/// until it is called, is as it should be.
pub(super) fn done(plugin: &PluginHandle) -> Option<Result<(), String>> {
    let mut all = !plugin.has_surplus();
    for instance in plugin.instances().iter() {
        let now = instance.now();
        if now.wanted && !now.asleep {
            match stands(instance.n, &now) {
                Some(Ok(())) => {}
                None => all = false,
                failed @ Some(Err(_)) => return failed,
            }
        }
    }
    all.then_some(Ok(()))
}
