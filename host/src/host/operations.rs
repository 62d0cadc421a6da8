//! Commands to plugins that take time: begun at once, followed by id, bounded in number and in time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use wharf_core::lifecycle::{Event, State};
use wharf_core::{Code, InstanceNo};

use super::Inner;
use super::registry::Ask;
use super::scale;
use crate::plugin::{OperationView, PluginHandle, Snapshot};
use crate::route::Failure;

/// Operations that run at the same time.
const RUNNING: usize = 64;
/// Operations that are remembered; a running one is never forgotten.
const KEPT: usize = 256;
/// After this an operation is told as failed, whatever the plugin still does.
const LIMIT: Duration = Duration::from_secs(600);

/// What an operator can ask of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start it, also out of backoff, quarantine and fatal.
    Start,
    /// End it and leave it ended.
    Stop,
    /// End it and start it.
    Restart,
    /// Let calls in flight end, then stop it.
    Drain,
    /// Switch it on; remembered.
    Enable,
    /// Switch it off; remembered.
    Disable,
    /// Have so many replicas; remembered.
    Scale(u32),
}

/// The operations of a host.
#[derive(Debug, Default)]
pub(super) struct Operations(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    views: VecDeque<OperationView>,
}

/// Begins an operation in a task of its own.
pub(super) fn begin(
    inner: &Arc<Inner>,
    plugin: Arc<PluginHandle>,
    command: Command,
) -> Result<OperationView, Failure> {
    let state = plugin.state();
    let without_instances = state == State::Misconfigured;
    let keeps = matches!(command, Command::Enable | Command::Disable | Command::Scale(_));
    let switched_off = state == State::Disabled && !keeps;
    if without_instances || switched_off {
        let mut failure = inner.not_now(&plugin);
        if switched_off {
            failure.detail = format!(
                "plugin {:?} is switched off; `wharf enable {}` first",
                plugin.core.id, plugin.core.id
            );
        }
        return Err(failure);
    }
    if let (Command::Scale(replicas), Some(manifest)) = (command, plugin.manifest())
        && let Some(why) = scale::refusal(&manifest, replicas)
    {
        let id = plugin.core.id.as_str();
        return Err(Failure { plugin: Some(id.into()), ..Failure::new(Code::BadRequest, why) });
    }
    let view = inner.operations.open(&plugin, command).ok_or_else(|| Failure {
        retry_after: Some(Duration::from_secs(1)),
        ..Failure::new(Code::Overloaded, format!("{RUNNING} operations run already; wait for one to end"))
    })?;
    let (id, inner) = (view.id.clone(), Arc::clone(inner));
    let span = tracing::info_span!(parent: None, "operation", id, plugin = %plugin.core.id, command = command.as_str());
    inner.services.tasks.clone().spawn(span, async move {
        let run = carry_out(&inner, &plugin, command);
        let outcome = tokio::time::timeout(LIMIT, run).await;
        let outcome = outcome.unwrap_or_else(|_| Err(format!("not done after {} s", LIMIT.as_secs())));
        inner.operations.close(&id, outcome);
    });
    Ok(view)
}

async fn carry_out(inner: &Inner, plugin: &PluginHandle, command: Command) -> Result<(), String> {
    let (done, kept) = oneshot::channel();
    let id = plugin.core.id.clone();
    let ask = match command {
        Command::Enable | Command::Disable => Some(Ask::Switch(id, command == Command::Enable, done)),
        Command::Scale(replicas) => Some(Ask::Scale(id, replicas, done)),
        Command::Start | Command::Stop | Command::Restart | Command::Drain => None,
    };
    if let Some(ask) = ask {
        inner.registry.send(ask).await.map_err(|_| "the host is ending".to_owned())?;
        kept.await.map_err(|_| "the host is ending".to_owned())??;
    }
    if let Some(event) = command.event() {
        plugin.operate(&event).await;
    }
    let mut changes = plugin.changes();
    loop {
        changes.mark_unchanged();
        let outcome = match command {
            Command::Start | Command::Restart | Command::Enable => came_up(plugin),
            Command::Stop | Command::Drain | Command::Disable => went_down(plugin),
            Command::Scale(_) => scale::done(plugin),
        };
        if let Some(outcome) = outcome {
            return outcome;
        }
        changes.changed().await.map_err(|_| "the plugin is gone".to_owned())?;
    }
}

/// Whether all instances are up, or one failed to come up.
fn came_up(plugin: &PluginHandle) -> Option<Result<(), String>> {
    let mut all = true;
    if plugin.instances().is_empty() {
        return Some(Err("the plugin is gone".to_owned()));
    }
    for instance in plugin.instances().iter() {
        let now = instance.now();
        match stands(instance.n, &now) {
            Some(Ok(())) => {}
            None => all = false,
            failed @ Some(Err(_)) => return failed,
        }
    }
    all.then_some(Ok(()))
}

/// Whether an instance is up, or failed to come up. `None`: it is on its way.
pub(super) fn stands(n: InstanceNo, now: &Snapshot) -> Option<Result<(), String>> {
    match now.state {
        State::Ready | State::Degraded => Some(Ok(())),
        State::Starting | State::Preparing | State::Stopping | State::Draining => None,
        State::Backoff
        | State::Quarantined
        | State::Fatal
        | State::Misconfigured
        | State::Stopped
        | State::Disabled => {
            let cause = now.cause.as_ref().map_or_else(|| now.state.as_str().to_owned(), ToString::to_string);
            Some(Err(format!("instance {n}: {cause}")))
        }
    }
}

fn went_down(plugin: &PluginHandle) -> Option<Result<(), String>> {
    let down = |state| matches!(state, State::Stopped | State::Disabled);
    plugin.instances().iter().all(|instance| down(instance.now().state)).then_some(Ok(()))
}

// === impl Command ===

impl Command {
    /// The word for it in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Drain => "drain",
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Scale(_) => "scale",
        }
    }

    fn event(self) -> Option<Event> {
        Some(match self {
            Self::Start => Event::Start,
            Self::Stop => Event::Stop,
            Self::Restart => Event::Restart,
            Self::Drain => Event::Drain,
            Self::Enable => Event::Enable,
            Self::Disable => Event::Disable,
            Self::Scale(_) => return None,
        })
    }
}

// === impl Operations ===

impl Operations {
    pub(super) fn get(&self, id: &str) -> Option<OperationView> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.views.iter().find(|view| view.id == id).cloned()
    }

    /// `None` if too many run.
    fn open(&self, plugin: &PluginHandle, command: Command) -> Option<OperationView> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = |view: &OperationView| view.ended_at.is_some();
        if kept.views.iter().filter(|view| !ended(view)).count() >= RUNNING {
            return None;
        }
        kept.last += 1;
        let view = OperationView {
            id: format!("op-{}", kept.last),
            plugin: plugin.core.id.clone(),
            action: command.as_str(),
            status: "running",
            detail: None,
            started_at: SystemTime::now(),
            ended_at: None,
        };
        if kept.views.len() >= KEPT
            && let Some(oldest) = kept.views.iter().position(ended)
        {
            kept.views.remove(oldest);
        }
        kept.views.push_back(view.clone());
        Some(view)
    }

    fn close(&self, id: &str, outcome: Result<(), String>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = kept.views.iter_mut().find(|view| view.id == id) {
            view.status = if outcome.is_ok() { "done" } else { "failed" };
            view.detail = outcome.err();
            view.ended_at = Some(SystemTime::now());
        }
    }
}
