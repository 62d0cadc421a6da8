//! What a case leaves: a row of the table, kept as a small file.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// A row of the table of cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) title: String,
    /// The level that the host said it had; `-` where there is no host.
    pub(crate) containment: String,
    /// `passed`, `FAILED`, or `skipped: ` and why.
    pub(crate) outcome: String,
    pub(crate) figures: Vec<(String, String)>,
    /// A process tree and who of it was left.
    pub(crate) survivors: Option<Survivors>,
    /// When it ended, RFC 3339.
    pub(crate) at: String,
}

/// A cell of the table of trees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Survivors {
    pub(crate) tree: String,
    /// Who was killed: `host`, `shim`, `host and shim`.
    pub(crate) killed: String,
    /// How many processes there were before.
    pub(crate) grown: usize,
    pub(crate) left: usize,
    /// From the kill until none was left (or until it was given up).
    pub(crate) took: String,
}

impl Row {
    pub(crate) fn new(id: &str, kind: &str, title: &str) -> Self {
        Self {
            id: id.to_owned(),
            kind: kind.to_owned(),
            title: title.to_owned(),
            containment: "-".to_owned(),
            outcome: "passed".to_owned(),
            figures: Vec::new(),
            survivors: None,
            at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        }
    }

    /// The file's name: the same case in the same containment has one row, the last.
    pub(crate) fn file(&self) -> String {
        let name = |text: &str| {
            text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect::<String>()
        };
        // Trees are measured once for each level; of all other cases the last run counts.
        let level = if self.survivors.is_some() { name(&self.containment) } else { String::new() };
        format!("{}_{}_{level}.json", self.id, name(&self.title))
    }
}
