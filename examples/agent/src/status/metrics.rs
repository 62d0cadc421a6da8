//! The host's metrics, as far as the table needs them: requests of tools by their end, and breakers. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::counts::Count;

/// Requests and their time, by plugin, tool and end.
const OPERATION: &str = "mcp_server_operation_duration_seconds";
/// 1 for the state of an instance's breaker.
const BREAKER: &str = "host_breaker_state";

/// Breakers, the worst first.
const STATES: [&str; 3] = ["open", "half_open", "closed"];

/// A page of metrics.
pub(super) struct Page(Vec<Sample>);

struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Page {
    /// Reads a page; lines that are not understood are left out.
    pub(super) fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| line.starts_with(OPERATION) || line.starts_with(BREAKER));
        Self(lines.filter_map(sample).collect())
    }

    /// All calls of a plugin's tools.
    pub(super) fn of_plugin(&self, plugin: &str) -> Count {
        let mine = self.calls().filter(|(of, _, _)| *of == plugin);
        mine.fold(Count::default(), |all, (_, _, count)| all.and(count))
    }

    /// The calls of each tool, by `PLUGIN/TOOL`.
    pub(super) fn of_tools(&self) -> BTreeMap<String, Count> {
        let mut tools = BTreeMap::<String, Count>::new();
        for (plugin, tool, count) in self.calls() {
            let entry = tools.entry(format!("{plugin}/{tool}")).or_default();
            *entry = entry.and(count);
        }
        tools
    }

    /// The worst breaker of a plugin's instances.
    pub(super) fn breaker(&self, plugin: &str) -> Option<&'static str> {
        STATES.into_iter().find(|state| {
            self.0.iter().any(|Sample { name, labels, value }| {
                let has = |key: &str, wanted: &str| labels.get(key).is_some_and(|value| value == wanted);
                name == BREAKER && *value > 0.0 && has("plugin", plugin) && has("state", state)
            })
        })
    }

    /// Plugin, tool, and what one sample adds.
    fn calls(&self) -> impl Iterator<Item = (&str, &str, Count)> {
        self.0.iter().filter_map(|Sample { name, labels, value }| {
            let label = |key: &str| labels.get(key).map(String::as_str);
            if label("method") != Some("tools/call") {
                return None;
            }
            let count = match name.strip_prefix(OPERATION)? {
                "_sum" => Count { took: Duration::try_from_secs_f64(*value).ok()?, ..Count::default() },
                "_count" => {
                    let requests = Duration::try_from_secs_f64(*value).ok()?.as_secs();
                    let succeeded = if label("outcome") == Some("ok") { requests } else { 0 };
                    Count { requests, succeeded, took: Duration::ZERO }
                }
                _ => return None,
            };
            Some((label("plugin")?, label("tool")?, count))
        })
    }
}

/// `name{key="value",..} number`.
fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.strip_suffix('}')?.split_once('{')?;
    let mut found = BTreeMap::new();
    let mut rest = labels;
    while let Some((key, after)) = rest.split_once("=\"") {
        let (value, after) = quoted(after)?;
        found.insert(key.trim_start_matches(',').to_owned(), value);
        rest = after;
    }
    Some(Sample { name: name.to_owned(), labels: found, value: value.parse().ok()? })
}

/// A text up to its closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                plain => plain,
            }),
            plain => value.push(plain),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Count, Duration, Page};

    const PAGE: &str = r#"# TYPE mcp_server_operation_duration_seconds histogram
mcp_server_operation_duration_seconds_bucket{le="0.1",method="tools/call",plugin="p",tool="t",outcome="ok"} 3
mcp_server_operation_duration_seconds_sum{method="tools/call",plugin="p",tool="t",outcome="ok"} 0.3
mcp_server_operation_duration_seconds_count{method="tools/call",plugin="p",tool="t",outcome="ok"} 3
mcp_server_operation_duration_seconds_count{method="tools/call",plugin="p",tool="t",outcome="deadline"} 1
mcp_server_operation_duration_seconds_count{method="tools/list",plugin="p",tool="",outcome="ok"} 9
mcp_server_operation_duration_seconds_count{method="tools/call",plugin="q",tool="a\"},b",outcome="ok"} 1
host_breaker_state{plugin="p",instance="0",state="closed"} 1
host_breaker_state{plugin="p",instance="0",state="open"} 0
host_breaker_state{plugin="p",instance="1",state="half_open"} 1
what is this
"#;

    #[test]
    fn calls_are_summed_by_plugin_and_by_tool() {
        let page = Page::read(PAGE);
        let of_p = Count { requests: 4, succeeded: 3, took: Duration::from_millis(300) };
        assert_eq!(page.of_plugin("p"), of_p);
        assert_eq!(page.of_plugin("nobody"), Count::default());
        let tools = page.of_tools();
        assert_eq!(tools.keys().collect::<Vec<_>>(), ["p/t", "q/a\"},b"]);
        assert_eq!(tools.get("p/t"), Some(&of_p));
    }

    #[test]
    fn the_worst_breaker_counts() {
        let page = Page::read(PAGE);
        assert_eq!(page.breaker("p"), Some("half_open"));
        assert_eq!(page.breaker("q"), None);
    }
}
