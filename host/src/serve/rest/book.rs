//! Calls, as the host remembers them.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use wharf_core::Code;

use super::params::{Asked, Names};
use super::{Edge, json};
use crate::route::Wanted;
use crate::serve::problem::{Answer, Problem};

const OUTCOMES: [&str; 5] = ["running", "answered", "failed", "unknown", "cancelled"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    plugin: Option<String>,
    outcome: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn list(State(edge): State<Edge>, Asked(filter): Asked<Filter>) -> Answer {
    // A plugin that is gone has left calls, so any name may be asked for.
    let Filter { plugin, outcome, limit } = filter;
    if let Some(outcome) = outcome.as_deref().filter(|outcome| !OUTCOMES.contains(outcome)) {
        let detail = format!("no outcome is named {outcome:?}; it is one of {}", OUTCOMES.join(", "));
        return Err(Problem::new(Code::BadRequest, detail));
    }
    let calls = edge.host.calls(&Wanted { plugin, outcome, limit });
    Ok(json(StatusCode::OK, &json!({ "calls": calls })))
}

pub(super) async fn one(State(edge): State<Edge>, Names(id): Names<String>) -> Answer {
    Ok(json(StatusCode::OK, &edge.host.call_view(&id)?))
}

pub(super) async fn cancel(State(edge): State<Edge>, Names(id): Names<String>) -> Result<Response, Problem> {
    Ok(json(StatusCode::ACCEPTED, &edge.host.cancel(&id)?))
}
