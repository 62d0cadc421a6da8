//! Files that were written for other programs, accepted as they are. A format is told by its content, not by its name.
//!
//! A format turns each of its entries into a tree with the keys of our own manifests; the one checker does the rest
//! ([`mod@read`]). Entries of which a format says that they share a plugin are checked one by one, too, and become one plugin
//! with several targets ([`join`]). More formats are more files here, and a line in [`servers`].
//!
//! What each key of the YAML server map becomes is a table in `examples/multi-server/README.md`.

mod global_settings;
mod join;
mod mcp_servers;
mod read;
mod server_map;

use wharf_core::PluginId;

use super::problem::{Problem, Severity, Source};
use super::syntax::Syntax;
use super::tree::{Entry, Node, Spot, Value, escape};

pub(crate) use read::read;

/// What a foreign file declares.
#[derive(Debug)]
pub(crate) struct Servers {
    entries: Vec<Foreign>,
    /// About the file as a whole.
    remarks: Vec<Remark>,
}

/// An entry of a foreign file, put into our keys.
#[derive(Debug)]
struct Foreign {
    /// Its name in the file.
    name: String,
    /// Where its name stands.
    spot: Spot,
    /// Its pointer in the file.
    pointer: String,
    /// What it declares, or why that is nothing.
    root: Result<Node, &'static str>,
    /// Entries that name the same one are one plugin, which has its name.
    shares: Option<String>,
    /// What the format itself has to say of it.
    remarks: Vec<Remark>,
}

/// What a format says of a place in its file.
#[derive(Debug)]
struct Remark {
    severity: Severity,
    spot: Spot,
    pointer: String,
    message: String,
    help: Option<&'static str>,
}

/// The servers of a file, if it is in a foreign format.
pub(crate) fn servers(root: &Node, syntax: Syntax) -> Option<Servers> {
    match syntax {
        Syntax::Json => mcp_servers::servers(root),
        Syntax::Yaml => server_map::servers(root),
        Syntax::Toml => None,
    }
}

/// The id for a foreign name: lower case, other characters as `-`.
fn id_of(name: &str) -> Option<PluginId> {
    let plain: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' { c } else { '-' })
        .collect();
    PluginId::new(plain.trim_start_matches(['-', '_']).trim_end_matches('-')).ok()
}

/// Puts `node` at `path` of a table, which stands where `from` does.
fn put(root: &mut Node, path: &[&str], from: &Entry, node: Node) {
    let nested = path.iter().rev().fold(node, |node, key| {
        let entry = Entry { key: (*key).to_owned(), key_spot: from.key_spot, node };
        Node::new(Value::Table(vec![entry]), from.node.spot)
    });
    // The root stands where it stood.
    let spot = root.spot;
    root.merge(Node::new(nested.value, spot));
}

/// Warns of the first of these keys, and names them.
fn without_effect(keys: &[&Entry]) -> Option<Remark> {
    let first = keys.first()?;
    let mut names =
        keys.iter().take(10).map(|entry| format!("`{}`", entry.key)).collect::<Vec<_>>().join(", ");
    if keys.len() > 10 {
        names.push_str(", ..");
    }
    let message = format!("keys of another program have no effect here: {names}");
    Some(Remark::new(Severity::Warning, first, "", message))
}

// === impl Remark ===

impl Remark {
    /// About a key of the table at the pointer `table`.
    fn new(severity: Severity, entry: &Entry, table: &str, message: impl Into<String>) -> Self {
        let pointer = format!("{table}/{}", escape(&entry.key));
        Self { severity, spot: entry.key_spot, pointer, message: message.into(), help: None }
    }

    fn help(self, help: &'static str) -> Self {
        Self { help: Some(help), ..self }
    }

    fn into_problem(self, source: &std::sync::Arc<Source>) -> Problem {
        let problem = Problem::at(source, self.spot.range(), self.message);
        let help = self.help.map(str::to_owned);
        Problem { severity: self.severity, pointer: self.pointer, help, ..problem }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_become_ids() {
        for (name, id) in [
            ("github", Some("github")),
            ("My Server (v2)", Some("my-server--v2")),
            ("@scope/pkg", Some("scope-pkg")),
            ("a_b", Some("a_b")),
            ("Ä", None),
            ("", None),
        ] {
            assert_eq!(super::id_of(name).as_ref().map(|id| id.as_str()), id, "{name}");
        }
        assert!(super::id_of(&"x".repeat(65)).is_none());
    }
}
