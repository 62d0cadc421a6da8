//! `wharf calls [ID]`: what calls do and did; and taking one back.

use std::time::SystemTime;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{ANSWER, Client, parse};
use super::exit::Complaint;
use super::out;
use super::table::{age, table};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show this call alone, with each attempt
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Take it back: it is cancelled at its plugin
    #[arg(long, requires = "id")]
    cancel: bool,
    /// Only calls of this plugin
    #[arg(long, conflicts_with = "id")]
    plugin: Option<String>,
    /// Only calls that are running, or came to answered, failed, unknown or cancelled
    #[arg(long, conflicts_with = "id")]
    outcome: Option<String>,
    /// At most so many, the newest
    #[arg(long, default_value_t = 50, conflicts_with = "id")]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Calls {
    calls: Vec<Call>,
}

#[derive(Deserialize)]
struct Call {
    call_id: String,
    outcome: String,
    delivery: String,
    error: Option<String>,
    plugin: String,
    tool: Option<String>,
    method: String,
    principal: String,
    edge: Option<String>,
    begun_at: String,
    duration_ms: Option<f64>,
    queue_ms: Option<f64>,
    bytes_in: Option<u64>,
    bytes_out: Option<u64>,
    arguments: Option<Arguments>,
    tries: usize,
    #[serde(default)]
    attempts: Vec<Attempt>,
}

/// What is shown of its arguments.
#[derive(Deserialize)]
struct Arguments {
    bytes: usize,
    sha256: Option<String>,
    value: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Attempt {
    instance: u32,
    generation: u64,
    begun_ms: f64,
    sent_ms: Option<f64>,
    ended_ms: Option<f64>,
    delivery: String,
    error: Option<AttemptError>,
}

#[derive(Deserialize)]
struct AttemptError {
    kind: String,
    detail: String,
}

pub(super) async fn run(args: &Args, host: &Client) -> Result<(), Complaint> {
    let body = match &args.id {
        Some(id) if args.cancel => {
            host.post(host.path(&["api", "v1", "calls", id, "cancel"]), None, Some(ANSWER)).await?
        }
        Some(id) => host.get_bytes(host.path(&["api", "v1", "calls", id])).await?,
        None => host.get_bytes(listed(args, host)).await?,
    };
    if args.json {
        return out::line(&String::from_utf8_lossy(&body));
    }
    if args.id.is_some() {
        return out::data(&out::harmless(&text(&parse(&body)?, SystemTime::now())));
    }
    let Calls { calls } = parse(&body)?;
    if calls.is_empty() {
        out::note("no calls");
        return Ok(());
    }
    let now = SystemTime::now();
    let rows: Vec<Vec<String>> = calls.iter().map(|call| row(call, now)).collect();
    out::data(&out::harmless(&table(&["CALL", "OUTCOME", "WHAT", "AGE", "TOOK", "TRIES"], &rows)))
}

fn listed(args: &Args, host: &Client) -> reqwest::Url {
    let mut url = host.path(&["api", "v1", "calls"]);
    url.query_pairs_mut().append_pair("limit", &args.limit.to_string());
    for (name, value) in [("plugin", &args.plugin), ("outcome", &args.outcome)] {
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    url
}

fn what(call: &Call) -> String {
    format!("{}/{}", call.plugin, call.tool.as_deref().unwrap_or(&call.method))
}

fn millis(millis: Option<f64>) -> String {
    millis.map(|millis| format!("{millis:.1} ms")).unwrap_or_default()
}

fn outcome(call: &Call) -> String {
    match &call.error {
        Some(error) => format!("{} ({error})", call.outcome),
        None => call.outcome.clone(),
    }
}

fn row(call: &Call, now: SystemTime) -> Vec<String> {
    vec![
        call.call_id.clone(),
        outcome(call),
        what(call),
        age(&call.begun_at, now),
        millis(call.duration_ms),
        call.tries.to_string(),
    ]
}

fn arguments(arguments: &Arguments) -> String {
    match (&arguments.value, &arguments.sha256) {
        (Some(value), _) => value.get().to_owned(),
        (None, Some(sha256)) => format!("{} bytes, sha256 {sha256}", arguments.bytes),
        (None, None) => format!("{} bytes", arguments.bytes),
    }
}

fn text(call: &Call, now: SystemTime) -> String {
    let mut text = format!("{}: {}\n", call.call_id, outcome(call));
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!("  {name:<10}{value}\n"));
        }
    };
    row("what", what(call));
    row("delivery", call.delivery.clone());
    let edge = call.edge.as_ref().map(|edge| format!(" by {edge}")).unwrap_or_default();
    row("caller", format!("{}{edge}", call.principal));
    row("begun", format!("{} ago", age(&call.begun_at, now)));
    row("took", millis(call.duration_ms));
    row("waited", millis(call.queue_ms));
    let bytes =
        call.bytes_in.zip(call.bytes_out).map(|(to, from)| format!("{to} to the plugin, {from} back"));
    row("bytes", bytes.unwrap_or_default());
    row("arguments", call.arguments.as_ref().map(arguments).unwrap_or_default());
    for (n, attempt) in call.attempts.iter().enumerate() {
        let sent = attempt.sent_ms.map_or("not sent".to_owned(), |at| format!("sent at {at:.1} ms"));
        let ended = attempt.ended_ms.map_or("goes on".to_owned(), |at| format!("ended at {at:.1} ms"));
        let failed = attempt.error.as_ref().map(|error| format!(": {}: {}", error.kind, error.detail));
        row(
            &format!("try {}", n + 1),
            format!(
                "instance {}#{} from {:.1} ms, {sent}, {ended}, {}{}",
                attempt.instance,
                attempt.generation,
                attempt.begun_ms,
                attempt.delivery,
                failed.unwrap_or_default()
            ),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;

    use super::{Call, row, text};

    fn call() -> Call {
        serde_json::from_value(json!({
            "call_id": "c-00000001-2", "outcome": "unknown", "delivery": "unknown", "error": "outcome_unknown",
            "plugin": "p", "tool": "t", "method": "tools/call", "principal": "token", "edge": "rest",
            "begun_at": "1970-01-01T00:00:00.000Z", "duration_ms": 12.34, "queue_ms": 0.1, "bytes_in": 7,
            "arguments": {"bytes": 7, "sha256": "ab12"}, "bytes_out": 0, "tries": 1, "recovered": false,
            "attempts": [{"instance": 0, "generation": 3, "begun_ms": 0.1, "sent_ms": 0.2, "ended_ms": 12.3,
                "delivery": "unknown", "error": {"kind": "connection", "detail": "it ended"}}],
        }))
        .unwrap()
    }

    #[test]
    fn a_call_is_told_in_a_line_and_in_full() {
        let now = UNIX_EPOCH + Duration::from_secs(60);
        assert_eq!(
            row(&call(), now),
            ["c-00000001-2", "unknown (outcome_unknown)", "p/t", "60s", "12.3 ms", "1"]
        );
        let text = text(&call(), now);
        assert!(text.contains("  arguments 7 bytes, sha256 ab12\n"), "{text}");
        assert!(text.contains("token by rest") && text.contains("7 to the plugin"), "{text}");
        let attempt =
            "instance 0#3 from 0.1 ms, sent at 0.2 ms, ended at 12.3 ms, unknown: connection: it ended";
        assert!(text.contains(attempt), "{text}");
    }
}
