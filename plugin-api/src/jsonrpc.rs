//! The JSON-RPC 2.0 envelope, read without touching what is inside.
//!
//! Payloads stay the bytes they came in, as [`RawValue`]; ids keep their exact spelling and type (`1` is not `"1"`, and
//! `1.0` is no id). A key that stands twice in an envelope is an error, since two readers could choose differently.

mod id;
mod reply;

use std::borrow::Cow;
use std::sync::Arc;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

pub use self::id::Id;

/// A request without its id: the id is the business of whoever owns the connection.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method, e.g. `tools/call`.
    pub method: Cow<'static, str>,
    /// The parameters as they came; `None` is absent, which is not `null`.
    pub params: Option<Arc<RawValue>>,
}

/// A message that wants no answer.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The method, e.g. `notifications/progress`.
    pub method: Cow<'static, str>,
    /// The parameters as they came.
    pub params: Option<Arc<RawValue>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The `result`, as it came.
    Result(Box<RawValue>),
    /// The `error`.
    Error(RpcError),
}

/// A JSON-RPC error object.
#[derive(Clone, Debug, Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// The code; -32768 to -32000 are reserved by JSON-RPC and MCP.
    pub code: i64,
    /// A short text.
    #[serde(default)]
    pub message: String,
    /// Anything more, as it came; `null` stays apart from absent.
    #[serde(default, deserialize_with = "present_owned")]
    pub data: Option<Box<RawValue>>,
    /// The object as a peer wrote it, with the members that nobody knows: this is what is passed on. Whoever changes one of
    /// the others changes it as well, or takes it out.
    #[serde(skip)]
    pub whole: Option<Arc<RawValue>>,
}

/// One message, borrowed from the bytes it was read from.
#[derive(Debug)]
pub enum Message<'a> {
    /// Wants an answer.
    Request {
        /// The sender's id for it.
        id: Id,
        /// The method.
        method: Cow<'a, str>,
        /// The parameters.
        params: Option<&'a RawValue>,
    },
    /// Wants none.
    Notification {
        /// The method.
        method: Cow<'a, str>,
        /// The parameters.
        params: Option<&'a RawValue>,
    },
    /// Answers a request of ours. The id is missing where the peer could not read it.
    Response {
        /// The id of the request that is answered.
        id: Option<Id>,
        /// The answer.
        reply: Reply,
    },
}

/// Why bytes are not a JSON-RPC message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Not JSON, or a key twice, or a key of the wrong type.
    #[error("not a JSON-RPC message: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON, but neither request, notification nor response.
    #[error("not a JSON-RPC message: {0}")]
    Shape(&'static str),
    /// An answer to this request, by its id, that is none.
    #[error("the answer is malformed: {why}")]
    Answer {
        /// The id that it names.
        id: Id,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The wire's own fields. The derive refuses a duplicate key; unknown keys of the envelope mean nothing and are skipped.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// A string, borrowed where it holds no escape. (The derive borrows a bare `Cow` only, not one inside of an `Option`.)
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Keeps `null` apart from absent.
fn present_owned<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

/// Likewise, borrowed.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Reads one message.
///
/// # Errors
/// If the bytes are not exactly one JSON-RPC 2.0 request, notification or response. Batches are refused.
pub fn parse(bytes: &[u8]) -> Result<Message<'_>, EnvelopeError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse_text(text),
        Err(_) => message_of(serde_json::from_slice(bytes)?),
    }
}

/// Reads one message of what is known to be text: that it is UTF-8 is not looked at again.
///
/// # Errors
/// If the text is not exactly one JSON-RPC 2.0 request, notification or response. Batches are refused.
pub fn parse_text(text: &str) -> Result<Message<'_>, EnvelopeError> {
    message_of(serde_json::from_str(text)?)
}

