//! Whose a task is, on a face of several plugins: a task's id says nothing of its plugin, so it is noted as it passes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::value::RawValue;
use wharf_core::{PluginId, splice};

/// Tasks that are remembered; the oldest is forgotten for a new one.
const MOST: usize = 4096;
/// Longest id of a task that is remembered, bytes.
const LONGEST: usize = 256;

/// The owners of tasks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owners(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    owners: HashMap<String, PluginId>,
    order: VecDeque<String>,
}

impl Owners {
    /// Notes the task that a result says was begun, if it says so.
    pub(super) fn note(&self, result: &RawValue, plugin: &PluginId) {
        if splice::field(result, "resultType").map(RawValue::get) != Some("\"task\"") {
            return;
        }
        let id = splice::field(result, "taskId").and_then(|id| serde_json::from_str::<String>(id.get()).ok());
        let Some(id) = id.filter(|id| id.len() <= LONGEST) else { return };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.owners.get(&id) {
            // Nobody takes another's tasks over by naming one of its own like them.
            Some(owner) if owner != plugin => {
                tracing::warn!(task = id, %plugin, %owner, "a plugin's task has the id of another plugin's");
            }
            Some(_) => {}
            None => {
                if known.order.len() == MOST
                    && let Some(oldest) = known.order.pop_front()
                {
                    known.owners.remove(&oldest);
                }
                known.order.push_back(id.clone());
                known.owners.insert(id, plugin.clone());
            }
        }
    }

    /// Whose task this is.
    pub(super) fn of(&self, task: &str) -> Option<PluginId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).owners.get(task).cloned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use wharf_core::PluginId;

    use super::{MOST, Owners};

    #[test]
    fn a_task_belongs_to_whom_began_it() {
        let (owners, one, two) =
            (Owners::default(), PluginId::new("one").unwrap(), PluginId::new("two").unwrap());
        let note = |json: &str, plugin| owners.note(&RawValue::from_string(json.to_owned()).unwrap(), plugin);
        note(r#"{"resultType":"task","taskId":"a"}"#, &one);
        note(r#"{"resultType":"task","taskId":"a"}"#, &two);
        note(r#"{"resultType":"complete","taskId":"b"}"#, &one);
        note(&format!(r#"{{"resultType":"task","taskId":"{}"}}"#, "x".repeat(300)), &one);
        assert_eq!(owners.of("a"), Some(one.clone()));
        assert_eq!(owners.of("b"), None);
        for n in 0..MOST {
            note(&format!(r#"{{"resultType":"task","taskId":"{n}"}}"#), &two);
        }
        assert_eq!((owners.of("a"), owners.of("0")), (None, Some(two)));
        assert_eq!(owners.0.lock().unwrap().owners.len(), MOST);
    }
}
