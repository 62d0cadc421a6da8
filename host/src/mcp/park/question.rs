//! A plugin's question on its way to a client that is not connected, and which answers fit it.
//!
//! Questions are told by keys. A plugin may choose one, by `wharf/input-key` in the `_meta` of its request, so that what
//! its clients see does not depend on the order in which it asks; else they are numbered.

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::oneshot;
use wharf_core::splice;
use wharf_plugin_api::{Reply, Request, RpcError};

use crate::route::Ask;

/// Where a plugin names its question.
const INPUT_KEY: &str = "wharf/input-key";
/// Longest name, bytes.
const LONGEST_KEY: usize = 64;

/// A question that waits for its answer.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) key: String,
    request: Request,
    reply: oneshot::Sender<Reply>,
}

#[derive(Deserialize)]
struct Elicited<'a> {
    action: String,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Sampled<'a> {
    role: String,
    #[serde(rename = "model")]
    _model: String,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct Rooted {
    #[serde(rename = "roots")]
    _roots: Vec<Root>,
}

#[derive(Deserialize)]
struct Root {
    #[serde(rename = "uri")]
    _uri: String,
}

/// Whether this answers a question of that method.
fn fits(method: &str, answer: &RawValue) -> bool {
    let json = answer.get();
    match method {
        "elicitation/create" => serde_json::from_str::<Elicited<'_>>(json).is_ok_and(|elicited| {
            matches!(elicited.action.as_str(), "accept" | "decline" | "cancel")
                && elicited.content.is_none_or(|content| content.get().starts_with('{'))
        }),
        "sampling/createMessage" => serde_json::from_str::<Sampled<'_>>(json).is_ok_and(|sampled| {
            matches!(sampled.role.as_str(), "assistant" | "user")
                && sampled.content.get().starts_with(['{', '['])
        }),
        "roots/list" => json.starts_with('{') && serde_json::from_str::<Rooted>(json).is_ok(),
        _ => false,
    }
}

/// The name that the plugin gave its question.
fn chosen(params: Option<&RawValue>) -> Option<String> {
    let name = splice::field(splice::field(params?, "_meta")?, INPUT_KEY)?;
    let name: String = serde_json::from_str(name.get()).ok()?;
    (1..=LONGEST_KEY).contains(&name.len()).then_some(name)
}

/// The params without that name: it is between the plugin and us.
fn without_key(params: &RawValue) -> Option<Box<RawValue>> {
    let meta = splice::without_fields(splice::field(params, "_meta")?, &[INPUT_KEY])?;
    if meta.get().trim_matches(['{', '}', ' ', '\t', '\r', '\n']).is_empty() {
        return splice::without_fields(params, &["_meta"]);
    }
    splice::with_field(params, "_meta", &meta)
}

// === impl Question ===

impl Question {
    /// A question under its own name, if `taken` does not have it, else under `number`.
    pub(super) fn new(ask: Ask, number: usize, taken: impl Fn(&str) -> bool) -> Self {
        let Ask { mut request, reply } = ask;
        let name = chosen(request.params.as_deref());
        if name.is_some()
            && let Some(params) = request.params.as_deref().and_then(without_key)
        {
            request.params = Some(params.into());
        }
        let key = name.filter(|name| !taken(name)).unwrap_or_else(|| number.to_string());
        Self { key, request, reply }
    }

    /// Whether anybody still waits for the answer.
    pub(super) fn is_open(&self) -> bool {
        !self.reply.is_closed()
    }

    /// Gives the plugin its answer, if it is among these and fits; else the question stays.
    pub(super) fn answered_by(self, answers: &RawValue) -> Option<Self> {
        match splice::field(answers, &self.key).filter(|answer| fits(&self.request.method, answer)) {
            Some(answer) => {
                // A plugin that took its question back misses nothing.
                self.reply.send(Reply::Result(answer.to_owned())).ok();
                None
            }
            None => Some(self),
        }
    }

    pub(super) fn refuse(self, why: &str) {
        self.reply.send(Reply::Error(RpcError::new(RpcError::INTERNAL, why))).ok();
    }

