//! What plugins linked in their answers without listing it: who can be asked for it where several have resources.
//!
//! A URI says nothing of who has it, and it stays as the plugin wrote it: a client may open it by itself. So it is noted for
//! whom it was linked and by whom; the oldest notes make room. Where two link the same, the last one is asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use wharf_core::PluginId;

/// Notes of all principals.
const MOST: usize = 4096;
/// A longer URI is not noted.
const LONGEST: usize = 2048;

/// Who linked what.
#[derive(Debug, Default)]
pub(crate) struct Links(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    last: u64,
    by_uri: HashMap<Key, (PluginId, u64)>,
    order: BTreeMap<u64, Key>,
}

/// For whom, and what.
type Key = (Arc<str>, Arc<str>);

impl Links {
    /// Who linked this last, to this principal.
    pub(crate) fn of(&self, principal: &Arc<str>, uri: &str) -> Option<PluginId> {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.by_uri.get(&(Arc::clone(principal), uri.into())).map(|(plugin, _)| plugin.clone())
    }

    /// Notes a link.
    pub(crate) fn note(&self, principal: &Arc<str>, plugin: &PluginId, uri: &str) {
        if uri.len() > LONGEST {
            return;
        }
        // No critical section can panic half way.
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.last += 1;
        let (number, key): (u64, Key) = (notes.last, (Arc::clone(principal), uri.into()));
        if let Some((_, old)) = notes.by_uri.insert(key.clone(), (plugin.clone(), number)) {
            notes.order.remove(&old);
        }
        notes.order.insert(number, key);
        if notes.by_uri.len() > MOST
            && let Some((_, oldest)) = notes.order.pop_first()
        {
            notes.by_uri.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wharf_core::PluginId;

    use super::{Links, MOST};

    #[test]
    fn the_last_who_linked_it_is_known_to_whom_it_was_linked_and_notes_are_bounded() {
        let links = Links::default();
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        let [p, q] = ["p", "q"].map(|id| PluginId::new(id).unwrap());
        links.note(&one, &p, "x://a");
        links.note(&one, &q, "x://a");
        assert_eq!((links.of(&one, "x://a"), links.of(&two, "x://a")), (Some(q), None));
        for n in 0..MOST {
            links.note(&two, &p, &format!("x://{n}"));
        }
        let notes = links.0.lock().unwrap();
        assert_eq!((notes.by_uri.len(), notes.order.len()), (MOST, MOST));
        drop(notes);
        assert_eq!(links.of(&one, "x://a"), None, "the oldest made room");
    }
}
