//! How metrics are written: as OpenMetrics, or as the plain text that Prometheus read first. What they are about is not known
//! here.

use std::fmt;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use wharf_core::meter::Reading;

pub(crate) use prometheus_client::collector::Collector;

use super::families::{ALL, Family, Kind};

/// In which of the two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// Plain text, version 0.0.4.
    Plain,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// The values of one metric, on their way to the page.
#[derive(Debug)]
pub(crate) struct Samples<'a> {
    metric: MetricEncoder<'a>,
    labels: &'static [&'static str],
}

impl Exposition {
    /// The one that a client asks for by its `Accept`; plain text, if it does not name the other.
    #[must_use]
    pub fn wanted(accept: &str) -> Self {
        let names =
            |range: &str| range.trim_start().to_ascii_lowercase().starts_with("application/openmetrics-text");
        if accept.split(',').any(names) { Self::OpenMetrics } else { Self::Plain }
    }

    /// The type of its content.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The page of what a collector gives.
    ///
    /// # Errors
    /// Those of the collector; a text can be written always.
    pub(crate) fn page(self, collector: impl Collector) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(collector));
        let mut page = String::new();
        encode(&mut page, &registry)?;
        Ok(match self {
            Self::Plain => plain(&page),
            Self::OpenMetrics => page,
        })
    }
}

/// OpenMetrics names a counter without the `_total` that its values have; the plain text has one name for both. It knows no
/// end either.
fn plain(page: &str) -> String {
    let mut out = String::with_capacity(page.len() + 1024);
    for line in page.lines().filter(|line| *line != "# EOF") {
        let about = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        let name = about.and_then(|about| about.split(' ').next());
        let counter = name
            .filter(|name| ALL.iter().any(|family| family.kind == Kind::Counter && stem(family) == *name));
        match counter {
            Some(name) => out.push_str(&line.replacen(name, &format!("{name}_total"), 1)),
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

fn stem(family: &Family) -> &'static str {
    match family.kind {
        Kind::Counter => family.name.trim_end_matches("_total"),
        Kind::Gauge | Kind::Histogram => family.name,
    }
}

/// Writes one metric: what it is, then its values.
pub(crate) fn family(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family,
    values: impl FnOnce(&mut Samples<'_>) -> fmt::Result,
) -> fmt::Result {
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    let metric = encoder.encode_descriptor(stem(family), family.help, None, kind)?;
    values(&mut Samples { metric, labels: family.labels })
}

impl Samples<'_> {
    /// What is so now.
    pub(crate) fn gauge(&mut self, labels: &[&str], value: f64) -> fmt::Result {
        let labels = self.with(labels);
        self.metric.encode_family(&labels)?.encode_gauge(&value)
    }

    /// What only grows.
    pub(crate) fn counter(&mut self, labels: &[&str], value: impl EncodeCounterValue) -> fmt::Result {
        let labels = self.with(labels);
        self.metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    /// Durations.
    pub(crate) fn histogram(&mut self, labels: &[&str], read: &Reading) -> fmt::Result {
        let labels = self.with(labels);
        let mut metric = self.metric.encode_family(&labels)?;
        metric.encode_histogram::<NoLabelSet>(read.sum, read.count, &read.buckets, None)
    }

    fn with<'v>(&self, values: &[&'v str]) -> Vec<(&'static str, &'v str)> {
        self.labels.iter().copied().zip(values.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::time::Duration;

    use prometheus_client::encoding::DescriptorEncoder;
    use wharf_core::meter::Histogram;

    use super::{Collector, Exposition, family};
    use crate::telemetry::families::{OPERATION, RELOADS, UP};

    #[derive(Debug)]
    struct Some3;

    impl Collector for Some3 {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let histogram = Histogram::default();
            histogram.record(Duration::from_millis(20));
            let odd = ["tools/call", "p", "a\"b\\c\nd", "ok"];
            family(&mut encoder, &OPERATION, |all| all.histogram(&odd, &histogram.read()))?;
            family(&mut encoder, &UP, |all| all.gauge(&["p"], 1.0))?;
            family(&mut encoder, &RELOADS, |all| all.counter(&["ok"], 3_u64))
        }
    }

    #[test]
    fn both_ways_say_the_same_and_nothing_leaves_its_label() {
        let (plain, open) =
            (Exposition::Plain.page(Some3).unwrap(), Exposition::OpenMetrics.page(Some3).unwrap());
        let values = |page: &str| -> Vec<String> {
            page.lines().filter(|line| !line.starts_with('#')).map(ToOwned::to_owned).collect()
        };
        assert_eq!(values(&plain), values(&open));
        let tool = r#"tool="a\"b\\c\nd""#;
        let bucket = format!(
            r#"mcp_server_operation_duration_seconds_bucket{{le="0.02",method="tools/call",plugin="p",{tool},outcome="ok"}} 1"#
        );
        assert!(
            plain.contains(&bucket) || plain.contains(&format!(r#"{tool},outcome="ok",le="0.02"}} 1"#)),
            "{plain}"
        );
        assert!(plain.contains(r#"le="+Inf""#), "{plain}");
        assert!(plain.contains("# TYPE host_config_reloads_total counter\n"), "{plain}");
        assert!(plain.contains("# HELP host_config_reloads_total ") && !plain.contains("# EOF"), "{plain}");
        assert!(open.contains("# TYPE host_config_reloads counter\n") && open.ends_with("# EOF\n"), "{open}");
        assert!(plain.contains("host_config_reloads_total{result=\"ok\"} 3\n"), "{plain}");
    }

    #[test]
    fn open_metrics_is_for_who_names_it() {
        for (accept, open) in [
            ("", false),
            ("*/*", false),
            ("text/plain;version=0.0.4", false),
            ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", true),
            ("text/plain, Application/OpenMetrics-Text", true),
        ] {
            assert_eq!(Exposition::wanted(accept) == Exposition::OpenMetrics, open, "{accept}");
        }
    }
}
