//! What a call came to, in the words of the modern era.

use std::borrow::Cow;

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};
use wharf_core::ask::Capability;
use wharf_core::splice;
use wharf_plugin_api::{Era, Id, Reply, RpcError};

use super::super::exchange::{AnswerKind, Answered};
use super::super::failure::{self, NO_RESOURCE};
use super::super::forward::no_resource;
use super::super::park::Outcome;
use super::super::translate::{self, Lacking};
use crate::route::Settled;

/// The client lacks a capability that the request needs.
pub(crate) const MISSING_CAPABILITY: i64 = -32021;
/// A legacy plugin wants a URL to be opened first. No modern message may bear this code.
const URL_NEEDED: i64 = -32042;

/// An answer, and what a transport may have to say beside it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) reply: Reply,
    /// Members that are written at the end of a result.
    pub(super) more: Cow<'static, str>,
    /// The result says that a task was begun.
    pub(super) is_task: bool,
    pub(super) kind: AnswerKind,
}

impl Answer {
    pub(super) fn result(result: Box<RawValue>) -> Self {
        Self::new(Reply::Result(result), AnswerKind::Handled)
    }

    fn new(reply: Reply, kind: AnswerKind) -> Self {
        Self { reply, more: Cow::Borrowed(""), is_task: false, kind }
    }

    /// As it goes out.
    pub(super) fn answered(self, id: &Id) -> Answered {
        match self.reply {
            Reply::Result(result) => Answered { kind: self.kind, ..Answered::with(id, &result, &self.more) },
            error @ Reply::Error(_) => Answered { kind: self.kind, ..Answered::new(id, &error) },
        }
    }

    /// An error of ours, which is of the kind that its code says.
    pub(super) fn refused(error: RpcError) -> Self {
        let kind = AnswerKind::of(error.code);
        Self::new(Reply::Error(error), kind)
    }

    /// An error that somebody made who looked at the request. Only a method that is not there, and a capability that is
    /// missing, are then told beside the message as well.
    fn told(error: RpcError) -> Self {
        let kind = match AnswerKind::of(error.code) {
            kind @ (AnswerKind::UnknownMethod | AnswerKind::MissingCapability) => kind,
            AnswerKind::Handled | AnswerKind::BadRequest => AnswerKind::Handled,
        };
        Self::new(Reply::Error(error), kind)
    }

    /// The end of a call. `uri` tells what it was about, if it was about one.
    pub(super) fn of(outcome: Outcome, method: &str, uri: impl FnOnce() -> Option<String>) -> Self {
        let Settled { reply, era, undeclared, .. } = match outcome {
            Ok(settled) => settled,
            Err(failure) => return Self::told(failure::error(&failure)),
        };
        // What was refused to the plugin is why it failed, as far as anybody can know.
        if !undeclared.is_empty() && failed(&reply) {
            return Self::told(missing(&undeclared));
        }
        match (reply, era) {
            (Reply::Result(result), era) => {
                let Lacking { members, is_task } = translate::to_modern(&result, era, method);
                Self { more: members, is_task, ..Self::result(result) }
            }
            (Reply::Error(error), Era::Modern) => Self::told(error),
            (Reply::Error(error), Era::Legacy) => Self::told(modern_error(error, uri().as_deref())),
        }
    }
}

/// Whether the answer says that it did not work.
fn failed(reply: &Reply) -> bool {
    match reply {
        Reply::Error(_) => true,
        Reply::Result(result) => splice::field(result, "isError").is_some_and(|flag| flag.get() == "true"),
    }
}

