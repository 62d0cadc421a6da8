//! Which era a message is of, and whether a modern one may be looked at: decided once, by the message first and by its
//! head only where the message says nothing.
//!
//! Pure: bytes and the few facts of the head come in, a verdict goes out. It knows no transport; one without a head (a
//! pipe) asks with `None`, and every rule about the head falls away. That a method exists, that a capability is there, and
//! the `Mcp-Param-*` of a tool are decided where these are known, after this.
//!
//! The rules, in order (the numbers are those of the ladder in the specification's guide for servers of both eras):
//!
//! | # | what | verdict |
//! |---|---|---|
//! | 1 | bytes that are no JSON, or no message | -32700, -32600 |
//! | 2 | an array: with a modern element, or under a modern head | -32600; else a legacy batch |
//! | 2 | an answer: under a modern head | -32600; else legacy |
//! | 3 | `_meta` names a revision: that one's era, whatever the method; the head says another | -32020 |
//! | 4 | an envelope that lacks a key, or holds a bad one | -32602, `data` names the keys |
//! | 5 | no claim: the head names a modern revision | -32602; else legacy |
//! | 6 | modern: a revision that is not spoken here | -32022 |
//! | 6 | modern: `MCP-Protocol-Version`, `Mcp-Method` or `Mcp-Name` missing, or other than the message | -32020 |

mod envelope;
mod head;
#[cfg(test)]
mod hostile;
mod repeated;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use wharf_core::splice::{self, Look};
use wharf_plugin_api::jsonrpc::{self, EnvelopeError, Message};
use wharf_plugin_api::{Era, Id, Reply, RpcError};

pub(crate) use self::envelope::Envelope;
use self::envelope::Meta;
pub(crate) use self::head::{Head, decoded, trimmed};
use super::ModernRequest;
use super::exchange::{AnswerKind, Answered};
use super::forward::known;
use super::params::{Looked, Params};

/// The modern revisions that are spoken here.
pub(crate) const MODERN: [&str; 1] = ["2026-07-28"];
/// A revision that is not spoken here.
pub(crate) const UNSUPPORTED_VERSION: i64 = -32022;
/// The head and the message disagree.
pub(crate) const HEADER_MISMATCH: i64 = -32020;
/// Not JSON.
const PARSE_ERROR: i64 = -32700;
/// JSON, but not a message that can be sent here.
const INVALID_REQUEST: i64 = -32600;
/// The legacy revisions that there are; anything else in an envelope claims to be modern.
pub(crate) const LEGACY: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
/// Messages of one batch. As many as a session may have in flight, twice.
const MOST_IN_BATCH: usize = 128;

/// What a body is.
#[derive(Clone, Debug)]
pub(crate) enum Classified {
    Legacy(LegacyBody),
    Modern(ModernMessage),
}

/// What a legacy client sends at once.
#[derive(Clone, Debug)]
pub(crate) enum LegacyBody {
    One(LegacyMessage),
    /// Allowed by 2025-03-26 only; whoever knows the session's revision decides. Never empty.
    Batch(Vec<LegacyMessage>),
}

