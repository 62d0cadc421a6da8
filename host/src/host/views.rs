//! What the API shows of a plugin, from its snapshots.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wharf_core::manifest::{Kind, Manifest};
use wharf_plugin_api::{Cause, CauseKind};

use super::Inner;
use crate::plugin::gate::Crowd;
use crate::plugin::view::{ManifestView, QueueView, TurnedAwayView};
use crate::plugin::{
    BreakerView, InstanceHandle, InstanceView, PluginHandle, PluginView, ReplicasView, Snapshot,
};
use crate::process::{InForce, memory};

pub(super) fn plugin(inner: &Inner, plugin: &PluginHandle) -> PluginView {
    let clock = inner.services.clock;
    let manifest = plugin.manifest();
    let catalog = inner.catalog.load();
    let id = &plugin.core.id;
    let handles = plugin.instances();
    let snapshots: Vec<Arc<Snapshot>> = handles.iter().map(InstanceHandle::now).collect();
    let best = snapshots.iter().min_by_key(|snapshot| snapshot.state);
    let hello = snapshots.iter().find_map(|snapshot| snapshot.hello.clone());
    let problems = plugin.problems();
    let in_force = in_force(inner, manifest.as_deref(), plugin);
    PluginView {
        id: plugin.core.id.clone(),
        kind: manifest.as_ref().map(|manifest| manifest.kind_name()),
        state: plugin.state(),
        since: clock.wall(best.map_or(plugin.created, |snapshot| snapshot.since)),
        cause: cause(plugin, best.map(|snapshot| &**snapshot)),
        next_attempt_at: best.and_then(|snapshot| snapshot.next_attempt).map(|at| clock.wall(at)),
        restarts: snapshots.iter().map(|snapshot| snapshot.restarts).sum(),
        namespace: manifest.as_ref().map(|manifest| manifest.namespace.clone()),
        description: manifest.as_ref().and_then(|manifest| manifest.description.clone()),
        era: hello.as_ref().map(|hello| hello.era().as_str()),
        dialect: hello.as_ref().map(|hello| hello.dialect),
        protocol_version: hello.as_ref().map(|hello| hello.revision.clone()),
        server_info: hello.and_then(|hello| hello.server_info.clone()),
        tools: catalog.tools_of(id.as_str()).count(),
        resources: plugin.proof().map_or(0, |proof| proof.resources.len()),
        prompts: plugin.proof().map_or(0, |proof| proof.prompts.len()),
        lists_changed: plugin.core.drift.load_full(),
        collisions: catalog.collisions().iter().filter(|one| one.plugins.contains(id)).cloned().collect(),
        queue: queue(plugin),
        upgrade: plugin.upgrade(),
        replicas: manifest.as_deref().and_then(|manifest| replicas(manifest, plugin)),
        instances: instances(inner, plugin),
        containment: manifest
            .as_ref()
            .filter(|m| matches!(m.kind, Kind::Command(_)))
            .map(|_| in_force.as_ref().map_or(inner.services.machine.level().as_str(), |it| it.containment)),
        in_force,
        required: plugin.is_required(),
        stray_answers: plugin.core.log.strays(),
        late_answers: plugin.core.log.late(),
        start: manifest.as_ref().map(|manifest| manifest.start),
        manifest: ManifestView {
            path: manifest.map_or_else(|| plugin.path.clone(), |manifest| manifest.path.clone()),
            problems: problems.iter().map(Into::into).collect(),
        },
    }
}

fn queue(plugin: &PluginHandle) -> QueueView {
    let Crowd { waiting, running, limit } = plugin.gate.crowd();
    let away = &plugin.gate.turned_away;
    let turned_away = TurnedAwayView {
        queue_full: away.queue_full.load(Ordering::Relaxed),
        waited: away.waited.load(Ordering::Relaxed),
        rate_limited: away.rate_limited.load(Ordering::Relaxed),
    };
    QueueView { waiting, running, limit, turned_away }
}

