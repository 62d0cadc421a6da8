//! The closed list of error codes that the API answers with.
//!
//! Which HTTP status or JSON-RPC number a code becomes is the edges' business, not decided here.

use serde::Serialize;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $title:literal;)+) => {
        /// Why a request failed. The names are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Code { $($(#[doc = $doc])+ $variant,)+ }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$variant),+];

            /// The name on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str { match self { $(Code::$variant => $name,)+ } }

            /// A short title, the same for every error of this code.
            #[must_use]
            pub fn title(self) -> &'static str { match self { $(Code::$variant => $title,)+ } }
        }
    };
}

codes! {
    /// The request is malformed.
    BadRequest = "bad_request", "The request is malformed";
    /// The request is over a bound.
    TooLarge = "too_large", "The request is too large";
    /// The body is not JSON.
    UnsupportedMediaType = "unsupported_media_type", "The body must be application/json";
    /// No token, or a wrong one.
    Unauthorized = "unauthorized", "A token is needed";
    /// Host, Origin or scope forbid it.
    Forbidden = "forbidden", "Not allowed";
    /// No such route.
    NotFound = "not_found", "There is nothing at this path";
    /// The route exists, but not for this method.
    MethodNotAllowed = "method_not_allowed", "Not with this HTTP method";
    /// No such plugin.
    PluginNotFound = "plugin_not_found", "No such plugin";
    /// No such tool.
    ToolNotFound = "tool_not_found", "No such tool";
    /// No such call, or it is forgotten.
    CallNotFound = "call_not_found", "No such call";
    /// No such operation, or it is forgotten.
    OperationNotFound = "operation_not_found", "No such operation";
    /// The arguments break the tool's schema.
    InvalidArguments = "invalid_arguments", "The arguments do not fit the tool's schema";
    /// The tool wants input that this route cannot carry.
    InputRequired = "input_required", "The tool asks for input";
    /// The idempotency key is in use for something else.
    IdempotencyConflict = "idempotency_conflict", "The idempotency key is in use";
    /// The caller's rate is used up.
    RateLimited = "rate_limited", "Too many requests";
    /// The plugin's queue is full.
    QueueFull = "queue_full", "The plugin's queue is full";
    /// The host is saturated.
    Overloaded = "overloaded", "The host is saturated";
    /// The plugin does not serve now; the detail says in which state it is.
    PluginUnavailable = "plugin_unavailable", "The plugin is not available";
    /// No byte reached the plugin.
    NotDelivered = "not_delivered", "The call did not reach the plugin";
    /// Handed over, no answer: it may have run.
    OutcomeUnknown = "outcome_unknown", "The outcome of the call is unknown";
    /// The plugin answered with what is not MCP, or with a JSON-RPC error.
    ProtocolError = "protocol_error", "The plugin's answer is not valid";
    /// The plugin's session is gone and could not be restored.
    SessionLost = "session_lost", "The plugin lost its session";
    /// It was asked to be durable, and the journal cannot be written; nothing ran.
    NotDurable = "not_durable", "The call cannot be made durable";
    /// The deadline passed.
    Deadline = "deadline", "The deadline passed";
    /// The caller cancelled it.
    Cancelled = "cancelled", "The call was cancelled";
    /// The tool itself answered with an error.
    ToolError = "tool_error", "The tool answered with an error";
    /// A bug of the host.
    Internal = "internal", "A bug of the host";
}
