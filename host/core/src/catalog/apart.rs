//! How two plugins that list one URI are kept apart where both are seen: each under its URI behind its plugin's id.
//!
//! `file:///a` of the plugin `my_files` becomes `my.files+file:///a`. A scheme has no `_` and begins with a letter. The
//! scheme `ui` is what clients know MCP apps by, so there the id stands behind it: `ui://my-files+a`.

use crate::id::PluginId;

const UI: &str = "ui://";

/// What stands before `+`: of no two plugins the same. An id has no `.`; and if one that begins with a digit gets a `p`, so
/// does each that looks as if it had got one.
fn label(plugin: &PluginId) -> String {
    let id = plugin.as_str().replace('_', ".");
    if id.trim_start_matches('p').starts_with(|c: char| c.is_ascii_digit()) { format!("p{id}") } else { id }
}

/// A URI, or a URI template, of a plugin where another plugin lists the same.
pub(super) fn apart(plugin: &PluginId, uri: &str) -> String {
    match uri.strip_prefix(UI) {
        Some(rest) => format!("{UI}{}+{rest}", label(plugin)),
        None => format!("{}+{uri}", label(plugin)),
    }
}

/// The plugin's own URI, if this is one of it kept apart.
pub(super) fn own(plugin: &PluginId, seen: &str) -> Option<String> {
    let behind = |text: &str| Some(text.strip_prefix(&label(plugin))?.strip_prefix('+')?.to_owned());
    match seen.strip_prefix(UI) {
        Some(rest) => Some(format!("{UI}{}", behind(rest)?)),
        None => behind(seen),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{apart, label, own};
    use crate::id::PluginId;

    #[test]
    fn a_uri_kept_apart_is_one_and_leads_back() {
        for (id, uri, seen) in [
            ("my_files", "file:///a", "my.files+file:///a"),
            ("my-files", "file:///a", "my-files+file:///a"),
            ("pp0", "file:///a", "ppp0+file:///a"),
            ("0x", "file:///a", "p0x+file:///a"),
            ("app", "ui://page/1", "ui://app+page/1"),
            ("app", "a+b://{c}", "app+a+b://{c}"),
        ] {
            let plugin = PluginId::new(id).unwrap();
            assert_eq!(apart(&plugin, uri), seen);
            assert_eq!(own(&plugin, seen).as_deref(), Some(uri));
            assert_eq!(own(&plugin, uri), None);
        }
    }

    #[test]
    fn no_two_ids_share_a_label() {
        let mut ids = vec!["p".to_owned(), "0".to_owned()];
        for n in 0..400 {
            let longer = ids[n].clone();
            ids.extend(["p", "0", "_", "-"].map(|letter| longer.clone() + letter));
        }
        let labels = ids.iter().map(|id| label(&PluginId::new(id).unwrap()));
        let labels: BTreeSet<String> = labels.collect();
        assert_eq!(labels.len(), ids.len());
        assert!(labels.iter().all(|label| label.starts_with(|c: char| c.is_ascii_lowercase())));
    }
}
