//! A message of a plugin, read: nearly each is an answer of the plainest form, and its result is looked over once, however
//! large it is.

use wharf_core::splice::Look;
use wharf_plugin_api::Reply;
use wharf_plugin_api::jsonrpc::{self, EnvelopeError, Message};

/// Reads one message, as [`jsonrpc::parse_text`] does.
///
/// # Errors
/// If the text is no message.
pub(super) fn read(text: &str) -> Result<Message<'_>, EnvelopeError> {
    match plain(text) {
        Some(answer) => Ok(answer),
        None => jsonrpc::parse_text(text),
    }
}

fn plain(text: &str) -> Option<Message<'_>> {
    let (id, result) = jsonrpc::plain_answer(text)?;
    let mut look = Look::at(result);
    look.over()?;
    let result = look.whole()?.to_owned();
    Some(Message::Response { id: Some(id), reply: Reply::Result(result) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wharf_plugin_api::Id;
    use wharf_plugin_api::jsonrpc::{Message, parse_text};

    use super::{Reply, plain, read};

    fn answer(text: &str) -> Option<(Option<Id>, String)> {
        match read(text) {
            Ok(Message::Response { id, reply: Reply::Result(result) }) => Some((id, result.get().to_owned())),
            Ok(_) | Err(_) => None,
        }
    }

    #[test]
    fn a_plain_answer_is_read_as_any_other() {
        for result in ["{}", " { \"a\" : [1.0] } ", "null", "\"}\"", "{\"error\":1}"] {
            let first = format!(r#"{{"jsonrpc":"2.0","id":17,"result":{result}}}"#);
            let other = format!(r#"{{"id":17,"jsonrpc":"2.0","result":{result}}}"#);
            assert!(plain(&first).is_some() && plain(&other).is_none());
            for text in [first, other] {
                assert_eq!(answer(&text), Some((Some(Id::number(17)), result.trim().to_owned())), "{text}");
            }
        }
        for bad in [
            r#"{"jsonrpc":"2.0","id":17,"result":{}"#,
            r#"{"jsonrpc":"2.0","id":17,"result":}"#,
            r#"{"jsonrpc":"2.0","id":17,"result":{}}}"#,
            r#"{"jsonrpc":"2.0","id":017,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":17,"result":{},"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":17,"result":{},"error":{}}"#,
            r#"{"jsonrpc":"2.0","id":17,"result":{},"id":18}"#,
            r#"{"jsonrpc":"2.0","id":,"result":{}}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(
            answer(r#"{"jsonrpc":"2.0","id":17,"result":{},"x":1}"#).is_some(),
            "an unknown key means nothing"
        );
    }

    #[test]
    fn what_is_nested_deeper_than_a_look_goes_is_read_all_the_same() {
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{deep}}}"#);
        assert!(plain(&text).is_none());
        assert_eq!(answer(&text), Some((Some(Id::number(1)), deep)));
    }

    proptest! {
        #[test]
        fn it_reads_what_a_reader_of_keys_reads(
            result in r#"([\[\]{}:, "0-9a.eE+\-\\]|true|null|"a":|\{\}|"result":|,"id":1){0,8}"#,
        ) {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
            let other = match parse_text(&text) {
                Ok(Message::Response { id, reply: Reply::Result(result) }) => Some((id, result.get().to_owned())),
                Ok(_) | Err(_) => None,
            };
            prop_assert_eq!(answer(&text), other);
        }
    }
}
