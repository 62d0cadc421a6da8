//! What the API shows of a plugin: plain data, true at the moment it was taken.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::value::RawValue;
use wharf_core::catalog::Collision;
use wharf_core::lifecycle::State;
use wharf_core::manifest::Start;
use wharf_core::upgrade::Step;
use wharf_core::{Generation, InstanceNo, PluginId, Revision, Role};
use wharf_plugin_api::{Cause, CauseKind};

use super::drift::ListsChange;
use super::upgrade::Lists;
use crate::manifest::ProblemView;
use crate::process::InForce;
use crate::telemetry::{rfc3339, rfc3339_opt};

/// A plugin as `/api/v1/plugins/{id}` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct PluginView {
    /// Its id.
    pub id: PluginId,
    /// `external`, `remote`, `native` or `embedded`; absent while the manifest is wrong.
    pub kind: Option<&'static str>,
    /// The best of its instances' states.
    pub state: State,
    /// Since when it is in that state.
    #[serde(serialize_with = "rfc3339")]
    pub since: SystemTime,
    /// Why it does not serve, or why it last ended.
    pub cause: Option<Cause>,
    /// When it is tried again.
    #[serde(serialize_with = "rfc3339_opt")]
    pub next_attempt_at: Option<SystemTime>,
    /// Restarts after an end that nobody asked for, over all instances.
    pub restarts: u64,
    /// The prefix of exposed names.
    pub namespace: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// `legacy` or `modern`, once known.
    pub era: Option<&'static str>,
    /// How it speaks MCP, once known.
    pub dialect: Option<&'static str>,
    /// The MCP revision settled on.
    pub protocol_version: Option<String>,
    /// What it says of itself.
    pub server_info: Option<Box<RawValue>>,
    /// How many tools it offers.
    pub tools: usize,
    /// How many resources it offers.
    pub resources: usize,
    /// How many prompts it offers.
    pub prompts: usize,
    /// When what it lists was last other than before, and how; absent if it never was in this run of the host.
    pub lists_changed: Option<Arc<ListsChange>>,
    /// What it lists under a name or URI that others have too.
    pub collisions: Vec<Collision>,
    /// How many replicas it has; absent while the manifest is wrong, and where each target is an instance.
    pub replicas: Option<ReplicasView>,
    /// The calls that it has, and those that wait for their turn; without those of sessions that have an instance of their
    /// own.
    pub queue: QueueView,
    /// The last time that it was launched otherwise; absent if it never was in this run of the host.
    pub upgrade: Option<UpgradeView>,
    /// Its instances: those that take calls, those of another version beside them, and those that are ending.
    pub instances: Vec<InstanceView>,
    /// How its processes are kept from outliving the host.
    pub containment: Option<&'static str>,
    /// Answers of it to nothing that it was asked, or to what it had answered already; they were dropped.
    pub stray_answers: u64,
    /// Answers of it to calls that were given up before; they were dropped.
    pub late_answers: u64,
    /// What is in force for its processes: for those that run, since their launch; if none does, so it would be. Absent if
    /// there are none to launch, or this machine does not give what the manifest demands.
    pub in_force: Option<InForce>,
    /// The manifest it comes from.
    pub manifest: ManifestView,
    /// Whether `/readyz` waits for it.
    pub required: bool,
    /// `eager` or `lazy`: one that is lazy is stopped while nobody uses it.
    pub start: Option<Start>,
}

/// The calls of a plugin at this moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueueView {
    /// Calls that wait for their turn.
    pub waiting: u32,
    /// Calls that run.
    pub running: u32,
    /// How many may run at the same time, over all its instances.
    pub limit: u32,
    /// Calls that were turned away since the host knows the plugin.
    pub turned_away: TurnedAwayView,
}

/// Calls that were turned away, by reason.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TurnedAwayView {
    /// There was no room in the queue.
    pub queue_full: u64,
    /// They waited, and their turn did not come in time.
    pub waited: u64,
    /// Their caller began more than `limits.rate` allows.
    pub rate_limited: u64,
}

/// How many replicas a plugin has.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ReplicasView {
    /// What its manifest declares.
    pub manifest: u32,
    /// What is wanted: the same, unless an operator asked for another number.
    pub wanted: u32,
}

/// The manifest of a plugin.
#[derive(Clone, Debug, Serialize)]
pub struct ManifestView {
    /// The file.
    #[serde(serialize_with = "crate::telemetry::path")]
    pub path: PathBuf,
    /// What is wrong with it. If the plugin runs, it runs by the last version that was right.
    pub problems: Vec<ProblemView>,
}