fn message_of(wire: Wire<'_>) -> Result<Message<'_>, EnvelopeError> {
    if wire.jsonrpc.is_none_or(|version| version.0 != "2.0") {
        return Err(EnvelopeError::Shape("\"jsonrpc\" is not \"2.0\""));
    }
    let id = match wire.id {
        None => None,
        Some(raw) if raw.get() == "null" => None,
        Some(raw) => {
            Some(Id::from_raw(raw).ok_or(EnvelopeError::Shape("\"id\" is neither a string nor an integer"))?)
        }
    };
    match (wire.method.map(|text| text.0), wire.result, wire.error) {
        (Some(method), None, None) => match (id, wire.id) {
            (Some(id), _) => Ok(Message::Request { id, method, params: wire.params }),
            (None, None) => Ok(Message::Notification { method, params: wire.params }),
            (None, Some(_)) => Err(EnvelopeError::Shape("a request's \"id\" is null")),
        },
        (None, Some(result), None) => Ok(Message::Response { id, reply: Reply::Result(result.to_owned()) }),
        (None, None, Some(error)) if error.get().starts_with('{') => {
            Ok(Message::Response { id, reply: Reply::Error(RpcError::from_raw(error)) })
        }
        (None, None, Some(_)) => Err(malformed(id, "\"error\" is no object")),
        (None, None, None) => Err(malformed(id, "neither \"method\", \"result\" nor \"error\"")),
        (None, Some(_), Some(_)) => Err(malformed(id, "both \"result\" and \"error\"")),
        (Some(_), _, _) => Err(EnvelopeError::Shape("more than one of \"method\", \"result\" and \"error\"")),
    }
}

/// The form of nearly every answer, told by its first letters: what is left to read is the text of the result, of which nothing is
/// known yet. What is not exactly so is for [`parse_text`], which reads key by key.
#[doc(hidden)]
#[must_use]
pub fn plain_answer(text: &str) -> Option<(Id, &str)> {
    let rest = text.strip_prefix(r#"{"jsonrpc":"2.0","id":"#)?;
    let (digits, rest) = rest.split_at(rest.bytes().position(|b| !b.is_ascii_digit())?);
    let result = rest.strip_prefix(r#","result":"#)?.strip_suffix('}')?;
    Some((Id::digits(digits)?, result))
}

/// What has an id and no method can only be an answer.
fn malformed(id: Option<Id>, why: &'static str) -> EnvelopeError {
    id.map_or(EnvelopeError::Shape(why), |id| EnvelopeError::Answer { id, why })
}

/// Writes a request. The bytes hold no line break outside of what JSON allows inside `params`; see [`single_line`].
#[must_use]
pub fn request(id: &Id, method: &str, params: Option<&RawValue>) -> Vec<u8> {
    message(Some(id), method, params)
}

/// Writes a notification.
#[must_use]
pub fn notification(method: &str, params: Option<&RawValue>) -> Vec<u8> {
    message(None, method, params)
}

/// Writes a response.
#[must_use]
pub fn response(id: &Id, reply: &Reply) -> Vec<u8> {
    let room = if let Reply::Result(raw) = reply { raw.get().len() } else { 0 };
    let mut out = begun_response(id, room);
    match reply {
        Reply::Result(raw) => {
            out.extend_from_slice(b",\"result\":");
            out.extend_from_slice(raw.get().as_bytes());
        }
        Reply::Error(error) => {
            out.extend_from_slice(b",\"error\":");
            out.extend_from_slice(&serde_json::to_vec(error).unwrap_or_default());
        }
    }
    out.push(b'}');
    out
}

/// Writes a response whose result has more members at its end than this one: `more` is them, without braces. What is no
/// object gets none.
#[must_use]
pub fn response_with(id: &Id, result: &RawValue, more: &str) -> Vec<u8> {
    let text = result.get();
    let inside = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).filter(|_| !more.is_empty());
    let comma: &[u8] = if inside.is_some_and(|inside| !inside.trim_ascii().is_empty()) { b"," } else { b"" };
    let mut out = begun_response(id, text.len() + inside.map_or(0, |_| comma.len() + more.len()));
    out.extend_from_slice(b",\"result\":");
    match inside {
        None => out.extend_from_slice(text.as_bytes()),
        Some(inside) => {
            out.push(b'{');
            out.extend_from_slice(inside.as_bytes());
            out.extend_from_slice(comma);
            out.extend_from_slice(more.as_bytes());
            out.push(b'}');
        }
    }
    out.push(b'}');
    out
}

/// The begin of a response, with room to the byte for a result so long: what has more is copied, or kept in two pieces.
fn begun_response(id: &Id, result: usize) -> Vec<u8> {
    const BEGIN: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":";
    let id = id.as_bytes();
    let mut out = Vec::with_capacity(BEGIN.len() + id.len() + b",\"result\":}".len() + result);
    out.extend_from_slice(BEGIN);
    out.extend_from_slice(id);
    out
}

/// Replaces every CR and LF by a space, in place. Legal on any validated JSON, whose strings hold neither as a byte; without
/// it pretty-printed arguments would smuggle a second message into a line or an SSE frame.
pub fn single_line(json: &mut [u8]) {
    let mut rest = json;
    // Nearly every message is one line already, and some are long.
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        let (line, behind) = rest.split_at_mut(at + 1);
        if let Some(end) = line.last_mut() {
            *end = b' ';
        }
        rest = behind;
    }
}

fn message(id: Option<&Id>, method: &str, params: Option<&RawValue>) -> Vec<u8> {
    let room = method.len() + params.map_or(0, |p| p.get().len()) + id.map_or(0, |id| id.as_bytes().len());
    let mut out = Vec::with_capacity(64 + room);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",");
    if let Some(id) = id {
        out.extend_from_slice(b"\"id\":");
        out.extend_from_slice(id.as_bytes());
        out.push(b',');
    }
    out.extend_from_slice(b"\"method\":");
    text(&mut out, method);
    if let Some(params) = params {
        out.extend_from_slice(b",\"params\":");
        out.extend_from_slice(params.get().as_bytes());
    }
    out.push(b'}');
    out
}

