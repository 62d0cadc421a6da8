//! Files that were written for other programs, accepted as they are. A format is told by its content, not by its name.
//!
//! A format turns each of its entries into a tree with the keys of our own manifests; the one checker does the rest. More
//! formats are more files here, and a line in [`entries`].

mod mcp_servers;

use wharf_core::PluginId;

use super::tree::{Node, Spot};

/// An entry of a foreign file, put into our keys.
#[derive(Debug)]
pub(crate) struct Foreign {
    /// Its name in the file.
    pub(crate) name: String,
    /// Where its name stands.
    pub(crate) spot: Spot,
    /// Its pointer in the file.
    pub(crate) pointer: String,
    /// What it declares; `None` if it is no table.
    pub(crate) root: Option<Node>,
    /// Keys that mean nothing here, and what to know about each.
    pub(crate) ignored: Vec<(String, Spot, Option<&'static str>)>,
}

/// The entries of a file, if it is in a foreign format.
pub(crate) fn entries(root: &Node) -> Option<Vec<Foreign>> {
    mcp_servers::entries(root)
}

/// The id for a foreign name: lower case, other characters as `-`.
pub(crate) fn id_of(name: &str) -> Option<PluginId> {
    let plain: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' { c } else { '-' })
        .collect();
    PluginId::new(plain.trim_start_matches(['-', '_']).trim_end_matches('-')).ok()
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
