//! `wharf ps`: the plugins in a table.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;

use super::client::{Client, parse};
use super::exit::Complaint;
use super::out;
use super::table::{age, table};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only plugins in this state
    #[arg(long, value_name = "STATE")]
    only: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Plugins {
    plugins: Vec<Plugin>,
}

/// What the commands read of a plugin.
#[derive(Debug, Deserialize)]
pub(super) struct Plugin {
    pub(super) id: String,
    pub(super) kind: Option<String>,
    pub(super) state: String,
    pub(super) since: String,
    pub(super) cause: Option<Cause>,
    pub(super) next_attempt_at: Option<String>,
    pub(super) restarts: u64,
    pub(super) description: Option<String>,
    pub(super) dialect: Option<String>,
    pub(super) protocol_version: Option<String>,
    pub(super) tools: usize,
    #[serde(default)]
    pub(super) lists_changed: Option<ListsChanged>,
    #[serde(default)]
    pub(super) collisions: Vec<Collision>,
    #[serde(default)]
    pub(super) upgrade: Option<Upgrade>,
    pub(super) replicas: Option<Replicas>,
    pub(super) instances: Vec<Instance>,
    pub(super) in_force: Option<InForce>,
    pub(super) manifest: Manifest,
}

/// What its processes are bound by.
#[derive(Debug, Deserialize)]
pub(super) struct InForce {
    /// None of them runs: so it would be.
    #[serde(default)]
    pub(super) planned: bool,
    pub(super) containment: String,
    pub(super) limits: BTreeMap<String, String>,
    pub(super) sandbox: BTreeMap<String, String>,
    pub(super) gaps: Vec<String>,
}

/// A name or URI that several plugins list.
#[derive(Debug, Deserialize)]
pub(super) struct Collision {
    pub(super) kind: String,
    pub(super) key: String,
    pub(super) plugins: Vec<String>,
}

/// What it lists is other than before.
#[derive(Debug, Deserialize)]
pub(super) struct ListsChanged {
    pub(super) at: String,
    pub(super) after: String,
    pub(super) text: String,
}

