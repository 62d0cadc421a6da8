//! The mock's ledger: what really ran, whoever was told what.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// How many calls of a tool were begun.
pub(crate) fn runs(ledger: &Path, tool: &str) -> usize {
    count(ledger, tool, "begin")
}

/// How many calls of a tool came to this: `begin`, `end` or `cancelled`.
pub(crate) fn count(ledger: &Path, tool: &str, phase: &str) -> usize {
    let text = fs::read_to_string(ledger).unwrap_or_default();
    let lines =
        text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a ledger is lines of JSON"));
    lines.filter(|entry| entry["tool"] == tool && entry["phase"] == phase).count()
}