    /// What the client is asked, as a member of `inputRequests`.
    pub(super) fn write(&self, out: &mut String) -> Option<()> {
        out.push_str(to_raw_value(&self.key).ok()?.get());
        out.push_str(r#":{"method":"#);
        out.push_str(to_raw_value(&self.request.method).ok()?.get());
        if let Some(params) = &self.request.params {
            out.push_str(r#","params":"#);
            out.push_str(params.get());
        }
        out.push('}');
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use tokio::sync::oneshot;
    use wharf_plugin_api::{Reply, Request};

    use super::{Question, fits};
    use crate::route::Ask;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    fn question(params: Option<&str>) -> (Question, oneshot::Receiver<Reply>) {
        let (reply, answered) = oneshot::channel();
        let params = params.map(|params| raw(params).into());
        let request = Request { method: "elicitation/create".into(), params };
        (Question::new(Ask { request, reply }, 3, |key| key == "taken"), answered)
    }

    #[test]
    fn only_an_answer_of_its_kind_fits() {
        let table = [
            ("elicitation/create", r#"{"action":"accept","content":{"a":1}}"#, true),
            ("elicitation/create", r#"{"action":"decline"}"#, true),
            ("elicitation/create", r#"{"action":"cancel","content":null}"#, true),
            ("elicitation/create", r#"{"action":"maybe"}"#, false),
            ("elicitation/create", r#"{"action":"accept","content":[]}"#, false),
            ("elicitation/create", r#"{"content":{}}"#, false),
            ("elicitation/create", "12345", false),
            ("sampling/createMessage", r#"{"role":"assistant","model":"m","content":{"type":"text"}}"#, true),
            ("sampling/createMessage", r#"{"role":"assistant","content":{}}"#, false),
            ("sampling/createMessage", r#"{"role":"system","model":"m","content":{}}"#, false),
            ("sampling/createMessage", r#"{"role":"assistant","model":"m","content":"x"}"#, false),
            ("roots/list", r#"{"roots":[{"uri":"file:///a"}]}"#, true),
            ("roots/list", r#"{"roots":[]}"#, true),
            ("roots/list", "[[]]", false),
            ("roots/list", r#"{"roots":[1]}"#, false),
            ("roots/list", r#"{"roots":{}}"#, false),
            ("other", "{}", false),
        ];
        for (method, answer, expected) in table {
            assert_eq!(fits(method, &raw(answer)), expected, "{method} {answer}");
        }
    }

    #[test]
    fn a_plugin_may_name_its_question_and_the_client_sees_the_name_alone() {
        let table = [
            (
                Some(r#"{ "message":"?" }"#),
                r#""3":{"method":"elicitation/create","params":{ "message":"?" }}"#,
            ),
            (None, r#""3":{"method":"elicitation/create"}"#),
            (
                Some(r#"{"message":"?","_meta":{"wharf/input-key":"user_name"}}"#),
                r#""user_name":{"method":"elicitation/create","params":{"message":"?"}}"#,
            ),
            (
                Some(r#"{"_meta":{"wharf/input-key":"a\"b","x":1},"message":"?"}"#),
                r#""a\"b":{"method":"elicitation/create","params":{"_meta":{"x":1},"message":"?"}}"#,
            ),
            (
                Some(r#"{"_meta":{"wharf/input-key":"taken","x":1}}"#),
                r#""3":{"method":"elicitation/create","params":{"_meta":{"x":1}}}"#,
            ),
            (
                Some(r#"{"_meta":{"wharf/input-key":""}}"#),
                r#""3":{"method":"elicitation/create","params":{"_meta":{"wharf/input-key":""}}}"#,
            ),
        ];
        for (params, expected) in table {
            let mut out = String::new();
            question(params).0.write(&mut out).unwrap();
            assert_eq!(out, expected);
        }
    }

    #[tokio::test]
    async fn the_answer_is_the_clients_to_the_byte() {
        let (question, answered) = question(None);
        let question = question.answered_by(&raw(r#"{"4":{"action":"accept"},"3":1}"#)).unwrap();
        assert!(question.is_open());
        assert!(question.answered_by(&raw(r#"{"3": {"action" : "decline", "x":1.0}}"#)).is_none());
        let Reply::Result(result) = answered.await.unwrap() else { panic!() };
        assert_eq!(result.get(), r#"{"action" : "decline", "x":1.0}"#);
    }
}
