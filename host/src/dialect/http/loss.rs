//! Whether a refusal says that the server has lost the session, so that the request was not run and may be posted again.
//!
//! A wrong yes runs a tool twice: only what no tool can have said counts. Our ids are integers, so a response with a
//! string for an id (common servers write "server-error") is nobody's answer, as is one without an id.

use http::StatusCode;
use wharf_plugin_api::{Id, Reply};

use super::Flavor;
use crate::dialect::web::Refused;

/// The code with which servers refuse a request for its session, beside status 400.
const NO_SESSION: i64 = -32000;
/// How the words of such a refusal begin, "Bad Request: " left away.
const WORDS: [&str; 11] = [
    "no valid session",
    "invalid session",
    "unknown session",
    "missing session",
    "session not found",
    "session expired",
    "session terminated",
    "session id",
    "no session",
    "mcp-session-id",
    "server not initialized",
];

/// Servers differ: 404 is the standard's word for a lost session, 400 with words about it is common.
pub(super) fn is_session_loss(flavor: Flavor, refused: &Refused) -> bool {
    let said = refused.response();
    if matches!(&said, Some((Some(id), _)) if is_ours(id)) {
        return false;
    }
    match (refused.status, flavor) {
        // Without sessions none can be lost.
        (_, Flavor::Modern) => false,
        (StatusCode::NOT_FOUND, _) => true,
        (StatusCode::BAD_REQUEST, Flavor::Http) => match said {
            Some((_, Reply::Error(error))) => error.code == NO_SESSION && is_about_session(&error.message),
            Some((_, Reply::Result(_))) => false,
            None => plain(&refused.body).is_some_and(is_about_session),
        },
        // This dialect has no code for it, and not always JSON-RPC.
        (StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED, Flavor::SsePost) => match said {
            Some((_, Reply::Error(error))) => is_about_session(&error.message),
            Some((_, Reply::Result(_))) => false,
            None => plain(&refused.body).is_some_and(is_about_session) || named(&refused.body),
        },
        (_, Flavor::Http | Flavor::SsePost) => false,
    }
}

fn is_ours(id: &Id) -> bool {
    id.as_u64().is_some()
}

fn is_about_session(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    let text =
        text.strip_prefix("bad request").map_or(text.as_str(), |rest| rest.trim_start_matches([':', ' ']));
    WORDS.iter().any(|words| text.starts_with(words))
}

/// A body that is a text and no JSON.
fn plain(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    (!text.trim_start().starts_with(['{', '[', '"'])).then_some(text)
}

/// `{"error": "..."}`.
fn named(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Named {
        error: String,
    }
    serde_json::from_slice(body).is_ok_and(|Named { error }| is_about_session(&error))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::super::Flavor;
    use super::is_session_loss;
    use crate::dialect::web::Refused;

    fn lost(flavor: Flavor, status: u16, body: &str) -> bool {
        let status = StatusCode::from_u16(status).expect("a status");
        is_session_loss(flavor, &Refused { status, body: body.as_bytes().to_vec() })
    }

    fn error(id: &str, code: i32, message: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#)
    }

    #[test]
    fn what_servers_say_of_a_lost_session_is_known() {
        for (status, body) in [
            (404, String::new()),
            (404, "Session not found".to_owned()),
            (404, error("null", -32001, "Session not found")),
            (404, error("\"server-error\"", -32600, "Session not found")),
            (400, error("null", -32000, "Bad Request: No valid session ID provided")),
            (400, error("null", -32000, "Bad Request: Server not initialized")),
            (400, "Bad Request: No valid session ID provided".to_owned()),
        ] {
            assert!(lost(Flavor::Http, status, &body), "{status} {body}");
        }
    }

    #[test]
    fn what_a_tool_can_have_said_is_no_lost_session() {
        for (status, body) in [
            (404, error("7", -32001, "Session not found")),
            (400, error("7", -32000, "No valid session ID provided")),
            (400, error("null", -32000, "browser session closed during click")),
            (400, error("null", -32602, "Session not found")),
            (400, r#"{"error":"No valid session"}"#.to_owned()),
            (400, "the click failed: session not found".to_owned()),
            (401, "Session expired".to_owned()),
            (500, "Session not found".to_owned()),
        ] {
            assert!(!lost(Flavor::Http, status, &body), "{status} {body}");
        }
        assert!(!lost(Flavor::SsePost, 400, &error("7", -32000, "Invalid session")));
        assert!(!lost(Flavor::SsePost, 401, "the browser's session expired"));
    }
}
