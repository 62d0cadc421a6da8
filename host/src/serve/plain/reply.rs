//! An answer as it is written: its head, and its body where that is. One whose end is not known yet is none.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::StatusCode;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use wharf_core::digits::Digits;

use crate::serve::answer::{Outgoing, Tagged};

/// A body up to this length, in bytes, is copied behind its head: one piece costs less to write than two.
const SMALL: usize = 4 << 10;

/// What hyper writes, or goes by.
const OF_THE_CONNECTION: [HeaderName; 6] =
    [CONNECTION, CONTENT_LENGTH, DATE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// The head of an answer that is JSON and nothing else, up to its id.
const JSON: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: ";

thread_local! {
    /// The second that it is, and how that is written.
    static NOW: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// What is written.
pub(super) struct Reply {
    pub(super) head: Vec<u8>,
    /// Where it does not stand behind the head already.
    pub(super) body: Bytes,
}

impl Reply {
    /// The answer back, if it is not plain.
    pub(super) fn of(answer: Tagged) -> Result<Self, Box<Response>> {
        match answer {
            Tagged { answer: Outgoing::Json(body), id } => {
                let id = id.as_bytes();
                let mut head = Vec::with_capacity(192 + id.len() + body.len().min(SMALL));
                head.extend_from_slice(JSON);
                head.extend_from_slice(id);
                head.extend_from_slice(b"\r\n");
                end(&mut head, body.len());
                Ok(Self::with(head, body))
            }
            other => Self::of_response(other.into_response()),
        }
    }

    fn of_response(response: Response) -> Result<Self, Box<Response>> {
        let exact = response.body().size_hint().exact().and_then(|length| usize::try_from(length).ok());
        let Some((length, head)) = exact.and_then(|length| Some((length, head(&response, length)?))) else {
            return Err(Box::new(response));
        };
        let (parts, mut body) = response.into_parts();
        let body = match body.frame().now_or_never() {
            _ if length == 0 => Bytes::new(),
            Some(Some(frame)) => match frame.map(|frame| frame.into_data().unwrap_or_default()) {
                Ok(data) if data.len() == length => data,
                first => {
                    let all = stream::iter([first]).chain(body.into_data_stream());
                    return Err(Box::new(Response::from_parts(parts, Body::from_stream(all))));
                }
            },
            _ => return Err(Box::new(Response::from_parts(parts, body))),
        };
        Ok(Self::with(head, body))
    }

    fn with(mut head: Vec<u8>, body: Bytes) -> Self {
        if body.len() > SMALL {
            return Self { head, body };
        }
        head.extend_from_slice(&body);
        Self { head, body: Bytes::new() }
    }
}

/// The head of an answer with so long a body; `None` if it says anything of its connection, or has no body by its status.
fn head(response: &Response, length: usize) -> Option<Vec<u8>> {
    let (status, headers) = (response.status(), response.headers());
    let has_none = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if status.is_informational() || has_none {
        return None;
    }
    let lines: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut out = begun(status, 128 + lines + length.min(SMALL));
    for (name, value) in headers {
        if OF_THE_CONNECTION.contains(name) {
            return None;
        }
        line(&mut out, name.as_str(), value.as_bytes());
    }
    end(&mut out, length);
    Some(out)
}

/// The first line, with room for so many bytes in all.
fn begun(status: StatusCode, room: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(room);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("<none>").as_bytes());
    out.extend_from_slice(b"\r\n");
    out
}

/// What hyper writes last, and the end of the head.
fn end(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(Digits::decimal(length as u64).as_bytes());
    out.extend_from_slice(b"\r\ndate: ");
    NOW.with_borrow_mut(|(second, text)| {
        let now = SystemTime::now();
        let is = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if *second != is || text.is_empty() {
            (*second, *text) = (is, httpdate::fmt_http_date(now));
        }
        out.extend_from_slice(text.as_bytes());
    });
    out.extend_from_slice(b"\r\n\r\n");
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
