//! The example's folder as a user has it beside `plugins/`, with its packages installed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::host::Setup;
use crate::support::servers::Servers;

/// The names of the registry's tools.
pub(super) const TOOLS: [&str; 8] = [
    "deregister_agent",
    "get_agent",
    "health_check",
    "list_agents",
    "register_agent",
    "search_agents",
    "stats",
    "update_agent",
];

/// `examples/registry`.
pub(super) fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/registry").canonicalize().expect("the example")
}

/// The packages that the example pins.
pub(super) fn packages() -> Servers {
    Servers::venv("registry", "../../examples/registry/requirements.txt")
}

/// Lays the example beside the plugin folder, where its manifests look for it.
pub(super) fn beside(setup: Setup) -> Setup {
    let home = setup.plugins().parent().expect("the test's folder").join("examples/registry");
    fs::create_dir_all(&home).expect("a fresh folder");
    symlink(example().join("src"), home.join("src")).expect("a link to the server");
    let python = packages().bin("python3");
    let venv = python.parent().and_then(Path::parent).expect("VENV/bin/python3");
    symlink(venv, home.join(".venv")).expect("a link to its packages");
    setup
}

/// A host with one of the example's manifests.
pub(super) fn with(id: &str) -> Setup {
    let text = fs::read(example().join(format!("{id}.toml"))).expect("the example's manifest");
    beside(Setup::new()).file(&format!("{id}.toml"), text)
}

/// Arguments of `register_agent`.
pub(super) fn agent(id: &str, capabilities: &[&str], tags: &[&str]) -> Value {
    json!({
        "agent_id": id,
        "agent_url": format!("http://{id}.example.com"),
        "description": format!("The one and only {id}"),
        "capabilities": capabilities,
        "tags": tags,
    })
}

/// The ids in an answer of `list_agents` or `search_agents`.
pub(super) fn ids(answer: &Value) -> Vec<&str> {
    let agents = answer["agents"].as_array().unwrap_or_else(|| panic!("no agents in {answer}"));
    assert_eq!(answer["count"], agents.len(), "{answer}");
    agents.iter().filter_map(|agent| agent["agent_id"].as_str()).collect()
}
