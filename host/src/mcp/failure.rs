//! The host's own failures as JSON-RPC errors, by the table of the API.
//!
//! What a plugin answers is never touched here: its errors pass as they came.

use serde::Serialize;
use serde_json::value::to_raw_value;
use wharf_core::{CallId, Code};
use wharf_plugin_api::{CallErrorKind, Delivery, RpcError};

use crate::route::Failure;

/// The request is not one.
pub(crate) const INVALID_REQUEST: i64 = -32600;
/// The host or the plugin's queue is full; try again later.
pub(crate) const BUSY: i64 = -32010;
/// A resource is not found, in the words of the legacy revisions.
pub(crate) const NO_RESOURCE: i64 = -32002;

#[derive(Serialize)]
struct Data<'a> {
    code: Code,
    detail: &'a str,
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
}

/// The error that a failure becomes.
pub(crate) fn error(failure: &Failure) -> RpcError {
    let millis = |wait: std::time::Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let data = Data {
        code: failure.code,
        detail: &failure.detail,
        plugin: failure.plugin.as_deref(),
        tool: failure.tool.as_deref(),
        call_id: failure.call_id.as_ref(),
        delivery: failure.delivery,
        kind: failure.kind,
        retry_after_ms: failure.retry_after.map(millis),
    };
    let message = match (failure.code, &failure.tool) {
        (Code::ToolNotFound, Some(tool)) => unknown("tool", tool),
        (code, _) => format!("{}: {}", code.title(), failure.detail),
    };
    RpcError { data: to_raw_value(&data).ok(), ..RpcError::new(number(failure.code), message) }
}

/// What the protocol's own examples say of a name that nobody offers.
pub(crate) fn unknown(what: &str, name: &str) -> String {
    format!("Unknown {what}: {name}")
}

fn number(code: Code) -> i64 {
    match code {
        Code::BadRequest | Code::TooLarge | Code::UnsupportedMediaType => INVALID_REQUEST,
        Code::PluginNotFound
        | Code::ToolNotFound
        | Code::CallNotFound
        | Code::OperationNotFound
        | Code::InvalidArguments => RpcError::INVALID_PARAMS,
        Code::RateLimited | Code::QueueFull | Code::Overloaded | Code::NotDurable => BUSY,
        Code::OutcomeUnknown => -32011,
        Code::PluginUnavailable => -32012,
        Code::NotDelivered => -32013,
        Code::ProtocolError | Code::SessionLost => -32014,
        Code::Deadline => -32015,
        Code::Cancelled => -32016,
        // Codes of the HTTP routes, which no request of an MCP client comes to.
        Code::Unauthorized
        | Code::Forbidden
        | Code::NotFound
        | Code::MethodNotAllowed
        | Code::InputRequired
        | Code::IdempotencyConflict
        | Code::ToolError
        | Code::Internal => RpcError::INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use wharf_core::Code;
    use wharf_plugin_api::Delivery;

    use super::error;
    use crate::route::Failure;

    #[test]
    fn every_code_has_a_number_that_json_rpc_allows() {
        for code in Code::ALL {
            let number = error(&Failure::new(*code, "why")).code;
            let own = (-32019..=-32000).contains(&number);
            assert!(own || [-32600, -32602, -32603].contains(&number), "{code:?} {number}");
        }
        assert_eq!(error(&Failure::new(Code::PluginUnavailable, "why")).code, -32012);
        assert_eq!(error(&Failure::new(Code::Deadline, "why")).code, -32015);
    }

    #[test]
    fn the_data_says_what_the_http_problem_would() {
        let failure = Failure {
            delivery: Some(Delivery::Unknown),
            retry_after: Some(Duration::from_millis(1500)),
            ..Failure::no_tool("p", "x")
        };
        let error = error(&failure);
        assert_eq!((error.code, error.message.as_str()), (-32602, "Unknown tool: x"));
        let data: Value = serde_json::from_str(error.data.unwrap().get()).unwrap();
        assert_eq!(data.get("code"), Some(&json!("tool_not_found")));
        assert_eq!(data.get("delivery"), Some(&json!("unknown")));
        assert_eq!(data.get("retry_after_ms"), Some(&json!(1500)));
        assert_eq!(data.get("call_id"), None);
    }
}