/// How a new version took over, or did not.
#[derive(Clone, Debug, Serialize)]
pub struct UpgradeView {
    /// `proving`, `trial`, `rolled_back` or `done`.
    pub state: Step,
    /// The version before.
    pub from: Revision,
    /// The new one.
    pub to: Revision,
    /// Since when it is there.
    #[serde(serialize_with = "rfc3339")]
    pub since: SystemTime,
    /// When the step ends at the latest, if it does by itself.
    #[serde(serialize_with = "rfc3339_opt")]
    pub until: Option<SystemTime>,
    /// Why it was rolled back, or ended early.
    pub cause: Option<Cause>,
    /// What the new version lists beside the old one, in `lists` by kind and in `text`.
    pub difference: Option<Arc<Lists>>,
}

/// One instance.
#[derive(Clone, Debug, Serialize)]
pub struct InstanceView {
    /// Its number within the plugin.
    pub n: InstanceNo,
    /// Which contents of the manifest it runs by, counted from 1.
    pub revision: Revision,
    /// `active`, or `standby`: it takes calls only where too few of the others serve.
    pub role: Role,
    /// Which launch of it this is.
    pub generation: Generation,
    /// The process id of its main process.
    pub pid: Option<u32>,
    /// The port it listens on.
    pub port: Option<u16>,
    /// Where it stands.
    pub state: State,
    /// Since when.
    #[serde(serialize_with = "rfc3339")]
    pub since: SystemTime,
    /// Why it does not serve, or why it last ended.
    pub cause: Option<Cause>,
    /// When it is tried again.
    #[serde(serialize_with = "rfc3339_opt")]
    pub next_attempt_at: Option<SystemTime>,
    /// Restarts after an end that nobody asked for.
    pub restarts: u64,
    /// Calls in flight.
    pub inflight: usize,
    /// Whether calls go to it, by how the last ones ended.
    pub breaker: BreakerView,
    /// Resident memory of its process tree, bytes.
    pub rss_bytes: Option<u64>,
    /// The beginning of the id of the client's session that it is for; absent for one that all share.
    pub session: Option<String>,
    /// How it last ended.
    pub last_exit: Option<LastExit>,
    /// How it ended before that, newest first. Not in the list of all plugins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier_exits: Vec<LastExit>,
}

/// The breaker of an instance.
#[derive(Clone, Debug, Serialize)]
pub struct BreakerView {
    /// `closed`: calls go to the instance; `open`: they do not; `half_open`: it is being tried.
    pub state: wharf_core::breaker::State,
    /// Since when.
    #[serde(serialize_with = "rfc3339")]
    pub since: SystemTime,
    /// What the last failure was, while it is not closed.
    pub cause: Option<String>,
    /// When it is tried again, while it is open.
    #[serde(serialize_with = "rfc3339_opt")]
    pub next_try_at: Option<SystemTime>,
    /// How often it has opened since the instance is there.
    pub opened: u64,
}

/// How an instance last ended.
#[derive(Clone, Debug, Serialize)]
pub struct LastExit {
    /// Which launch ended.
    pub generation: Generation,
    /// Why, in one of the documented words.
    pub cause: CauseKind,
    /// Exit code.
    pub code: Option<i32>,
    /// Signal number.
    pub signal: Option<i32>,
    /// Killed for want of memory.
    pub oom: bool,
    /// What is known of why, where the others do not tell.
    pub note: Option<String>,
    /// From spawn to exit, milliseconds.
    pub uptime_ms: u64,
    /// When.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// The last lines of its stderr.
    pub stderr_tail: Vec<String>,
}

/// A long-running command to a plugin.
#[derive(Clone, Debug, Serialize)]
pub struct OperationView {
    /// Its id.
    pub id: String,
    /// The plugin.
    pub plugin: PluginId,
    /// `start`, `stop`, `restart`, `drain`, `enable`, `disable` or `scale`.
    pub action: &'static str,
    /// `running`, `done` or `failed`.
    pub status: &'static str,
    /// What happened, for people.
    pub detail: Option<String>,
    /// When it was asked for.
    #[serde(serialize_with = "rfc3339")]
    pub started_at: SystemTime,
    /// When it ended.
    #[serde(serialize_with = "rfc3339_opt")]
    pub ended_at: Option<SystemTime>,
}
