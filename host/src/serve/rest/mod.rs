//! The routes of REST, one file per kind of thing. Each asks the host and writes down what it says.

mod admin;
mod book;
mod calls;
mod events;
mod input;
mod lists;
mod logs;
mod metrics;
mod params;
mod plugins;
mod progress;
mod room;
mod tools;
mod tries;
mod values;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode, Uri};
use serde::Serialize;
use wharf_core::Code;

use super::hot::Hot;
use super::mcp::McpEdge;
use super::problem::Problem;
use super::schema::Schemas;
use crate::Host;
use crate::mcp::Mcp;
use crate::tasks::Tasks;

/// What every route can use.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    host: Host,
    /// The MCP side of the host, which parks the calls that need input.
    mcp: Mcp,
    schemas: Arc<Schemas>,
    /// Those of the edge: when they end, streams without an end of their own do.
    tasks: Tasks,
}

pub(in crate::serve) use self::calls::found as call;
pub(in crate::serve) use self::tries::are_clear;
pub(in crate::serve) use self::values::found as value;

/// All routes, and those of them that carry calls once more.
pub(super) fn routes(host: Host, mcp: Mcp, tasks: Tasks) -> (Router, Hot) {
    let over_mcp = McpEdge::new(mcp.clone(), tasks.clone());
    let edge = Edge { host, mcp, schemas: Arc::default(), tasks };
    let router = router(edge.clone(), over_mcp.clone());
    (router, Hot { rest: edge, mcp: over_mcp })
}

fn router(edge: Edge, over_mcp: McpEdge) -> Router {
    let routes = Router::new()
        .route("/healthz", get(admin::healthz))
        .route("/readyz", get(admin::readyz))
        .route("/metrics", get(metrics::page))
        .route("/tools/{plugin}/{tool}", post(values::call))
        .route("/api/v1/info", get(admin::info))
        .route("/api/v1/reload", post(admin::reload))
        .route("/api/v1/operations/{id}", get(admin::operation))
        .route("/api/v1/calls", get(book::list))
        .route("/api/v1/calls/{id}", get(book::one))
        .route("/api/v1/calls/{id}/cancel", post(book::cancel))
        .route("/api/v1/events", get(events::stream))
        .route("/api/v1/tools", get(tools::list))
        .route("/api/v1/prompts", get(lists::prompts))
        .route("/api/v1/resources", get(lists::resources))
        .route("/api/v1/plugins", get(plugins::list))
        .route("/api/v1/plugins/{id}", get(plugins::one))
        .route("/api/v1/plugins/{id}/instances", get(plugins::instances))
        .route("/api/v1/plugins/{id}/logs", get(logs::read))
        .route("/api/v1/plugins/{id}/tools/{tool}", get(tools::one))
        .route("/api/v1/plugins/{id}/tools/{tool}/call", post(calls::call))
        .route("/api/v1/plugins/{id}/scale", post(plugins::scale))
        .route("/api/v1/plugins/{id}/{action}", post(plugins::command))
        .with_state(edge);
    with_fallbacks(routes.merge(super::mcp::routes(over_mcp)))
}

/// What no route takes is a problem as well.
pub(crate) fn with_fallbacks(routes: Router) -> Router {
    routes
        .method_not_allowed_fallback(|| async {
            Problem::new(
                Code::MethodNotAllowed,
                "the path is right, the method is not; the Allow header names those that are",
            )
        })
        .fallback(|uri: Uri| async move {
            Problem::new(Code::NotFound, format!("no route is named {:?}", uri.path()))
        })
}

/// A JSON answer.
fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => raw_json(status, bytes),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON; this is a bug of wharf");
            Problem::new(Code::Internal, "the answer could not be written as JSON").into_response()
        }
    }
}

/// A JSON answer that is written already.
fn raw_json(status: StatusCode, bytes: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(bytes.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
