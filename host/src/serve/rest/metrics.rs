//! `GET /metrics`, for Prometheus and what reads the same.

use axum::extract::State;
use axum::response::IntoResponse;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

use super::Edge;
use crate::serve::problem::Answer;
use crate::telemetry::Exposition;

pub(super) async fn page(State(edge): State<Edge>, headers: HeaderMap) -> Answer {
    let accepts: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let how = Exposition::wanted(&accepts.join(","));
    let page = edge.host.metrics(how).await?;
    Ok(([(CONTENT_TYPE, how.content_type())], page).into_response())
}
