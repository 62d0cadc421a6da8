//! Whose tasks are whose: a plugin that many share knows only one client, so it is we who keep principals apart.
//!
//! A task is noted when a plugin says its id in the answer to a call. A principal's oldest notes make room for its own new
//! ones; from then on a task of that plugin that nobody is known to have is nobody's.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;
use wharf_core::{PluginId, splice};

/// Notes of one principal, at most. There are as many principals as the edge can tell apart: a handful.
const MOST: usize = 4096;

/// The tasks that were begun through this host.
#[derive(Debug, Default)]
pub(crate) struct TaskTable(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    by_task: HashMap<Key, Arc<str>>,
    /// The keys of each principal, the oldest first.
    order: HashMap<Arc<str>, VecDeque<Key>>,
    /// Plugins of which a note was dropped.
    forgotten: BTreeSet<PluginId>,
}

/// A task id is a plugin's own; two plugins may say the same.
type Key = (PluginId, Arc<str>);

impl Notes {
    fn owner(&self, plugin: &PluginId, task: &str) -> Option<&Arc<str>> {
        self.by_task.get(&(plugin.clone(), task.into()))
    }
}

impl TaskTable {
    fn locked(&self) -> MutexGuard<'_, Notes> {
        // No critical section can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a task is this principal's. Who has it keeps it.
    pub(crate) fn note(&self, principal: &Arc<str>, plugin: &PluginId, task: &str) {
        let mut notes = self.locked();
        let key: Key = (plugin.clone(), task.into());
        if notes.by_task.contains_key(&key) {
            return;
        }
        let own = notes.order.entry(Arc::clone(principal)).or_default();
        let oldest = if own.len() >= MOST { own.pop_front() } else { None };
        own.push_back(key.clone());
        if let Some(oldest) = oldest {
            notes.by_task.remove(&oldest);
            notes.forgotten.insert(oldest.0);
        }
        notes.by_task.insert(key, Arc::clone(principal));
    }

    /// Whether it is known that a task is this principal's.
    pub(crate) fn owns(&self, principal: &str, plugin: &PluginId, task: &str) -> bool {
        self.locked().owner(plugin, task).is_some_and(|owner| **owner == *principal)
    }

    /// Whether a task can be this principal's: it is, or nobody began it through us, which is only known while no note of
    /// the plugin was dropped.
    pub(crate) fn may_be_of(&self, principal: &str, plugin: &PluginId, task: &str) -> bool {
        let notes = self.locked();
        match notes.owner(plugin, task) {
            Some(owner) => **owner == *principal,
            None => !notes.forgotten.contains(plugin),
        }
    }

    /// The list of a plugin's tasks without those that are, or may be, another principal's.
    pub(crate) fn without_others(
        &self,
        principal: &str,
        plugin: &PluginId,
        result: Box<RawValue>,
    ) -> Box<RawValue> {
        let Some(tasks) = splice::field(&result, "tasks") else { return result };
        let Some(all) = splice::items(tasks.get().as_bytes(), usize::MAX) else { return result };
        let others = |task: &&RawValue| {
            let id = splice::field(task, "taskId");
            let id: Option<String> = id.and_then(|id| serde_json::from_str(id.get()).ok());
            id.is_some_and(|id| !self.may_be_of(principal, plugin, &id))
        };
        if !all.iter().any(others) {
            return result;
        }
        let kept: Vec<_> = all.into_iter().filter(|task| !others(task)).map(RawValue::get).collect();
        let kept = RawValue::from_string(format!("[{}]", kept.join(","))).ok();
        let edited = kept.and_then(|kept| splice::with_field(&result, "tasks", &kept));
        // What cannot be taken apart is not shown.
        edited.unwrap_or_else(|| RawValue::from_string(r#"{"tasks":[]}"#.to_owned()).unwrap_or(result))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wharf_core::PluginId;
    use wharf_plugin_api::RawValue;

    use super::{MOST, TaskTable};

    #[test]
    fn a_task_is_its_principals_alone() {
        let (table, p, q) = (TaskTable::default(), PluginId::new("p").unwrap(), PluginId::new("q").unwrap());
        let ann: Arc<str> = "ann".into();
        table.note(&ann, &p, "1");
        table.note(&"bob".into(), &p, "1");
        assert!(table.owns("ann", &p, "1"));
        assert!(!table.owns("bob", &p, "1") && !table.owns("ann", &q, "1"));
        let list =
            RawValue::from_string(r#"{"tasks":[{"taskId":"1"}, {"taskId":"2","n":1.0}]}"#.into()).unwrap();
        assert_eq!(table.without_others("ann", &p, list.clone()).get(), list.get());
        let bobs = table.without_others("bob", &p, list);
        assert_eq!(bobs.get(), r#"{"tasks":[{"taskId":"2","n":1.0}]}"#);
    }

    #[test]
    fn a_principals_oldest_notes_make_room_for_its_own_and_are_then_nobodys() {
        let (table, p, q) = (TaskTable::default(), PluginId::new("p").unwrap(), PluginId::new("q").unwrap());
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann".into(), "bob".into());
        table.note(&bob, &p, "bobs");
        assert!(table.may_be_of("ann", &p, "unheard-of"), "nobody began it through us");
        for n in 0..=MOST {
            table.note(&ann, &p, &n.to_string());
        }
        assert!(!table.owns("ann", &p, "0") && table.owns("ann", &p, "1"));
        assert!(table.owns("bob", &p, "bobs"), "what another does drops no note of his");
        assert_eq!(table.0.lock().unwrap().by_task.len(), MOST + 1);
        for principal in ["ann", "bob"] {
            assert!(!table.may_be_of(principal, &p, "0") && table.may_be_of(principal, &q, "0"));
        }
        let list = RawValue::from_string(r#"{"tasks":[{"taskId":"0"},{"taskId":"bobs"}]}"#.into()).unwrap();
        assert_eq!(table.without_others("bob", &p, list).get(), r#"{"tasks":[{"taskId":"bobs"}]}"#);
    }
}