/// What is in force for the instances that run: a fact of each launch, whatever the manifest says by now. Of a plugin of which
/// none runs, what would be. All instances have the same plan, so what the others lack beside is all that can differ.
fn in_force(inner: &Inner, manifest: Option<&Manifest>, plugin: &PluginHandle) -> Option<InForce> {
    let manifest = manifest.filter(|manifest| matches!(manifest.kind, Kind::Command(_)))?;
    let machine = &inner.services.machine;
    let (shared, own) = (plugin.instances(), plugin.owned());
    let all = shared.iter().chain(own.iter().map(|own| &own.handle));
    let snapshots: Vec<Arc<Snapshot>> = all.map(InstanceHandle::now).collect();
    let mut running =
        snapshots.iter().filter_map(|snapshot| machine.in_force_of(snapshot.pid?)).map(Arc::unwrap_or_clone);
    let Some(mut first) = running.next() else {
        let port = snapshots.iter().find_map(|snapshot| snapshot.port);
        return machine.in_force(&manifest.limits, &manifest.sandbox, port).ok();
    };
    for other in running {
        for gap in other.gaps {
            if !first.gaps.contains(&gap) {
                first.gaps.push(gap);
            }
        }
    }
    Some(first)
}

/// The views with what only a look at the processes tells.
pub(super) async fn measured(inner: &Inner, mut views: Vec<PluginView>) -> Vec<PluginView> {
    let pids: Vec<u32> = views.iter().flat_map(|view| &view.instances).filter_map(|one| one.pid).collect();
    let measure = move || -> HashMap<u32, u64> {
        pids.into_iter().filter_map(|pid| Some((pid, memory::of_tree(pid)?))).collect()
    };
    // Unknown while the host ends.
    let bytes = inner.services.tasks.blocking(measure).await.unwrap_or_default();
    for one in views.iter_mut().flat_map(|view| &mut view.instances) {
        one.rss_bytes = one.pid.and_then(|pid| bytes.get(&pid).copied());
    }
    views
}

/// Why it is in the state that it is in. One that was taken away says so at once, whatever its instances have come to.
fn cause(plugin: &PluginHandle, best: Option<&Snapshot>) -> Option<Cause> {
    match (plugin.retired(), best) {
        (Some(why), _) => Some(Cause::new(CauseKind::Requested, why)),
        (None, Some(best)) => best.cause.clone(),
        (None, None) => Some(misconfigured(plugin)),
    }
}

/// The cause of a plugin that has no instances because its manifest is wrong.
fn misconfigured(plugin: &PluginHandle) -> Cause {
    let problems = plugin.problems();
    // One with a place says more than what follows from it.
    let errors = || problems.iter().filter(|problem| problem.is_error());
    let first = errors().find(|problem| problem.place.is_some()).or_else(|| errors().next());
    let kind = first.map_or(CauseKind::InvalidManifest, |problem| problem.cause_kind());
    let detail = first
        .map_or_else(|| format!("{} declares nothing to run", plugin.path.display()), ToString::to_string);
    Cause::new(kind, detail)
}

fn replicas(manifest: &Manifest, plugin: &PluginHandle) -> Option<ReplicasView> {
    let of_targets = matches!(&manifest.kind, Kind::Remote(remote) if remote.targets.len() > 1);
    (!of_targets).then(|| ReplicasView { manifest: plugin.own_replicas(), wanted: manifest.replicas })
}

/// The shared ones, those of another version beside them, then those of single sessions.
fn instances(inner: &Inner, plugin: &PluginHandle) -> Vec<InstanceView> {
    let shared = plugin.instances();
    let mut views: Vec<_> = shared.iter().map(|handle| instance(inner, plugin, handle, None)).collect();
    views.extend(plugin.beside().iter().map(|handle| instance(inner, plugin, handle, None)));
    let own = plugin.owned();
    views.extend(own.iter().map(|own| instance(inner, plugin, &own.handle, Some(own.visit.short()))));
    views
}

/// What a call failed with may hold the plugin's secrets, and be of any length.
fn breaker(handle: &InstanceHandle, plugin: &PluginHandle) -> BreakerView {
    let view = handle.fuse.view();
    BreakerView { cause: view.cause.map(|cause| plugin.core.clean(&cause)), ..view }
}

fn instance(
    inner: &Inner,
    plugin: &PluginHandle,
    handle: &InstanceHandle,
    session: Option<String>,
) -> InstanceView {
    let now = handle.now();
    let clock = inner.services.clock;
    InstanceView {
        n: handle.n,
        revision: now.revision,
        role: handle.slot.role,
        generation: now.generation,
        pid: now.pid,
        port: now.port,
        state: now.state,
        since: clock.wall(now.since),
        cause: now.cause.clone(),
        next_attempt_at: now.next_attempt.map(|at| clock.wall(at)),
        restarts: now.restarts,
        inflight: handle.load.inflight(),
        breaker: breaker(handle, plugin),
        // Measured off the runtime: `measured` fills it in.
        rss_bytes: None,
        session,
        last_exit: now.exits.last().cloned(),
        earlier_exits: now.exits.earlier().cloned().collect(),
    }
}
