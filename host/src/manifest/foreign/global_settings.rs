//! `global_settings` of a YAML server map: what its servers have where they say nothing themselves.

use super::server_map::{call_timeout, seconds};
use super::{Remark, put};
use crate::manifest::problem::Severity;
use crate::manifest::tree::{Entry, Node, Value};

/// The longest that a broken server is left alone unless a manifest says so, seconds: the default of `restart.max` and
/// of `breaker.max_open`.
const LONG: f64 = 60.0;
const BREAKER: &str = "/global_settings/circuit_breaker";
const TABLE: &str = "/global_settings";

/// The settings in our keys, for each server to be laid over.
pub(super) fn defaults(global: &Entry, remarks: &mut Vec<Remark>) -> Node {
    let mut root = Node::new(Value::Table(Vec::new()), global.node.spot);
    let Some(keys) = global.node.table() else {
        remarks.push(Remark::new(Severity::Error, global, "", "`global_settings` must be a table"));
        return root;
    };
    for entry in keys {
        take(&mut root, entry, remarks);
    }
    root
}

fn take(root: &mut Node, entry: &Entry, remarks: &mut Vec<Remark>) {
    match entry.key.as_str() {
        "default_timeout" => call_timeout(root, entry, TABLE, remarks),
        "max_concurrent_connections" => {
            put(root, &["limits", "concurrency"], entry, entry.node.clone());
        }
        "health_check_enabled" => {
            if flag(entry, remarks) == Some(false) {
                let none = Node::new(Value::Str("none".to_owned()), entry.node.spot);
                put(root, &["health", "probe"], entry, none);
            }
        }
        "reconnect_delay" => delay(root, ["restart", "initial"], "max", entry, TABLE, remarks),
        "log_level" => log_level(entry, remarks),
        "metrics_enabled" => {
            if flag(entry, remarks) == Some(false) {
                let message = "`metrics_enabled` has no effect: /metrics is always there, behind the token";
                remarks.push(Remark::new(Severity::Warning, entry, TABLE, message));
            }
        }
        "circuit_breaker" => match entry.node.table() {
            Some(keys) => keys.iter().for_each(|key| breaker(root, key, remarks)),
            None => {
                remarks.push(Remark::new(Severity::Error, entry, TABLE, "`circuit_breaker` must be a table"))
            }
        },
        other => unknown(other, entry, TABLE, remarks),
    }
}

fn breaker(root: &mut Node, entry: &Entry, remarks: &mut Vec<Remark>) {
    match entry.key.as_str() {
        "failure_threshold" => put(root, &["breaker", "consecutive"], entry, entry.node.clone()),
        "recovery_timeout" => delay(root, ["breaker", "open"], "max_open", entry, BREAKER, remarks),
        "half_open_max_calls" => put(root, &["breaker", "half_open"], entry, entry.node.clone()),
        other => unknown(other, entry, BREAKER, remarks),
    }
}

/// A delay that grows up to a longest one, which is never shorter than it.
fn delay(
    root: &mut Node,
    path: [&str; 2],
    most: &str,
    entry: &Entry,
    table: &str,
    remarks: &mut Vec<Remark>,
) {
    let Some((node, number)) = seconds(entry, table, remarks) else { return };
    if number > LONG {
        put(root, &[path[0], most], entry, node.clone());
    }
    put(root, &path, entry, node);
}

/// The log is the host's and not a plugin's. What it shows without a word is told as done.
fn log_level(entry: &Entry, remarks: &mut Vec<Remark>) {
    let level = entry.node.str().map(str::to_ascii_uppercase);
    match level.as_deref() {
        Some("INFO") => {}
        Some("DEBUG" | "WARN" | "WARNING" | "ERROR" | "CRITICAL" | "NOTSET") => {
            let message = "`log_level` has no effect: the log is the host's, and no file of a plugin sets it";
            let remark = Remark::new(Severity::Warning, entry, TABLE, message);
            remarks.push(remark.help("start the host with the environment variable LOG_LEVEL"));
        }
        _ => {
            let message = "`log_level` must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL";
            remarks.push(Remark::new(Severity::Error, entry, TABLE, message));
        }
    }
}

fn flag(entry: &Entry, remarks: &mut Vec<Remark>) -> Option<bool> {
    if let Value::Bool(on) = entry.node.value {
        return Some(on);
    }
    let message = format!("`{}` must be `true` or `false`", entry.key);
    remarks.push(Remark::new(Severity::Error, entry, TABLE, message));
    None
}

fn unknown(key: &str, entry: &Entry, table: &str, remarks: &mut Vec<Remark>) {
    let message = format!("the key `{key}` of another program has no effect here");
    remarks.push(Remark::new(Severity::Warning, entry, table, message));
}