/// How a new version took over, or did not.
#[derive(Debug, Deserialize)]
pub(super) struct Upgrade {
    pub(super) state: String,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) since: String,
    pub(super) until: Option<String>,
    pub(super) cause: Option<Cause>,
    pub(super) difference: Option<Difference>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Difference {
    pub(super) text: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Cause {
    pub(super) code: String,
    pub(super) detail: String,
    pub(super) remedy: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Instance {
    pub(super) n: u32,
    #[serde(default)]
    pub(super) revision: Option<u64>,
    pub(super) generation: u64,
    pub(super) pid: Option<u32>,
    pub(super) port: Option<u16>,
    pub(super) state: String,
    pub(super) since: String,
    pub(super) inflight: usize,
    pub(super) role: Option<String>,
    pub(super) breaker: Option<Breaker>,
    pub(super) rss_bytes: Option<u64>,
    pub(super) session: Option<String>,
    pub(super) last_exit: Option<LastExit>,
}

/// How many replicas it has.
#[derive(Debug, Deserialize)]
pub(super) struct Replicas {
    pub(super) manifest: u32,
    pub(super) wanted: u32,
}

/// Whether calls go to an instance.
#[derive(Debug, Deserialize)]
pub(super) struct Breaker {
    pub(super) state: String,
    pub(super) cause: Option<String>,
    pub(super) next_try_at: Option<String>,
    pub(super) opened: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct LastExit {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    #[serde(default = "unknown")]
    pub(super) cause: String,
    #[serde(default)]
    pub(super) oom: bool,
    pub(super) note: Option<String>,
    #[serde(default)]
    pub(super) uptime_ms: u64,
    pub(super) at: String,
    pub(super) stderr_tail: Vec<String>,
}

/// What a host of another version does not tell.
fn unknown() -> String {
    "unknown".to_owned()
}

#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) path: String,
    pub(super) problems: Vec<ManifestProblem>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ManifestProblem {
    #[serde(default)]
    pub(super) severity: String,
    pub(super) line: Option<u32>,
    pub(super) column: Option<u32>,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

pub(super) async fn run(args: &Args, host: &Client) -> Result<(), Complaint> {
    let mut url = host.path(&["api", "v1", "plugins"]);
    if let Some(state) = &args.only {
        url.query_pairs_mut().append_pair("state", state);
    }
    let body = host.get_bytes(url).await?;
    if args.json {
        return out::line(&String::from_utf8_lossy(&body));
    }
    let Plugins { plugins } = parse(&body)?;
    if plugins.is_empty() {
        out::note("no plugins; put a manifest into the plugins folder");
        return Ok(());
    }
    let now = SystemTime::now();
    let rows: Vec<Vec<String>> = plugins.iter().map(|plugin| row(plugin, now)).collect();
    let head = ["PLUGIN", "STATE", "SINCE", "PID", "RESTARTS", "TOOLS", "CAUSE"];
    out::data(&out::harmless(&table(&head, &rows)))
}

fn row(plugin: &Plugin, now: SystemTime) -> Vec<String> {
    let pids: Vec<String> =
        plugin.instances.iter().filter_map(|instance| instance.pid).map(|pid| pid.to_string()).collect();
    let pid = match pids.as_slice() {
        [] => "-".to_owned(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first}+{}", rest.len()),
    };
    let cause = plugin.cause.as_ref().map(|cause| first_line(&format!("{}: {}", cause.code, cause.detail)));
    // A plugin that runs by its last good manifest does not look well.
    let wrong = plugin.manifest.problems.iter().find(|problem| problem.severity == "error");
    let cause = cause
        .or_else(|| wrong.map(|wrong| first_line(&format!("its manifest is wrong now: {}", wrong.message))));
    vec![
        plugin.id.clone(),
        plugin.state.clone(),
        age(&plugin.since, now),
        pid,
        plugin.restarts.to_string(),
        plugin.tools.to_string(),
        cause.unwrap_or_default(),
    ]
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;

    use super::{Plugin, row};

    pub(crate) fn plugin() -> Plugin {
        serde_json::from_value(json!({
            "id": "db", "kind": "external", "state": "backoff", "since": "1970-01-01T00:00:00Z",
            "cause": {"code": "exited", "detail": "exited with code 1\nmore", "remedy": "look"},
            "next_attempt_at": null, "restarts": 3, "description": null, "dialect": "stdio",
            "protocol_version": null, "tools": 2,
            "lists_changed": {"at": "1970-01-01T00:00:30Z", "after": "start", "text": "tools: -x (none is left)", "lists": {}}, "instances": [
                {"n": 0, "generation": 4, "pid": 10, "port": null, "state": "backoff", "since": "1970-01-01T00:00:00Z",
                 "inflight": 0, "rss_bytes": 2097152,
                 "last_exit": {"cause": "exited", "uptime_ms": 90000, "oom": false, "code": 1, "signal": null, "note": "its JavaScript heap was full", "at": "1970-01-01T00:00:00Z", "stderr_tail": ["boom"]}},
                {"n": 1, "generation": 1, "pid": 11, "port": null, "state": "backoff", "since": "1970-01-01T00:00:00Z",
                 "inflight": 0, "rss_bytes": null, "session": "0a1b2c3d", "last_exit": null}],
            "collisions": [{"kind": "tool", "key": "x__t", "plugins": ["db", "x"]}],
            "manifest": {"path": "/p/db.toml", "problems": [{"line": 3, "column": 1, "message": "bad", "help": "better"}]},
            "in_force": {"containment": "pid_namespace", "limits": {"memory": "cgroup v1", "pids": "pid_max (up to 811)"},
                "sandbox": {"no_new_privs": "on"}, "gaps": ["limits.cpu = 0.5 is not held: no"]},
            "required": true, "unknown": 1
        }))
        .unwrap()
    }

    #[test]
    fn a_plugin_is_one_row() {
        let row = row(&plugin(), UNIX_EPOCH + Duration::from_secs(60));
        assert_eq!(row, ["db", "backoff", "60s", "10+1", "3", "2", "exited: exited with code 1"]);
    }

    #[test]
    fn a_wrong_manifest_shows_though_the_plugin_runs() {
        let mut running = plugin();
        running.cause = None;
        running.manifest.problems[0].severity = "error".to_owned();
        let row = row(&running, UNIX_EPOCH);
        assert_eq!(row.last().unwrap(), "its manifest is wrong now: bad");
    }
}
