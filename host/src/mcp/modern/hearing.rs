//! What a modern client hears of its request on the way: progress if it gave a token, log messages from the level that it
//! named if it named one, and nothing else.

use serde_json::value::RawValue;
use wharf_plugin_api::{Notification, jsonrpc};

use super::super::ladder::Envelope;
use super::super::level::Level;
use super::super::translate;
use crate::held::Events;
use crate::route::CallEvent;

pub(super) struct Hearing {
    token: Option<Box<RawValue>>,
    level: Option<Level>,
    out: Events,
}

impl Hearing {
    pub(super) fn new(envelope: &Envelope, out: Events) -> Self {
        let token = envelope.progress_token.as_ref();
        Self {
            token: token.and_then(|token| RawValue::from_string(token.as_str().to_owned()).ok()),
            level: envelope.client.log_level.as_deref().and_then(Level::named),
            out,
        }
    }

    pub(super) fn hear(&self, event: CallEvent) {
        let CallEvent::Notification(notification) = event else { return };
        if let Some(mut message) = self.message(&notification) {
            jsonrpc::single_line(&mut message);
            if !self.out.try_send(message.into()) {
                tracing::debug!(method = %notification.method, "dropped for a client that is slow or gone");
            }
        }
    }

    fn message(&self, Notification { method, params }: &Notification) -> Option<Vec<u8>> {
        let params = params.as_deref()?;
        match &**method {
            "notifications/progress" => {
                let params = translate::with_token(params, self.token.as_deref()?)?;
                Some(jsonrpc::notification(method, Some(&params)))
            }
            "notifications/message" => {
                self.level?.lets(Some(params)).then(|| jsonrpc::notification(method, Some(params)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::{RawValue, to_raw_value};
    use wharf_plugin_api::Notification;

    use super::Hearing;
    use crate::held::{Events, Held};
    use crate::mcp::ladder::Envelope;
    use crate::route::CallEvent;

    fn heard(meta: &serde_json::Value, said: &[(&'static str, &str)]) -> Vec<String> {
        let mut whole = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {}});
        whole.as_object_mut().unwrap().extend(meta.as_object().unwrap().clone());
        let envelope = Envelope::read(Some(&to_raw_value(&json!({"_meta": whole})).unwrap().into())).unwrap();
        let (out, mut events) = Events::new(&Held::default(), 8);
        let hearing = Hearing::new(&envelope, out);
        for (method, params) in said {
            let params = Some(RawValue::from_string((*params).to_owned()).unwrap().into());
            hearing.hear(CallEvent::Notification(Notification { method: (*method).into(), params }));
        }
        drop(hearing);
        std::iter::from_fn(|| events.try_recv().ok().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()))
            .collect()
    }

    const SAID: [(&str, &str); 4] = [
        ("notifications/progress", "{\"progressToken\":7,\n\"progress\":1.0}"),
        ("notifications/message", r#"{"level":"info","data":1}"#),
        ("notifications/message", r#"{"level":"error","data":2}"#),
        ("notifications/tools/list_changed", "{}"),
    ];

    #[test]
    fn a_client_hears_what_it_asked_for_and_nothing_else() {
        assert!(heard(&json!({}), &SAID).is_empty());
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p", "progress":1.0}}"#;
        assert_eq!(heard(&json!({"progressToken": "p"}), &SAID), [progress]);
        let errors = heard(&json!({"io.modelcontextprotocol/logLevel": "warning"}), &SAID);
        assert_eq!(
            errors,
            [r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":2}}"#]
        );
        assert_eq!(heard(&json!({"io.modelcontextprotocol/logLevel": "debug"}), &SAID).len(), 2);
    }
}
