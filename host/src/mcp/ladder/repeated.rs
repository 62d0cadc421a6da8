//! What modern clients say of themselves, as they said it lately on this thread: each says it with every request, and nearly
//! always the same.
//!
//! Kept by the letter, so that nothing is told for the same that is not.

use std::cell::RefCell;
use std::sync::Arc;

use serde_json::value::RawValue;
use wharf_plugin_api::Client;

/// Clients that are kept, each at the place that the length of its words gives it.
const PLACES: usize = 8;
/// Of one that says more, nothing is kept.
const LONGEST: usize = 2048;

thread_local! {
    static LATELY: RefCell<[Option<Arc<Client>>; PLACES]> = const { RefCell::new([const { None }; PLACES]) };
}

/// A client with these capabilities and this info, which wants no log messages.
pub(super) fn client(capabilities: &RawValue, info: Option<&RawValue>) -> Arc<Client> {
    let length = capabilities.get().len() + info.map_or(0, |info| info.get().len());
    LATELY.with_borrow_mut(|lately| {
        let Some(place) = lately.get_mut(length % PLACES).filter(|_| length <= LONGEST) else {
            return Arc::new(made(capabilities, info));
        };
        if let Some(client) = place.as_ref().filter(|client| is(client, capabilities, info)) {
            return Arc::clone(client);
        }
        Arc::clone(place.insert(Arc::new(made(capabilities, info))))
    })
}

fn made(capabilities: &RawValue, info: Option<&RawValue>) -> Client {
    let owned = |raw: &RawValue| Arc::from(raw.to_owned());
    Client { capabilities: owned(capabilities), info: info.map(owned), log_level: None }
}

fn is(client: &Client, capabilities: &RawValue, info: Option<&RawValue>) -> bool {
    client.capabilities.get() == capabilities.get()
        && client.info.as_deref().map(RawValue::get) == info.map(RawValue::get)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::value::RawValue;

    use super::{LONGEST, client};

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn who_says_the_same_is_the_same_and_nobody_else() {
        let said = [
            (raw("{}"), None),
            (raw(r#"{"roots":{}}"#), None),
            (raw(r#"{"route":{}}"#), None),
            (raw("{}"), Some(raw(r#"{"name":"a"}"#))),
            (raw("{}"), Some(raw(r#"{"name":"b"}"#))),
            (raw(&format!(r#"{{"x":"{}"}}"#, "x".repeat(LONGEST))), None),
        ];
        for _ in 0..2 {
            for (capabilities, info) in &said {
                let (one, two) =
                    (client(capabilities, info.as_deref()), client(capabilities, info.as_deref()));
                assert_eq!(one.capabilities.get(), capabilities.get());
                assert_eq!(one.info.as_deref().map(RawValue::get), info.as_deref().map(RawValue::get));
                assert!(one.log_level.is_none());
                assert_eq!(Arc::ptr_eq(&one, &two), capabilities.get().len() < LONGEST);
            }
        }
    }
}
