//! `/metrics` as a monitor reads it: a small parser of the plain text, which refuses what a strict one would refuse.

use std::collections::{BTreeMap, BTreeSet};

use super::TestHost;

/// A page, parsed.
#[derive(Debug)]
pub(crate) struct Page {
    /// By name: its type.
    pub(crate) types: BTreeMap<String, String>,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Page {
    /// # Panics
    /// If the text is wrong: no HELP or TYPE before a value, a series twice, a label that does not end.
    pub(crate) fn parse(text: &str) -> Self {
        let (mut types, mut helps, mut seen, mut samples) =
            (BTreeMap::new(), BTreeSet::new(), BTreeSet::new(), Vec::new());
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').expect("a help says something");
                assert!(!words.is_empty() && helps.insert(name.to_owned()), "{line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type");
                assert!(helps.contains(name), "no HELP before {line}");
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                assert!(seen.insert(series.to_owned()), "a series twice: {series}");
                let (name, labels) = labels(series);
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                let known = types.contains_key(&name)
                    || family.is_some_and(|name| types.get(name).is_some_and(|kind| kind == "histogram"));
                assert!(known, "no TYPE before {line}");
                samples.push((name, labels, value.parse().expect("a number")));
            }
        }
        Self { types, samples }
    }

    /// The series of a name that have these labels.
    pub(crate) fn all<'a>(
        &'a self,
        name: &'a str,
        with: &'a [(&str, &str)],
    ) -> impl Iterator<Item = (&'a BTreeMap<String, String>, f64)> {
        let fits = move |labels: &BTreeMap<String, String>| {
            with.iter().all(|(key, value)| labels.get(*key).is_some_and(|has| has == value))
        };
        self.samples
            .iter()
            .filter(move |(has, labels, _)| has == name && fits(labels))
            .map(|(_, labels, value)| (labels, *value))
    }

    /// The sum of them; `None` if there is none.
    pub(crate) fn sum(&self, name: &str, with: &[(&str, &str)]) -> Option<f64> {
        self.all(name, with).map(|(_, value)| value).reduce(|sum, value| sum + value)
    }

    /// How many requests of a plugin ended so.
    pub(crate) fn ended(&self, plugin: &str, tool: &str, outcome: &str) -> f64 {
        let labels = [("plugin", plugin), ("tool", tool), ("outcome", outcome)];
        self.sum("mcp_server_operation_duration_seconds_count", &labels).unwrap_or_default()
    }

    /// The series that name a plugin.
    pub(crate) fn of_plugin(&self, plugin: &str) -> usize {
        self.samples
            .iter()
            .filter(|(_, labels, _)| labels.get("plugin").is_some_and(|has| has == plugin))
            .count()
    }
}

fn labels(series: &str) -> (String, BTreeMap<String, String>) {
    let Some((name, rest)) = series.split_once('{') else { return (series.to_owned(), BTreeMap::new()) };
    let (mut labels, mut chars) =
        (BTreeMap::new(), rest.strip_suffix('}').expect("a brace").chars().peekable());
    while chars.peek().is_some() {
        let key: String = chars.by_ref().take_while(|c| *c != '=').collect();
        assert_eq!(chars.next(), Some('"'), "{series}");
        let mut value = String::new();
        loop {
            match chars.next().expect("a label ends") {
                '"' => break,
                '\\' => match chars.next().expect("an escape") {
                    'n' => value.push('\n'),
                    escaped @ ('"' | '\\') => value.push(escaped),
                    other => panic!("\\{other} in {series}"),
                },
                plain => value.push(plain),
            }
        }
        assert!(matches!(chars.next(), None | Some(',')), "{series}");
        assert!(labels.insert(key, value).is_none(), "a label twice in {series}");
    }
    (name.to_owned(), labels)
}

impl TestHost {
    /// All metrics.
    pub(crate) async fn metrics(&self) -> Page {
        let answer = self.get("/metrics").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        Page::parse(&answer.text())
    }
}