/// The error that asks a client to come again with these capabilities.
pub(crate) fn missing(capabilities: &[Capability]) -> RpcError {
    let mut all = Map::new();
    for capability in capabilities {
        if let Ok(Value::Object(one)) = serde_json::from_str(capability.required()) {
            merge(&mut all, one);
        }
    }
    let names: Vec<_> = capabilities.iter().map(|capability| capability.as_str()).collect();
    let text = format!("the client did not declare what this needs: {}", names.join(", "));
    let data = to_raw_value(&json!({ "requiredCapabilities": all })).ok();
    RpcError { data, ..RpcError::new(MISSING_CAPABILITY, text) }
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// A legacy plugin's error. Codes that the modern era gave up are replaced; every other passes as it is.
fn modern_error(error: RpcError, uri: Option<&str>) -> RpcError {
    match error.code {
        NO_RESOURCE => {
            let about = no_resource(uri.unwrap_or_default()).data.filter(|_| uri.is_some());
            translate::with_data(translate::with_code(error, RpcError::INVALID_PARAMS), about)
        }
        URL_NEEDED => translate::with_code(error, RpcError::INTERNAL),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::value::RawValue;
    use serde_json::{Value, json};
    use wharf_core::ask::Capability;
    use wharf_core::{CallId, Code, InstanceNo};
    use wharf_plugin_api::{Era, Id, Reply, RpcError};

    use super::{Answer, missing};
    use crate::mcp::AnswerKind;
    use crate::route::{Failure, Settled};

    fn answer(era: Era, reply: Reply, undeclared: &[Capability]) -> (Value, AnswerKind) {
        let settled = Settled {
            call_id: CallId::new(1, 1),
            instance: InstanceNo(0),
            duration: Duration::ZERO,
            reply,
            era,
            undeclared: undeclared.to_vec(),
            replayed: false,
        };
        shown(Answer::of(Ok(settled), "resources/read", || Some("a://b".into())))
    }

    fn shown(answer: Answer) -> (Value, AnswerKind) {
        let kind = answer.kind;
        let message = answer.answered(&Id::number(1)).message.unwrap();
        let mut message: Value = serde_json::from_slice(&message).unwrap();
        let message = message.as_object_mut().unwrap();
        (message.remove("result").or_else(|| message.remove("error")).unwrap(), kind)
    }

    fn result(json: &str) -> Reply {
        Reply::Result(RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn a_legacy_result_gets_what_every_modern_one_has() {
        let (shown, kind) = answer(Era::Legacy, result(r#"{"contents":[]}"#), &[]);
        let expected = json!({"contents": [], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"});
        assert_eq!((shown, kind), (expected, AnswerKind::Handled));
    }

    #[test]
    fn a_request_for_input_and_a_modern_plugins_result_hold_for_as_long_as_they_say() {
        let asks = json!({"resultType": "input_required", "inputRequests": {}});
        for era in [Era::Legacy, Era::Modern] {
            assert_eq!(answer(era, result(&asks.to_string()), &[]).0, asks, "{era:?}");
        }
        let own = json!({"resultType": "complete", "contents": []});
        assert_eq!(answer(Era::Modern, result(&own.to_string()), &[]).0, own);
    }

    #[test]
    fn what_failed_for_want_of_a_capability_says_which() {
        let lacks = [Capability::Sampling, Capability::ElicitationForm, Capability::ElicitationUrl];
        let required = json!({"sampling": {}, "elicitation": {"form": {}, "url": {}}});
        for reply in [Reply::Error(RpcError::new(-32000, "no")), result(r#"{"isError" : true}"#)] {
            let (shown, kind) = answer(Era::Legacy, reply, &lacks);
            assert_eq!((shown["code"].as_i64(), kind), (Some(-32021), AnswerKind::MissingCapability));
            assert_eq!(shown["data"]["requiredCapabilities"], required);
        }
        // What worked all the same stands.
        for good in [r#"{"isError":false}"#, r#"{"x":"isError"}"#] {
            assert_eq!(answer(Era::Legacy, result(good), &lacks).1, AnswerKind::Handled, "{good}");
        }
        assert_eq!(answer(Era::Legacy, result(r#"{"isError":true}"#), &[]).1, AnswerKind::Handled);
        assert_eq!(missing(&[]).code, -32021);
    }

    #[test]
    fn a_plugins_error_is_its_answer() {
        let error = |code| Reply::Error(RpcError::new(code, "no"));
        let table = [
            (Era::Modern, -32602, -32602, AnswerKind::Handled),
            (Era::Modern, -32600, -32600, AnswerKind::Handled),
            (Era::Modern, -32601, -32601, AnswerKind::UnknownMethod),
            (Era::Modern, -32021, -32021, AnswerKind::MissingCapability),
            (Era::Legacy, -32002, -32602, AnswerKind::Handled),
            (Era::Legacy, -32042, -32603, AnswerKind::Handled),
            (Era::Legacy, -32000, -32000, AnswerKind::Handled),
        ];
        for (era, code, expected, kind) in table {
            let (shown, told) = answer(era, error(code), &[]);
            assert_eq!((shown["code"].as_i64(), told), (Some(expected), kind), "{code}");
        }
        let (shown, _) = answer(Era::Legacy, error(-32002), &[]);
        assert_eq!(shown["data"]["uri"], "a://b");
    }

    #[test]
    fn our_own_failure_is_told_in_band() {
        let (shown, kind) =
            shown(Answer::of(Err(Failure::new(Code::Deadline, "late")), "tools/call", || None));
        assert_eq!((shown["code"].as_i64(), kind), (Some(-32015), AnswerKind::Handled));
    }
}
