//! Whose tasks are whose: a plugin that many share knows only one client, so it is we who keep principals apart.
//!
//! A task is noted when a plugin says its id in the answer to a call. The oldest notes make room for new ones.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::value::RawValue;
use wharf_core::{PluginId, splice};

/// Notes, at most.
const MOST: usize = 4096;

/// The tasks that were begun through this host.
#[derive(Debug, Default)]
pub(crate) struct TaskTable(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    by_task: HashMap<Key, Arc<str>>,
    /// The keys, the oldest first.
    order: VecDeque<Key>,
}

/// A task id is a plugin's own; two plugins may say the same.
type Key = (PluginId, Arc<str>);

impl TaskTable {
    /// Notes that a task is this principal's. Who has it keeps it.
    pub(crate) fn note(&self, principal: &Arc<str>, plugin: &PluginId, task: &str) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key: Key = (plugin.clone(), task.into());
        if notes.by_task.contains_key(&key) {
            return;
        }
        if notes.order.len() >= MOST
            && let Some(oldest) = notes.order.pop_front()
        {
            notes.by_task.remove(&oldest);
        }
        notes.order.push_back(key.clone());
        notes.by_task.insert(key, Arc::clone(principal));
    }

    /// Whether it is known that a task is this principal's.
    pub(crate) fn owns(&self, principal: &str, plugin: &PluginId, task: &str) -> bool {
        self.owner(plugin, task).is_some_and(|owner| *owner == *principal)
    }

    /// Whose a task is, if that is known.
    pub(crate) fn owner(&self, plugin: &PluginId, task: &str) -> Option<Arc<str>> {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.by_task.get(&(plugin.clone(), task.into())).cloned()
    }

    /// The list of a plugin's tasks without those that are known to be another principal's.
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
            id.and_then(|id| self.owner(plugin, &id)).is_some_and(|owner| *owner != *principal)
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
    fn the_oldest_notes_make_room() {
        let (table, p) = (TaskTable::default(), PluginId::new("p").unwrap());
        let ann: Arc<str> = "ann".into();
        for n in 0..=MOST {
            table.note(&ann, &p, &n.to_string());
        }
        assert!(!table.owns("ann", &p, "0") && table.owns("ann", &p, "1"));
        assert_eq!(table.0.lock().unwrap().by_task.len(), MOST);
    }
}
