//! The dependency graph of the workspace as Cargo resolves it, features unified, without what only tests need.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The target that this is built on.
fn platform() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).arg("-vV").output().unwrap().stdout;
    let said = String::from_utf8(said).unwrap();
    said.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_owned()
}

pub(crate) struct Graph {
    /// Package name by package id.
    names: HashMap<String, String>,
    /// Names of optional dependencies by package name; of our own packages only.
    optional: HashMap<String, Vec<String>>,
    /// Package ids by package id.
    edges: HashMap<String, Vec<String>>,
}

impl Graph {
    pub(crate) fn of(root: &Path) -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let out = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--locked", "--offline"])
            // What other platforms need was not downloaded for this build.
            .args(["--filter-platform", &platform()])
            .current_dir(root)
            .output()
            .unwrap();
        assert!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
        let metadata: Value = serde_json::from_slice(&out.stdout).unwrap();

        let mut graph = Self { names: HashMap::new(), optional: HashMap::new(), edges: HashMap::new() };
        for package in list(&metadata["packages"]) {
            let name = text(&package["name"]);
            graph.names.insert(text(&package["id"]), name.clone());
            if package["source"].is_null() {
                let optional = list(&package["dependencies"]).iter().filter(|d| d["optional"] == true);
                graph.optional.insert(name, optional.map(|d| text(&d["name"])).collect());
            }
        }
        for node in list(&metadata["resolve"]["nodes"]) {
            let needed = |dep: &&Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
            let to = list(&node["deps"]).iter().filter(needed).map(|dep| text(&dep["pkg"])).collect();
            graph.edges.insert(text(&node["id"]), to);
        }
        graph
    }

    /// The names on the shortest way from one package to another.
    pub(crate) fn path(&self, from: &str, to: &str) -> Option<Vec<&str>> {
        let start = self.names.iter().find(|(_, name)| *name == from).expect(from).0;
        let mut seen: HashMap<&str, Option<&str>> = HashMap::from([(start.as_str(), None)]);
        let mut open = VecDeque::from([start.as_str()]);
        while let Some(at) = open.pop_front() {
            if self.names[at] == to {
                let back = std::iter::successors(Some(at), |at| seen[at]);
                let mut path: Vec<_> = back.map(|id| self.names[id].as_str()).collect();
                path.reverse();
                return Some(path);
            }
            for next in &self.edges[at] {
                if !seen.contains_key(next.as_str()) {
                    seen.insert(next, Some(at));
                    open.push_back(next);
                }
            }
        }
        None
    }

    pub(crate) fn optional(&self, package: &str) -> Vec<String> {
        self.optional[package].clone()
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
