//! What the result of a plugin must be, whatever carried it; what is in it is not looked at.

use serde_json::value::RawValue;
use wharf_core::splice;
use wharf_plugin_api::{CallError, CallErrorKind, Delivery, Era, Reply};

/// The key by which a modern result says what it is.
const TYPE: &str = "resultType";
/// What it may be. A revision or an extension that adds one is none that we have agreed to.
const TYPES: [&str; 3] = ["complete", "input_required", "task"];

/// How the methods begin that MCP defines, and whose results are objects. What a vendor's method of the legacy era answers
/// with is the vendor's business.
const DEFINED: [&str; 5] = ["tools/", "prompts/", "resources/", "completion/", "tasks/"];

/// The answer, if it is one.
///
/// # Errors
/// If the result is no object, or one of a type that a modern client must take for invalid.
pub(super) fn proper(reply: Reply, era: Era, method: &str) -> Result<Reply, CallError> {
    let Reply::Result(result) = &reply else { return Ok(reply) };
    let wrong = |what: &str| Err(CallError::new(CallErrorKind::Protocol, Delivery::Answered, what));
    let defined = era == Era::Modern || DEFINED.iter().any(|begin| method.starts_with(begin));
    if defined && !result.get().starts_with('{') {
        return wrong("the answer is malformed: its result is no object");
    }
    match era {
        Era::Modern if !is_known(result) => {
            wrong("the answer is malformed: its resultType is none of complete, input_required and task")
        }
        Era::Modern | Era::Legacy => Ok(reply),
    }
}

/// What says nothing is complete. Nearly every result says it, so it is looked through once, and not searched before. One that
/// says it twice is taken as its readers take it: the last one counts.
fn is_known(result: &RawValue) -> bool {
    let [kind] = splice::fields(result, [TYPE]);
    kind.is_none_or(|kind| splice::text(kind).is_some_and(|kind| TYPES.contains(&&*kind)))
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use wharf_plugin_api::{Era, Reply, RpcError};

    use super::proper;

    fn is_proper(era: Era, json: &str) -> bool {
        proper(Reply::Result(RawValue::from_string(json.to_owned()).unwrap()), era, "tools/call").is_ok()
    }

    #[test]
    fn a_result_is_an_object() {
        for era in [Era::Legacy, Era::Modern] {
            for (json, good) in [
                ("{}", true),
                ("{ \"x\":[] }", true),
                ("[]", false),
                ("null", false),
                ("\"{\"", false),
                ("1", false),
            ] {
                assert_eq!(is_proper(era, json), good, "{json}");
            }
            assert!(proper(Reply::Error(RpcError::new(-1, "no")), era, "tools/call").is_ok());
        }
    }

    #[test]
    fn a_vendors_method_of_the_legacy_era_may_answer_with_anything() {
        let array = || Reply::Result(RawValue::from_string("[1.0]".to_owned()).unwrap());
        assert!(proper(array(), Era::Legacy, "vendor/x").is_ok());
        assert!(proper(array(), Era::Modern, "vendor/x").is_err());
    }

    #[test]
    fn a_modern_result_is_of_a_type_that_is_known_or_of_none() {
        for (kind, good) in [
            ("\"complete\"", true),
            ("\"input\\u005frequired\"", true),
            ("\"task\"", true),
            ("\"other\"", false),
            ("1", false),
            ("null", false),
        ] {
            let json = format!(r#"{{"content":[],"resultType":{kind}}}"#);
            assert_eq!(is_proper(Era::Modern, &json), good, "{kind}");
            assert!(is_proper(Era::Legacy, &json), "a member that the era does not know");
        }
    }

    #[test]
    fn no_result_hides_its_type() {
        let long = "\\\"resultType\\\":\\\"other\\\" ".repeat(1000);
        for (json, good) in [
            (format!(r#"{{"content":[{{"text":"{long}"}}],"resultType":"complete"}}"#), true),
            (
                format!(
                    r#"{{"resultType":"complete","content":[{{"text":"{long}"}}],"resultType":"other"}}"#
                ),
                false,
            ),
            (format!(r#"{{"resultType":"complete","x":"{long}","result\u0054ype":"other"}}"#), false),
            (r#"{"resultType":"other","resultType":"complete"}"#.to_owned(), true),
            (r#"{"structuredContent":{"resultType":"other"}}"#.to_owned(), true),
            (r#"{"x":"\"resultType\":\"other\""}"#.to_owned(), true),
            (r#"{"resultType":{"complete":1}}"#.to_owned(), false),
            (r#"{"resultType":["complete"]}"#.to_owned(), false),
        ] {
            assert_eq!(is_proper(Era::Modern, &json), good, "{json}");
        }
    }
}
