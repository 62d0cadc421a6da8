//! An answer as it is kept, in memory and beyond the end of the host.
//!
//! Written as `form | era | kind | instance | JSON`. What cannot be read is an answer that was not kept.

use std::time::Duration;

use serde_json::value::RawValue;
use wharf_core::{CallId, InstanceNo};
use wharf_plugin_api::{Era, Reply, RpcError};

use super::LARGEST;
use crate::route::spec::Settled;

/// The form that is written.
const FORM: u8 = 1;
const RESULT: u8 = 0;
const ERROR: u8 = 1;
/// Nothing ran: the key is free.
const FREE: u8 = 2;
/// It was answered; the answer is not kept.
const TOO_LARGE: u8 = 3;

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    instance: InstanceNo,
    era: Era,
    reply: Reply,
}

/// What was read of a key's call.
#[derive(Clone, Debug)]
pub(super) enum Read {
    Answer(Kept),
    Free,
    NotKept,
}

impl Kept {
    /// The answer and how it is written; `None` if it is too large.
    pub(super) fn of(settled: &Settled) -> Option<(Self, Vec<u8>)> {
        let (kind, json) = match &settled.reply {
            Reply::Result(result) => (RESULT, result.get().as_bytes().to_owned()),
            Reply::Error(error) => (ERROR, serde_json::to_vec(error).ok()?),
        };
        if json.len() > LARGEST {
            return None;
        }
        let mut bytes = vec![FORM, u8::from(settled.era == Era::Modern), kind];
        bytes.extend_from_slice(&settled.instance.0.to_le_bytes());
        bytes.extend_from_slice(&json);
        let kept = Self { instance: settled.instance, era: settled.era, reply: settled.reply.clone() };
        Some((kept, bytes))
    }

    /// How it is written that the key is free.
    pub(super) fn free() -> Vec<u8> {
        vec![FORM, 0, FREE]
    }

    /// How it is written that there was an answer.
    pub(super) fn too_large() -> Vec<u8> {
        vec![FORM, 0, TOO_LARGE]
    }

    /// Reads what was written.
    pub(super) fn read(bytes: &[u8]) -> Read {
        match bytes {
            [FORM, _, FREE] => Read::Free,
            _ => Self::answer(bytes).map_or(Read::NotKept, Read::Answer),
        }
    }

    fn answer(bytes: &[u8]) -> Option<Self> {
        let (head, json) = bytes.split_first_chunk::<7>()?;
        let [FORM, era, kind, instance @ ..] = head else { return None };
        let raw: Box<RawValue> = serde_json::from_slice(json).ok()?;
        let reply = match *kind {
            RESULT => Reply::Result(raw),
            ERROR => {
                let error: RpcError = serde_json::from_str(raw.get()).ok()?;
                Reply::Error(RpcError { whole: Some(raw.into()), ..error })
            }
            _ => return None,
        };
        let era = if *era == 1 { Era::Modern } else { Era::Legacy };
        Some(Self { instance: InstanceNo(u32::from_le_bytes(*instance)), era, reply })
    }

    /// The same answer once more, to the call that had it.
    pub(super) fn settled(&self, call: CallId) -> Settled {
        Settled {
            call_id: call,
            instance: self.instance,
            duration: Duration::ZERO,
            reply: self.reply.clone(),
            era: self.era,
            undeclared: Vec::new(),
            replayed: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::value::RawValue;
    use wharf_core::{CallId, InstanceNo};
    use wharf_plugin_api::{Era, Reply, RpcError};

    use super::{Kept, LARGEST, Read};
    use crate::route::spec::Settled;

    fn settled(reply: Reply) -> Settled {
        Settled {
            call_id: CallId::new(1, 2),
            instance: InstanceNo(3),
            duration: Duration::from_secs(1),
            reply,
            era: Era::Modern,
            undeclared: Vec::new(),
            replayed: false,
        }
    }

    fn raw(json: impl Into<String>) -> Box<RawValue> {
        RawValue::from_string(json.into()).unwrap()
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let text = "{ \"x\":1.0e2, \"\\u00e4\":\"ä\" }";
        let (_, bytes) = Kept::of(&settled(Reply::Result(raw(text)))).unwrap();
        let Read::Answer(kept) = Kept::read(&bytes) else { panic!("not read") };
        let again = kept.settled(CallId::new(1, 2));
        let Reply::Result(result) = &again.reply else { panic!("no result") };
        assert_eq!((result.get(), again.era, again.instance), (text, Era::Modern, InstanceNo(3)));
        assert!(again.replayed);

        let whole = r#"{"code":-7,"message":"no","more":[1.0]}"#;
        let error = RpcError { whole: Some(raw(whole).into()), ..RpcError::new(-7, "no") };
        let (_, bytes) = Kept::of(&settled(Reply::Error(error))).unwrap();
        let Read::Answer(Kept { reply: Reply::Error(error), .. }) = Kept::read(&bytes) else {
            panic!("no error")
        };
        assert_eq!((error.code, error.whole.unwrap().get()), (-7, whole));
    }

    #[test]
    fn what_is_too_large_or_cannot_be_read_is_not_kept() {
        let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
        assert!(Kept::of(&settled(Reply::Result(raw(text(LARGEST))))).is_some());
        assert!(Kept::of(&settled(Reply::Result(raw(text(LARGEST + 1))))).is_none());
        assert!(matches!(Kept::read(&Kept::free()), Read::Free));
        let (_, good) = Kept::of(&settled(Reply::Result(raw("{}")))).unwrap();
        for bad in [&[][..], &[1], &[9, 0, 2], &Kept::too_large(), &good[..good.len() - 1]] {
            assert!(matches!(Kept::read(bad), Read::NotKept), "{bad:?}");
        }
    }
}
