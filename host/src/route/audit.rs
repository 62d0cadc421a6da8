//! What is remembered of a call's arguments (`audit.arguments`).
//!
//! A call must not pay for what nobody may ever ask: short arguments are held as they came, which copies nothing, and their
//! digest is made when somebody looks. They are let go with the call's place in the book. Of long ones the digest is made at
//! the call's begin, and no byte is held.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use wharf_core::manifest::ShownArguments;
use wharf_core::splice;

use super::idempotency::sha256;
use super::spec::Payload;
use crate::tasks::on_bytes;

/// The longest that are held, bytes: of the arguments, or of the params that they came in.
const LONGEST: usize = 16 << 10;

/// Of one call.
#[derive(Debug)]
pub(super) enum Remembered {
    /// There were none, or the manifest says so.
    Nothing,
    /// As they came.
    Held(Held, ShownArguments),
    /// They were long. Apart, for nearly no call has any.
    Digest(Box<ArgumentsView>),
}

/// Where the arguments are.
#[derive(Debug)]
pub(super) enum Held {
    Arguments(Arc<RawValue>),
    /// A member of these.
    Params(Arc<RawValue>),
}

/// The arguments of a call, as `audit.arguments` of its plugin's manifest lets them be shown.
#[derive(Clone, Debug, Serialize)]
pub struct ArgumentsView {
    /// How long they are.
    pub bytes: usize,
    /// The SHA-256 of their bytes as the caller sent them, in hexadecimal; absent where they are shown themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The arguments: only with `full`, and up to 16 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Arc<RawValue>>,
}

// === impl Remembered ===

impl Remembered {
    pub(super) fn of(payload: &Payload, shown: ShownArguments) -> Self {
        if shown == ShownArguments::Off {
            return Self::Nothing;
        }
        let held = match payload {
            Payload::Call { arguments: Some(arguments), .. } => Held::Arguments(Arc::clone(arguments)),
            Payload::Params(Some(params)) => Held::Params(Arc::clone(params)),
            Payload::Call { arguments: None, .. } | Payload::Params(None) => return Self::Nothing,
        };
        if held.bytes() <= LONGEST {
            return Self::Held(held, shown);
        }
        held.arguments().map_or(Self::Nothing, |arguments| Self::Digest(Box::new(digest(arguments))))
    }

    /// What is shown of them.
    pub(super) fn view(&self) -> Option<ArgumentsView> {
        match self {
            Self::Nothing => None,
            Self::Digest(view) => Some(ArgumentsView::clone(view)),
            Self::Held(held, shown) => {
                let arguments = held.arguments()?;
                Some(match shown {
                    ShownArguments::Full => ArgumentsView {
                        bytes: arguments.get().len(),
                        sha256: None,
                        value: Some(arguments.to_owned().into()),
                    },
                    ShownArguments::Digest | ShownArguments::Off => digest(arguments),
                })
            }
        }
    }
}

// === impl Held ===

impl Held {
    fn bytes(&self) -> usize {
        let (Self::Arguments(raw) | Self::Params(raw)) = self;
        raw.get().len()
    }

    fn arguments(&self) -> Option<&RawValue> {
        match self {
            Self::Arguments(arguments) => Some(arguments),
            Self::Params(params) => splice::field(params, "arguments"),
        }
    }
}

fn digest(arguments: &RawValue) -> ArgumentsView {
    let bytes = arguments.get().as_bytes();
    let hash = on_bytes(bytes.len(), || sha256(bytes));
    let hex = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    ArgumentsView { bytes: bytes.len(), sha256: Some(hex), value: None }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::value::RawValue;
    use wharf_core::manifest::ShownArguments::{self, Digest, Full, Off};

    use super::{LONGEST, Remembered};
    use crate::route::Payload;

    fn raw(json: &str) -> Arc<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap().into()
    }

    fn shown(payload: &Payload, how: ShownArguments) -> Option<(usize, Option<String>, Option<String>)> {
        let view = Remembered::of(payload, how).view()?;
        Some((view.bytes, view.sha256, view.value.map(|value| value.get().to_owned())))
    }

    /// Of `{"a": 1}`, as `printf '{"a": 1}' | sha256sum` tells it.
    const OF_A: &str = "f9d86028c6e0d64e225186f96acb69338b2c59764df79162107f5c4bb34d1310";

    #[test]
    fn the_same_bytes_are_shown_however_they_came() {
        let arguments = Payload::Call { arguments: Some(raw(r#"{"a": 1}"#)), meta: None };
        let params = Payload::Params(Some(raw(r#"{"name":"t","arguments": {"a": 1},"_meta":{}}"#)));
        for payload in [&arguments, &params] {
            assert_eq!(shown(payload, Off), None);
            assert_eq!(shown(payload, Digest), Some((8, Some(OF_A.to_owned()), None)));
            assert_eq!(shown(payload, Full), Some((8, None, Some(r#"{"a": 1}"#.to_owned()))));
        }
    }

    #[test]
    fn what_has_none_shows_none() {
        for payload in [
            Payload::Call { arguments: None, meta: None },
            Payload::Params(None),
            Payload::Params(Some(raw(r#"{"uri":"x"}"#))),
        ] {
            assert_eq!(shown(&payload, Full), None, "{payload:?}");
        }
    }

    #[test]
    fn of_long_ones_no_byte_is_held() {
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(LONGEST));
        let arguments = Payload::Call { arguments: Some(raw(&long)), meta: None };
        let params = Payload::Params(Some(raw(&format!(r#"{{"name":"t","arguments":{long}}}"#))));
        let of_call = shown(&arguments, Full).unwrap();
        assert_eq!((of_call.0, of_call.2.as_ref()), (long.len(), None));
        assert_eq!(shown(&params, Digest), Some(of_call));
        let Payload::Call { arguments: Some(held), .. } = &arguments else { panic!() };
        let remembered = Remembered::of(&arguments, Full);
        assert_eq!(Arc::strong_count(held), 1, "{remembered:?}");
    }
}