/// Writes a string. One without anything to escape, as every method has, is copied.
fn text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(&serde_json::to_vec(text).unwrap_or_default());
    }
}

// === impl Request, Notification ===

impl Request {
    /// A request with parameters that serialize.
    ///
    /// # Errors
    /// If `params` does not serialize.
    pub fn new(
        method: impl Into<Cow<'static, str>>,
        params: &impl Serialize,
    ) -> Result<Self, serde_json::Error> {
        Ok(Self { method: method.into(), params: Some(serde_json::value::to_raw_value(params)?.into()) })
    }

    /// A request without parameters.
    pub fn bare(method: impl Into<Cow<'static, str>>) -> Self {
        Self { method: method.into(), params: None }
    }
}

impl Notification {
    /// A notification without parameters.
    pub fn bare(method: impl Into<Cow<'static, str>>) -> Self {
        Self { method: method.into(), params: None }
    }
}

// === impl RpcError ===

impl RpcError {
    /// The method does not exist or is not available.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The parameters are wrong.
    pub const INVALID_PARAMS: i64 = -32602;
    /// A bug of the answering side.
    pub const INTERNAL: i64 = -32603;

    /// An error without data.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None, whole: None }
    }

    /// The error as a peer sent it. One that is not as JSON-RPC wants it (a code that is a string, a bare text) is still the
    /// answer of that request: it becomes an internal error with what was sent as its data.
    #[must_use]
    fn from_raw(raw: &RawValue) -> Self {
        match serde_json::from_str::<Self>(raw.get()) {
            Ok(error) => Self { whole: Some(raw.to_owned().into()), ..error },
            Err(_) => Self {
                data: Some(raw.to_owned()),
                ..Self::new(Self::INTERNAL, "the error object of the answer is malformed")
            },
        }
    }
}

impl Serialize for RpcError {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if let Some(whole) = &self.whole {
            return whole.serialize(to);
        }
        let members = 2 + usize::from(self.data.is_some());
        let mut object = to.serialize_struct("RpcError", members)?;
        object.serialize_field("code", &self.code)?;
        object.serialize_field("message", &self.message)?;
        if let Some(data) = &self.data {
            object.serialize_field("data", data)?;
        }
        object.end()
    }
}

#[cfg(test)]
mod tests;
