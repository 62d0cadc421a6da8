//! Server-sent events: frames that no payload can break, a keep-alive, and the headers of a stream.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName};
use wharf_plugin_api::jsonrpc::single_line;

use super::heads::{Heads, Line, text};

/// Without anything to say for this long, a comment tells that the stream lives.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The comment.
pub(crate) const PULSE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// Tells a proxy in front to pass each event at once.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The type of a stream.
const EVENT_STREAM: &str = "text/event-stream";

/// Whether the client wants a stream.
pub(crate) fn wanted(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|list| names(list.as_bytes()))
}

/// Likewise, by headers that were looked through.
pub(super) fn heard(heads: &Heads<'_>) -> bool {
    match heads.accept {
        Line::Nowhere => false,
        Line::Once(list) => names(list),
        Line::Often => wanted(heads.all),
    }
}

/// Whether a list of types has that of a stream.
fn names(list: &[u8]) -> bool {
    list.len() >= EVENT_STREAM.len()
        && text(list).is_some_and(|list| {
            list.split(',').any(|range| {
                let essence = range.split(';').next().unwrap_or_default();
                essence.trim().eq_ignore_ascii_case(EVENT_STREAM)
            })
        })
}

/// One event. `json` must be valid JSON: its line breaks, which are white space then, become spaces, so that it stays one line.
pub(crate) fn frame(event: &str, id: Option<&dyn fmt::Display>, json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(json.len() + event.len() + 40);
    if let Some(id) = id {
        out.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    let start = out.len();
    out.extend_from_slice(json);
    single_line(out.get_mut(start..).unwrap_or_default());
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// Answers with a stream of frames.
pub(crate) fn respond(frames: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let headers = [(CONTENT_TYPE, EVENT_STREAM), (CACHE_CONTROL, "no-store"), (UNBUFFERED, "no")];
    (headers, stream_body(frames)).into_response()
}

/// A body of chunks.
pub(crate) fn stream_body(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    use futures_util::StreamExt;
    Body::from_stream(chunks.map(Ok::<_, Infallible>))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::{frame, wanted};

    #[test]
    fn a_payload_with_line_breaks_stays_one_event() {
        let raw = b"{\r\n\"a\":\r1,\n\n\"event\": \"x\"}";
        let sent = frame("result", Some(&7), raw);
        assert_eq!(sent, "id: 7\nevent: result\ndata: {  \"a\": 1,  \"event\": \"x\"}\n\n");
    }

    #[test]
    fn a_frame_without_line_breaks_is_byte_identical() {
        let raw = "{ \"ä\" : 1.0e5,\"\\n\":\"\u{2028}\"}".as_bytes();
        assert_eq!(frame("log", None, raw), [b"event: log\ndata: ".as_slice(), raw, b"\n\n"].concat());
    }

    #[test]
    fn a_stream_is_made_only_for_who_asks() {
        let table = [
            ("text/event-stream", true),
            ("application/json, Text/Event-Stream;q=0.9", true),
            ("*/*", false),
            ("text/*", false),
        ];
        for (accept, expected) in table {
            let headers = HeaderMap::from_iter([(http::header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(wanted(&headers), expected, "{accept}");
        }
        assert!(!wanted(&HeaderMap::new()));
    }

    proptest::proptest! {
        #[test]
        fn no_json_breaks_a_frame(text in ".*", gap in "[ \r\n\t]{0,6}") {
            let json = format!("{{{gap}\"k\":{gap}{}}}", serde_json::to_string(&text).unwrap());
            let sent = String::from_utf8(frame("log", None, json.as_bytes()).to_vec()).unwrap();
            let data = sent.strip_prefix("event: log\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
            proptest::prop_assert!(!data.contains(['\r', '\n']));
            let back: serde_json::Value = serde_json::from_str(data).unwrap();
            proptest::prop_assert_eq!(&back["k"], &serde_json::Value::String(text));
        }
    }
}
