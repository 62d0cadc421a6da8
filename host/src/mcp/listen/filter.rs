//! What a client asks to be told, and which of it will be.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use wharf_core::splice;
use wharf_plugin_api::RpcError;

use super::super::forward::bad;

/// Resources of one listen, and tasks.
const MOST: usize = 256;

/// What is asked for. Kinds that are not known here are not honoured, which the acknowledgement shows.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Filter {
    #[serde(default, rename = "toolsListChanged")]
    pub(super) tools: bool,
    #[serde(default, rename = "promptsListChanged")]
    pub(super) prompts: bool,
    #[serde(default, rename = "resourcesListChanged")]
    pub(super) resources: bool,
    #[serde(default, rename = "resourceSubscriptions")]
    pub(super) uris: Vec<String>,
    #[serde(default, rename = "taskIds")]
    pub(super) tasks: Vec<String>,
}

impl Filter {
    /// # Errors
    /// -32602, if the params do not say what is wanted, or want too much.
    pub(super) fn read(params: Option<&RawValue>) -> Result<Self, RpcError> {
        let wanted = params.and_then(|params| splice::field(params, "notifications"));
        let wanted = wanted.filter(|wanted| wanted.get().starts_with('{'));
        let wanted = wanted.ok_or_else(|| bad("params.notifications must be an object"))?;
        let mut filter: Self = serde_json::from_str(wanted.get())
            .map_err(|error| bad(format!("params.notifications cannot be read: {error}")))?;
        for (what, wanted) in [("resources", &mut filter.uris), ("tasks", &mut filter.tasks)] {
            if wanted.len() > MOST {
                return Err(bad(format!(
                    "one listen takes at most {MOST} {what}; open another for the rest"
                )));
            }
            wanted.sort();
            wanted.dedup();
        }
        Ok(filter)
    }

    /// What will be told.
    pub(super) fn honoured(&self, uris: &[&str], tasks: &[&str]) -> Value {
        let lists = [
            ("toolsListChanged", self.tools),
            ("promptsListChanged", self.prompts),
            ("resourcesListChanged", self.resources),
        ];
        let lists = lists.into_iter().filter(|(_, wanted)| *wanted);
        let mut all: Map<_, _> = lists.map(|(key, _)| (key.to_owned(), Value::Bool(true))).collect();
        for (key, told) in [("resourceSubscriptions", uris), ("taskIds", tasks)] {
            if !told.is_empty() {
                all.insert(key.to_owned(), json!(told));
            }
        }
        Value::Object(all)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::to_raw_value;

    use super::Filter;

    #[test]
    fn a_filter_says_what_it_wants_or_is_refused() {
        let read = |value| Filter::read(Some(&to_raw_value(&json!({ "notifications": value })).unwrap()));
        let filter = read(
            json!({"toolsListChanged": true, "taskIds": ["t"], "resourceSubscriptions": ["b", "a", "b"]}),
        );
        let filter = filter.unwrap();
        assert_eq!((&filter.uris[..], &filter.tasks[..]), (&["a".into(), "b".into()][..], &["t".into()][..]));
        assert_eq!(
            filter.honoured(&["a"], &["t"]),
            json!({"toolsListChanged": true, "resourceSubscriptions": ["a"], "taskIds": ["t"]})
        );
        assert_eq!(read(json!({})).unwrap().honoured(&[], &[]), json!({}));
        let many: Vec<_> = (0..257).map(|n| n.to_string()).collect();
        for bad in [
            json!(null),
            json!([]),
            json!({"toolsListChanged": 1}),
            json!({"resourceSubscriptions": "a"}),
            json!({"resourceSubscriptions": [1]}),
            json!({ "resourceSubscriptions": many }),
            json!({ "taskIds": many }),
            json!({ "taskIds": "t" }),
        ] {
            assert_eq!(read(bad.clone()).unwrap_err().code, -32602, "{bad}");
        }
        assert_eq!(Filter::read(None).unwrap_err().code, -32602);
    }
}