/// A message of a legacy client.
#[derive(Clone, Debug)]
pub(crate) enum LegacyMessage {
    Request { id: Id, method: Cow<'static, str>, params: Option<Params> },
    Notification { method: String, params: Option<Arc<RawValue>> },
    Response { id: Option<Id>, reply: Reply },
}

/// A message of a modern client.
#[derive(Clone, Debug)]
pub(crate) enum ModernMessage {
    /// Ready for [`super::Mcp::modern`].
    Request(ModernRequest),
    /// Needs no envelope. On a pipe one without an envelope is told as legacy, since nothing says what it is.
    Notification { method: String, params: Option<Arc<RawValue>> },
}

/// A message that goes no further. It is always the sender's mistake, so its kind is [`AnswerKind::BadRequest`].
#[derive(Clone, Debug)]
pub(crate) struct Rejection {
    /// Of the request; `None` where none could be read, or where there was none.
    pub(crate) id: Option<Id>,
    pub(crate) error: RpcError,
}

/// Gives every body its one verdict.
///
/// # Errors
/// The answer, if the body is refused.
pub(crate) fn classify(head: Option<&Head<'_>>, body: &[u8]) -> Result<Classified, Rejection> {
    if body.trim_ascii_start().first() == Some(&b'[') {
        return batch(head, body).map(|batch| Classified::Legacy(LegacyBody::Batch(batch)));
    }
    let (message, looked) = match plain(body) {
        Some(plain) => plain,
        None => {
            let message = jsonrpc::parse(body).map_err(|error| unreadable(body, &error))?;
            let looked = params_of(&message).map(Looked::at);
            (message, looked)
        }
    };
    let looked = looked.as_ref();
    match message {
        Message::Request { id, method, params } => {
            let refused = |error| Rejection { id: Some(id.clone()), error };
            let params = params.zip(looked);
            let meta = Meta::of(params).map_err(refused)?;
            if era(head, meta.as_ref()).map_err(refused)? == Era::Legacy {
                let (method, params) = (known(&method), params.map(looked_through));
                return Ok(legacy(LegacyMessage::Request { id, method, params }));
            }
            let envelope = request(head, &method, params, meta).map_err(refused)?;
            let param_headers = head.map(Head::owned_params);
            let (method, params) = (known(&method), params.map(looked_through));
            Ok(Classified::Modern(ModernMessage::Request(ModernRequest {
                id,
                method,
                params,
                param_headers,
                envelope: Some(envelope),
            })))
        }
        Message::Notification { method, params } => {
            let refused = |error| Rejection { id: None, error };
            let meta = Meta::of(params.zip(looked)).map_err(refused)?;
            let era = era(head, meta.as_ref()).map_err(refused)?;
            if let (Era::Modern, Some(head)) = (era, head) {
                head.must_not_differ(&method).map_err(refused)?;
            }
            let (method, params) = (method.into_owned(), owned(params));
            Ok(match era {
                Era::Legacy => legacy(LegacyMessage::Notification { method, params }),
                Era::Modern => Classified::Modern(ModernMessage::Notification { method, params }),
            })
        }
        Message::Response { id, reply } => {
            if head.is_some_and(Head::is_modern) {
                return Err(invalid("there is nothing to answer: a modern server asks by input_required"));
            }
            Ok(legacy(LegacyMessage::Response { id, reply }))
        }
    }
}

/// The form of nearly every request and notification: its own keys once each and spelled as they are. All that is known of
/// it is found in one look. `None`: whatever else it is, or is not, the strict reader tells.
fn plain(body: &[u8]) -> Option<(Message<'_>, Option<Looked>)> {
    const KEYS: [&str; 6] = ["method", "params", "id", "jsonrpc", "result", "error"];
    let [method, params, id, version, result, error] = [0, 1, 2, 3, 4, 5];
    let mut look = Look::at(str::from_utf8(body).ok()?);
    let mut looked = None;
    let members = look.places(KEYS, |look, key| {
        if key != params {
            return look.over();
        }
        looked = Some(Looked::over(look)?);
        Some(())
    })?;
    let whole = look.whole()?;
    let is_call = members.is_plain() && !members.has(result) && !members.has(error);
    if !is_call || members.text(whole, version)? != "\"2.0\"" {
        return None;
    }
    let method = splice::said(members.text(whole, method)?)?;
    let params = members.get(whole, params);
    let message = match members.get(whole, id) {
        Some(id) => Message::Request { id: Id::from_raw(id)?, method, params },
        None => Message::Notification { method, params },
    };
    Some((message, looked))
}

fn params_of<'a>(message: &Message<'a>) -> Option<&'a RawValue> {
    match message {
        Message::Request { params, .. } | Message::Notification { params, .. } => *params,
        Message::Response { .. } => None,
    }
}

fn legacy(message: LegacyMessage) -> Classified {
    Classified::Legacy(LegacyBody::One(message))
}

fn looked_through((params, looked): (&RawValue, &Looked)) -> Params {
    Params::looked_through(params.to_owned(), *looked)
}

fn owned(params: Option<&RawValue>) -> Option<Arc<RawValue>> {
    params.map(|params| params.to_owned().into())
}

fn invalid(text: &str) -> Rejection {
    Rejection { id: None, error: RpcError::new(INVALID_REQUEST, text) }
}

/// Rule 1. The id is told where there is one, so that the sender can find what it did.
fn unreadable(body: &[u8], error: &EnvelopeError) -> Rejection {
    let Ok(raw) = serde_json::from_slice::<&RawValue>(body) else {
        return Rejection { id: None, error: RpcError::new(PARSE_ERROR, error.to_string()) };
    };
    let id = splice::field(raw, "id").and_then(Id::from_raw);
    Rejection { id, error: RpcError::new(INVALID_REQUEST, error.to_string()) }
}

/// Rule 2. One bad element spoils all, before any of them is carried out.
fn batch(head: Option<&Head<'_>>, body: &[u8]) -> Result<Vec<LegacyMessage>, Rejection> {
    if let Err(error) = serde_json::from_slice::<&RawValue>(body) {
        return Err(Rejection { id: None, error: RpcError::new(PARSE_ERROR, format!("not JSON: {error}")) });
    }
    if head.is_some_and(Head::is_modern) {
        return Err(invalid("there are no batches in this revision; send each message by itself"));
    }
    let items = splice::items(body, MOST_IN_BATCH).unwrap_or_default();
    if items.is_empty() {
        return Err(invalid(&format!("a batch holds between 1 and {MOST_IN_BATCH} messages")));
    }
    let parsed = items.into_iter().map(|item| {
        let message = jsonrpc::parse(item.get().as_bytes());
        let message = message.map_err(|error| invalid(&format!("in the batch: {error}")))?;
        element(message)
    });
    parsed.collect()
}

