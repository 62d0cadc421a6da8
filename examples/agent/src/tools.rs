//! The tools that the agent may use, and the namespaces that they stand in. Where they come from is not known here.

use std::collections::BTreeMap;

use serde_json::Value;

/// Between a namespace and the tool's own name.
const BETWEEN: &str = "__";

/// A tool, as the model is told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// As the server has it: `NAMESPACE__NAME`, or without a namespace.
    pub name: String,
    /// For the model.
    pub description: String,
    /// The JSON schema of its arguments.
    pub schema: Value,
}

/// The namespaces that may be used; all, if none is named.
#[derive(Clone, Debug, Default)]
pub struct Allowed(Vec<String>);

impl Tool {
    /// The namespace; empty if there is none.
    pub fn namespace(&self) -> &str {
        namespace(&self.name)
    }
}

/// The namespace of a tool's name; empty if there is none.
pub fn namespace(name: &str) -> &str {
    name.split_once(BETWEEN).map_or("", |(namespace, _)| namespace)
}

/// The tool's name without its namespace.
pub fn own_name(name: &str) -> &str {
    name.split_once(BETWEEN).map_or(name, |(_, own)| own)
}

/// How many tools there are in each namespace.
pub fn count(tools: &[Tool]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for tool in tools {
        *counts.entry(tool.namespace()).or_default() += 1;
    }
    counts
}

impl Allowed {
    /// Restricts to these; to nothing in particular if there are none.
    pub fn only(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().filter(|name| !name.is_empty()).collect())
    }

    /// Whether a tool may be used.
    pub fn has(&self, tool: &str) -> bool {
        self.has_namespace(namespace(tool))
    }

    /// Whether a namespace may be used.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|name| name == namespace)
    }

    /// Those of the tools that may be used.
    pub fn of(&self, tools: &[Tool]) -> Vec<Tool> {
        tools.iter().filter(|tool| self.has(&tool.name)).cloned().collect()
    }
}
