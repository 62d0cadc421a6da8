//! A call as the API shows it.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use wharf_core::journal::{Outcome, RecoveredCall};
use wharf_core::{CallId, Code, Generation, InstanceNo};
use wharf_plugin_api::{CallErrorKind, Delivery};

use super::audit::ArgumentsView;
use super::trace::{Attempt, CallTrace, Progress};
use crate::journal::of_millis;

/// `/api/v1/calls/{id}`. Members that are not known are absent.
#[derive(Clone, Debug, Serialize)]
pub struct CallView {
    /// Which call.
    pub call_id: CallId,
    /// `running`, `answered`, `failed` (it did not run, or its answer was none), `unknown` (it was handed over, and nothing
    /// came back) or `cancelled`.
    pub outcome: &'static str,
    /// How far it got.
    pub delivery: Delivery,
    /// With which code it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Code>,
    /// Its plugin.
    pub plugin: String,
    /// The tool that it calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The MCP method.
    pub method: String,
    /// Who calls.
    pub principal: String,
    /// How its caller came in: `rest`, `legacy` and `modern` (MCP of that era) or `direct` (the embedding program).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<&'static str>,
    /// Whether its caller asked for a journal that survives the loss of power.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durable: Option<bool>,
    /// The caller's trace that it is part of, if the caller named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// When it began; of an earlier run of the host: when it was handed over last.
    #[serde(serialize_with = "crate::telemetry::rfc3339")]
    pub begun_at: SystemTime,
    /// From its begin to its end, or to now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    /// Of that, until its first attempt began: it waited for its turn, or for an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_ms: Option<f64>,
    /// Bytes that went to the plugin at each attempt: the params.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
    /// Bytes of the plugin's result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<usize>,
    /// Its arguments, as `audit.arguments` lets them be shown; absent where it had none, and of an earlier run of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<ArgumentsView>,
    /// It was a call of an earlier run of the host; the journal told of it.
    pub recovered: bool,
    /// What was tried, in order; in a list of calls only how often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<AttemptView>>,
    /// How often it was tried.
    pub tries: usize,
}

/// One attempt at a plugin. Times are milliseconds after the call's begin.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptView {
    /// Where.
    pub instance: InstanceNo,
    /// Which launch of it.
    pub generation: Generation,
    /// Instances that there were to pick from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<usize>,
    /// When it began.
    pub begun_ms: f64,
    /// When its first byte went out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_ms: Option<f64>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<f64>,
    /// How far it got.
    pub delivery: Delivery,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<AttemptError>,
}

/// Why an attempt failed.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptError {
    /// Connection, protocol, timeout, ..
    pub kind: CallErrorKind,
    /// In words.
    pub detail: String,
}

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Each attempt.
    All,
    /// How many attempts.
    InBrief,
}

fn millis(after: Duration) -> f64 {
    after.as_secs_f64() * 1000.0
}

fn of_micros(after: u64) -> f64 {
    millis(Duration::from_micros(after))
}

impl CallView {
    pub(super) fn of(call: &CallTrace, shown: Shown) -> Self {
        let (about, now) = (&call.about, call.snapshot());
        let end = now.end.as_ref();
        let delivery = end.map_or_else(
            || if call.was_handed_over() { Delivery::Unknown } else { Delivery::Queued },
            |end| end.delivery,
        );
        let duration = end.map_or_else(|| call.begun().elapsed(), |end| end.after);
        Self {
            call_id: about.id,
            outcome: end.map_or("running", |end| end.outcome.as_str()),
            delivery,
            error: end.and_then(|end| end.code),
            plugin: about.plugin.as_str().to_owned(),
            tool: call.tool_name().map(str::to_owned),
            method: about.method.clone().into_owned(),
            principal: about.principal.to_string(),
            edge: Some(about.edge.as_str()),
            durable: Some(about.durable),
            trace_id: about.trace_id.clone(),
            begun_at: call.began_at(),
            duration_ms: Some(millis(duration)),
            queue_ms: Some(now.first.as_ref().map_or(millis(duration), |first| of_micros(first.begun))),
            bytes_in: Some(call.bytes_in()),
            bytes_out: end.map(|end| end.bytes_out),
            arguments: about.arguments.view(),
            recovered: false,
            tries: now.attempts().count(),
            attempts: (shown == Shown::All).then(|| attempts(&now, delivery)),
        }
    }

    /// One of an earlier run.
    pub(super) fn recovered(call: &RecoveredCall) -> Self {
        let delivery = match call.outcome {
            Outcome::Answered => Delivery::Answered,
            Outcome::Failed | Outcome::Unknown | Outcome::Cancelled => Delivery::Unknown,
        };
        let took = call.ended_at.map(|ended| Duration::from_millis(ended.saturating_sub(call.sent_at)));
        Self {
            call_id: call.call,
            outcome: call.outcome.as_str(),
            delivery,
            error: call.code,
            plugin: call.plugin.to_string(),
            tool: (!call.tool.is_empty()).then(|| call.tool.to_string()),
            method: call.method.to_string(),
            principal: call.principal.to_string(),
            edge: None,
            durable: None,
            trace_id: None,
            begun_at: of_millis(call.sent_at),
            duration_ms: took.map(millis),
            queue_ms: None,
            bytes_in: None,
            bytes_out: None,
            arguments: None,
            recovered: true,
            tries: call.attempts as usize,
            attempts: Some(vec![AttemptView {
                instance: InstanceNo(call.instance),
                generation: Generation(call.generation),
                candidates: None,
                begun_ms: 0.0,
                sent_ms: Some(0.0),
                ended_ms: took.map(millis),
                delivery,
                error: None,
            }]),
        }
    }
}

/// Each attempt; the last one ended with the call if not before.
fn attempts(now: &Progress, delivery: Delivery) -> Vec<AttemptView> {
    let end = now.end.as_ref().map(|end| millis(end.after));
    now.attempts().map(|attempt| one(attempt, delivery, end)).collect()
}

fn one(attempt: &Attempt, delivery: Delivery, end: Option<f64>) -> AttemptView {
    let failed = attempt.failed.as_ref();
    AttemptView {
        instance: attempt.instance,
        generation: attempt.generation,
        candidates: Some(attempt.candidates),
        begun_ms: of_micros(attempt.begun),
        sent_ms: attempt.sent.map(of_micros),
        ended_ms: attempt.ended.map(of_micros).or(end),
        delivery: failed.map_or(delivery, |(_, delivery, _)| *delivery),
        error: failed.map(|(kind, _, detail)| AttemptError { kind: *kind, detail: detail.clone() }),
    }
}