fn element(message: Message<'_>) -> Result<LegacyMessage, Rejection> {
    let looked = params_of(&message).map(Looked::at);
    let meta = Meta::of(params_of(&message).zip(looked.as_ref()));
    let is_legacy = meta.is_ok_and(|meta| {
        let is_plain = meta.as_ref().is_none_or(|meta| matches!(meta.claim(), Ok(None)));
        is_plain || matches!(era(None, meta.as_ref()), Ok(Era::Legacy))
    });
    if !is_legacy {
        return Err(invalid("a message of a modern revision stands in a batch; send it by itself"));
    }
    Ok(match message {
        Message::Request { id, method, params } => {
            let params = params.zip(looked.as_ref()).map(looked_through);
            LegacyMessage::Request { id, method: known(&method), params }
        }
        Message::Notification { method, params } => {
            LegacyMessage::Notification { method: method.into_owned(), params: owned(params) }
        }
        Message::Response { id, reply } => LegacyMessage::Response { id, reply },
    })
}

/// Rules 3 and 5: the era that the message claims; what claims none is of the era that its head names.
fn era(head: Option<&Head<'_>>, meta: Option<&Meta<'_>>) -> Result<Era, RpcError> {
    let Some(claim) = meta.map_or(Ok(None), Meta::claim)? else {
        return Ok(if head.is_some_and(Head::is_modern) { Era::Modern } else { Era::Legacy });
    };
    // An envelope that was begun without a revision is judged as what it began to be (rule 4).
    let Some(claimed) = claim.revision else { return Ok(Era::Modern) };
    if let Some(named) = head.and_then(|head| head.protocol_version)
        && trimmed(named) != claimed
    {
        return Err(mismatch(format!(
            "MCP-Protocol-Version is {named:?} and the envelope says {claimed:?}; send the same in both"
        )));
    }
    Ok(if LEGACY.contains(&&*claimed) { Era::Legacy } else { Era::Modern })
}

/// Rules 4 and 6, for a modern request.
fn request(
    head: Option<&Head<'_>>,
    method: &str,
    params: Option<(&RawValue, &Looked)>,
    meta: Option<Meta<'_>>,
) -> Result<Envelope, RpcError> {
    let (revision, envelope) = Envelope::of(meta)?;
    if !MODERN.contains(&&*revision) {
        return Err(unsupported(&revision));
    }
    head.map_or(Ok(()), |head| head.must_match(method, params))?;
    Ok(envelope)
}

/// The answer to a revision that is not spoken here.
pub(crate) fn unsupported(requested: &str) -> RpcError {
    let text = format!("protocol version {requested:?} is not supported; use one of data.supported");
    let data = to_raw_value(&json!({ "supported": MODERN, "requested": requested })).ok();
    RpcError { data, ..RpcError::new(UNSUPPORTED_VERSION, text) }
}

/// The answer to a head that does not fit.
pub(crate) fn mismatch(text: impl Into<String>) -> RpcError {
    RpcError::new(HEADER_MISMATCH, text)
}

// === impl LegacyBody ===

impl LegacyBody {
    /// The params of its requests.
    pub(crate) fn requests(&mut self) -> impl Iterator<Item = &mut Option<Params>> {
        let messages = match self {
            Self::One(message) => std::slice::from_mut(message),
            Self::Batch(messages) => messages,
        };
        messages.iter_mut().filter_map(|message| match message {
            LegacyMessage::Request { params, .. } => Some(params),
            LegacyMessage::Notification { .. } | LegacyMessage::Response { .. } => None,
        })
    }
}

// === impl Rejection ===

impl Rejection {
    /// The answer. Without an id it has none: the schema of an error knows no `null`.
    pub(crate) fn answered(&self) -> Answered {
        if let Some(id) = &self.id {
            let answered = Answered::new(id, &Reply::Error(self.error.clone()));
            return Answered { kind: AnswerKind::BadRequest, ..answered };
        }
        let error = serde_json::to_string(&self.error).unwrap_or_default();
        let mut message = format!(r#"{{"jsonrpc":"2.0","error":{error}}}"#).into_bytes();
        jsonrpc::single_line(&mut message);
        Answered { message: Some(message.into()), kind: AnswerKind::BadRequest }
    }
}
