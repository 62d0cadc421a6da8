//! Entries that share a plugin, each checked by itself, as one plugin with a target for each.
//!
//! One that is wrong is left out of the targets, and the others serve. One that is off is no target. Credentials stay
//! with their own target. What a plugin has once (timeouts, retries) is that of the entry with the lowest priority number.

use wharf_core::PluginId;
use wharf_core::manifest::{Kind, Manifest, Remote, Target};

use crate::manifest::file::Checked;
use crate::manifest::problem::Problem;

/// An entry after its check.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: String,
    /// A problem at the entry's name, for what is said of it here.
    pub(super) note: Problem,
    /// There unless a problem is an error.
    pub(super) manifest: Option<Manifest>,
    pub(super) problems: Vec<Problem>,
}

/// Whether two entries say the same.
type Same = fn(&Manifest, &Manifest) -> bool;

/// What may differ between entries, and that a plugin has only once.
const ONCE: &[(&str, Same)] = &[
    ("timeout", |a, b| a.limits == b.limits),
    ("health_check_interval", |a, b| a.health == b.health),
    ("max_retries", |a, b| a.retry == b.retry),
];

/// One plugin of all parts, of which there is at least one.
pub(super) fn join(id: PluginId, mut parts: Vec<Part>) -> Checked {
    if parts.len() < 2 {
        let alone = parts.pop().map(|part| (part.manifest, part.problems));
        let (manifest, problems) = alone.unwrap_or_default();
        return Checked { id, manifest, problems };
    }
    let works = parts.iter().any(|part| part.manifest.is_some());
    let mut problems = Vec::new();
    let mut good = Vec::new();
    for mut part in parts {
        problems.append(&mut part.problems);
        match part.manifest {
            Some(manifest) => good.push((part.name, part.note, manifest)),
            None if works => {
                let message = format!("{:?} is no target of the plugin {id} until that is right", part.name);
                problems.push(Problem { message, ..part.note }.warning());
            }
            None => {}
        }
    }
    if good.iter().any(|(_, _, manifest)| manifest.enabled) {
        good.retain(|(_, _, manifest)| manifest.enabled);
    }
    let best = good.iter().min_by_key(|(_, _, manifest)| priority(manifest));
    let Some((first, _, mut best)) = best.cloned() else { return Checked { id, manifest: None, problems } };
    // One that was written counts, wherever it stands: the id is what an entry without one has.
    if best.namespace == id.as_str()
        && let Some((_, _, other)) = good.iter().find(|(_, _, other)| other.namespace != id.as_str())
    {
        best.namespace.clone_from(&other.namespace);
    }
    for (name, note, manifest) in &good {
        let other: Vec<_> =
            ONCE.iter().filter(|(_, same)| !same(&best, manifest)).map(|(key, _)| *key).collect();
        if !other.is_empty() {
            let message = format!(
                "a plugin has one of these: `{}` of {first:?} counts, not that of {name:?}",
                other.join("`, `")
            );
            problems.push(Problem { message, ..note.clone() }.warning());
        }
    }
    let targets = good.into_iter().flat_map(|(_, _, manifest)| targets(manifest.kind)).collect();
    let manifest = match best.kind {
        Kind::Remote(_) => {
            let remote = Remote { targets, headers: Vec::new() };
            Manifest { kind: Kind::Remote(remote), ..best }
        }
        Kind::Command(_) | Kind::Embedded(_) => best,
    };
    Checked { id, manifest: Some(manifest), problems }
}

fn priority(manifest: &Manifest) -> u32 {
    match &manifest.kind {
        Kind::Remote(remote) => remote.targets.iter().map(|target| target.priority).min().unwrap_or(u32::MAX),
        Kind::Command(_) | Kind::Embedded(_) => 0,
    }
}

/// Each with the headers that its entry wrote for it.
fn targets(kind: Kind) -> Vec<Target> {
    let Kind::Remote(remote) = kind else { return Vec::new() };
    let headers = remote.headers;
    let own = |mut target: Target| {
        target.headers.extend(headers.iter().cloned());
        target
    };
    remote.targets.into_iter().map(own).collect()
}
