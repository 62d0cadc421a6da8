//! Failures as `application/problem+json` (RFC 9457). The only place that knows which status a code becomes.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use wharf_core::{CallId, Code};
use wharf_plugin_api::{CallErrorKind, Delivery, RpcError};

use crate::route::{Failure, FieldError};

/// What a route answers.
pub(crate) type Answer = Result<Response, Problem>;

/// A failure on its way out.
#[derive(Debug)]
pub(crate) struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    failure: Failure,
    rpc_error: Option<RpcError>,
}

/// The body. Members that do not apply are absent.
#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_id: Option<&'a CallId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<Delivery>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<CallErrorKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    /// The plugin's own JSON-RPC error, where it answered with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    rpc_error: Option<&'a RpcError>,
}

/// The status of a code.
pub(crate) fn status(code: Code) -> StatusCode {
    match code {
        Code::BadRequest => StatusCode::BAD_REQUEST,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::Unauthorized => StatusCode::UNAUTHORIZED,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::NotFound
        | Code::PluginNotFound
        | Code::ToolNotFound
        | Code::CallNotFound
        | Code::OperationNotFound => StatusCode::NOT_FOUND,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::InvalidArguments => StatusCode::UNPROCESSABLE_ENTITY,
        Code::InputRequired | Code::IdempotencyConflict => StatusCode::CONFLICT,
        Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Code::QueueFull | Code::Overloaded | Code::PluginUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::NotDelivered
        | Code::OutcomeUnknown
        | Code::ProtocolError
        | Code::SessionLost
        | Code::ToolError => StatusCode::BAD_GATEWAY,
        Code::NotDurable => StatusCode::INSUFFICIENT_STORAGE,
        Code::Deadline => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The status of a failure. A key that stands for other arguments than these is told apart from one that is in use.
fn status_of(failure: &Failure) -> StatusCode {
    if failure.code == Code::IdempotencyConflict && !failure.errors.is_empty() {
        return StatusCode::UNPROCESSABLE_ENTITY;
    }
    status(failure.code)
}

// === impl Problem ===

impl Problem {
    /// A failure of `code`.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Failure::new(code, detail).into()
    }

    /// The answer of a plugin that is a JSON-RPC error.
    pub(crate) fn with_rpc_error(failure: Failure, error: RpcError) -> Self {
        Self(Box::new(Inner { failure, rpc_error: Some(error) }))
    }

    pub(crate) fn code(&self) -> Code {
        self.0.failure.code
    }

    /// The body, as it goes into a response or into the `error` event of a stream.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let Inner { failure, rpc_error } = &*self.0;
        let body = Body {
            r#type: format!("urn:wharf:error:{}", failure.code.as_str()),
            title: failure.code.title(),
            status: status_of(failure).as_u16(),
            detail: &failure.detail,
            code: failure.code.as_str(),
            plugin: failure.plugin.as_deref(),
            tool: failure.tool.as_deref(),
            call_id: failure.call_id.as_ref(),
            delivery: failure.delivery,
            kind: failure.kind,
            retry_after_ms: failure
                .retry_after
                .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            errors: &failure.errors,
            rpc_error: rpc_error.as_ref(),
        };
        // Strings and numbers only: this does not fail.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self(Box::new(Inner { failure, rpc_error: None }))
    }
}

impl From<Box<Failure>> for Problem {
    fn from(failure: Box<Failure>) -> Self {
        (*failure).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let code = self.code();
        let mut response = (status_of(&self.0.failure), self.to_json()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = self.0.failure.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        if code == Code::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"wharf\""));
        }
        response
    }
}

/// The header knows seconds only: rounded up, so that nobody comes too early.
pub(crate) fn whole_seconds(after: Duration) -> u64 {
    after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::response::IntoResponse;
    use serde_json::{Value, json};
    use wharf_core::{CallId, Code};
    use wharf_plugin_api::{Delivery, RpcError};

    use super::{Problem, status, whole_seconds};
    use crate::route::Failure;

    /// The contract, row by row. A code that is new must be added here too.
    const TABLE: &[(&str, u16)] = &[
        ("bad_request", 400),
        ("too_large", 413),
        ("unsupported_media_type", 415),
        ("unauthorized", 401),
        ("forbidden", 403),
        ("not_found", 404),
        ("method_not_allowed", 405),
        ("plugin_not_found", 404),
        ("tool_not_found", 404),
        ("call_not_found", 404),
        ("operation_not_found", 404),
        ("invalid_arguments", 422),
        ("input_required", 409),
        ("idempotency_conflict", 409),
        ("rate_limited", 429),
        ("queue_full", 503),
        ("overloaded", 503),
        ("plugin_unavailable", 503),
        ("not_delivered", 502),
        ("outcome_unknown", 502),
        ("protocol_error", 502),
        ("session_lost", 502),
        ("not_durable", 507),
        ("deadline", 504),
        ("cancelled", 499),
        ("tool_error", 502),
        ("internal", 500),
    ];

    #[test]
    fn every_code_has_the_documented_status() {
        let real: Vec<_> = Code::ALL.iter().map(|code| (code.as_str(), status(*code).as_u16())).collect();
        assert_eq!(real, TABLE);
    }

    #[test]
    fn a_problem_tells_all_it_knows_and_nothing_else() {
        let failure = Failure {
            plugin: Some("db".into()),
            call_id: Some(CallId::new(1, 2)),
            delivery: Some(Delivery::NotDelivered),
            retry_after: Some(Duration::from_millis(1200)),
            ..Failure::new(Code::QueueFull, "64 calls wait already")
        };
        let problem = Problem::from(failure);
        let body: Value = serde_json::from_slice(&problem.to_json()).unwrap();
        assert_eq!(
            body,
            json!({
                "type": "urn:wharf:error:queue_full", "title": "The plugin's queue is full", "status": 503,
                "detail": "64 calls wait already", "code": "queue_full", "plugin": "db", "call_id": "c-00000001-2",
                "delivery": "not_delivered", "retry_after_ms": 1200,
            })
        );
        let response = problem.into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["retry-after"], "2");
    }

    #[test]
    fn a_plugins_own_error_is_shown_in_its_own_words() {
        let error = RpcError {
            data: Some(serde_json::value::to_raw_value(&[1]).unwrap()),
            ..RpcError::new(-32602, "no")
        };
        let body = Problem::with_rpc_error(Failure::new(Code::ProtocolError, "x"), error).to_json();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["rpc_error"], json!({"code": -32602, "message": "no", "data": [1]}));
    }

    #[test]
    fn a_missing_token_names_the_scheme() {
        let response = Problem::new(Code::Unauthorized, "x").into_response();
        assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"wharf\"");
    }

    #[test]
    fn retry_after_is_rounded_up() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
