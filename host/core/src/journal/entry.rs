//! The entries of a record: what is said of one call.
//!
//! An entry is `kind | length | body`. A kind that is not known is skipped, so that an older host reads what a newer one
//! wrote. No arguments of a call are in any of them, and no secret of the host; an answer that is kept for a caller's key
//! is the caller's own.

use crate::code::Code;
use crate::id::CallId;

/// The longest answer that is kept, bytes.
pub const MAX_ANSWER: usize = 64 << 10;
/// The longest name, principal or key, bytes; a longer one is cut.
pub const MAX_TEXT: usize = 1024;

const SENT: u8 = 1;
const SETTLED: u8 = 2;
const KEYED: u8 = 3;
const ANSWER: u8 = 4;
/// Kind and length.
const HEADER: usize = 5;

/// What is said of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// It is about to be handed to a plugin.
    Sent(Sent<'a>),
    /// It has ended.
    Settled(Settled),
    /// It has a key of its caller's.
    Keyed(Keyed<'a>),
    /// What it was answered with, kept for its key.
    Answer(Answer<'a>),
}

/// A call is about to be handed to a plugin: from here on its outcome may be unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent<'a> {
    /// Which.
    pub call: CallId,
    /// When, milliseconds since 1970.
    pub at: u64,
    /// It has a key: what is said of it is kept as long as the key is.
    pub keyed: bool,
    /// To which plugin.
    pub plugin: &'a str,
    /// The tool as it is offered; empty if it calls none.
    pub tool: &'a str,
    /// The MCP method.
    pub method: &'a str,
    /// To which instance,
    pub instance: u32,
    /// and which launch of it.
    pub generation: u64,
    /// Under which name its caller was let in.
    pub principal: &'a str,
}

/// A call has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Which.
    pub call: CallId,
    /// When, milliseconds since 1970.
    pub at: u64,
    /// It has a key.
    pub keyed: bool,
    /// How.
    pub outcome: Outcome,
    /// With which code, if with one.
    pub code: Option<Code>,
}

/// A call has a key of its caller's, under which it runs at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed<'a> {
    /// Which.
    pub call: CallId,
    /// When, milliseconds since 1970.
    pub at: u64,
    /// Whose key.
    pub principal: &'a str,
    /// The key.
    pub key: &'a str,
    /// The plugin.
    pub plugin: &'a str,
    /// The tool; empty if it calls none.
    pub tool: &'a str,
    /// A digest of the arguments, by which others are told from the same.
    pub digest: &'a [u8],
}

/// What a call with a key was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Which call.
    pub call: CallId,
    /// When, milliseconds since 1970.
    pub at: u64,
    /// The answer, in the writer's own form; at most [`MAX_ANSWER`].
    pub result: &'a [u8],
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The plugin answered.
    Answered,
    /// It did not run, or its answer was none.
    Failed,
    /// It was handed over and nothing came back.
    Unknown,
    /// Its caller left, or took it back.
    Cancelled,
}

/// The entries of a record, each with its bytes. What is damaged ends them: the checksum has said that it is not.
pub fn entries(record: &[u8]) -> impl Iterator<Item = (Entry<'_>, &[u8])> {
    let mut left = record;
    std::iter::from_fn(move || {
        loop {
            let mut reader = Reader(left);
            let (kind, length) = (reader.byte()?, usize::try_from(reader.u32()?).ok()?);
            let body = reader.take(length)?;
            let (whole, rest) = left.split_at_checked(HEADER + length)?;
            left = rest;
            if let Some(entry) = Entry::read(kind, body) {
                return Some((entry, whole));
            }
        }
    })
}

/// Takes a body apart.
struct Reader<'a>(&'a [u8]);

// === impl Entry ===

impl<'a> Entry<'a> {
    /// Which call it is about.
    #[must_use]
    pub fn call(&self) -> &CallId {
        match self {
            Self::Sent(sent) => &sent.call,
            Self::Settled(settled) => &settled.call,
            Self::Keyed(keyed) => &keyed.call,
            Self::Answer(answer) => &answer.call,
        }
    }

    /// When it was written, milliseconds since 1970.
    #[must_use]
    pub fn at(&self) -> u64 {
        match self {
            Self::Sent(sent) => sent.at,
            Self::Settled(settled) => settled.at,
            Self::Keyed(keyed) => keyed.at,
            Self::Answer(answer) => answer.at,
        }
    }

    /// Whether the call has a key.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        match self {
            Self::Sent(sent) => sent.keyed,
            Self::Settled(settled) => settled.keyed,
            Self::Keyed(_) | Self::Answer(_) => true,
        }
    }

    /// Puts it behind what is there.
    pub fn put(&self, to: &mut Vec<u8>) {
        let begin = to.len();
        let kind = match self {
            Self::Sent(_) => SENT,
            Self::Settled(_) => SETTLED,
            Self::Keyed(_) => KEYED,
            Self::Answer(_) => ANSWER,
        };
        to.extend_from_slice(&[kind, 0, 0, 0, 0]);
        to.extend_from_slice(&self.call().run().to_le_bytes());
        to.extend_from_slice(&self.call().n().to_le_bytes());
        to.extend_from_slice(&self.at().to_le_bytes());
        self.put_rest(to);
        let length = u32::try_from(to.len() - begin - HEADER).unwrap_or(u32::MAX);
        if let Some(place) = to.get_mut(begin + 1..begin + HEADER) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }

    fn put_rest(&self, to: &mut Vec<u8>) {
        match self {
            Self::Sent(sent) => {
                to.push(u8::from(sent.keyed));
                to.extend_from_slice(&sent.instance.to_le_bytes());
                to.extend_from_slice(&sent.generation.to_le_bytes());
                for text in [sent.plugin, sent.tool, sent.method, sent.principal] {
                    put_text(to, text);
                }
            }
            Self::Settled(settled) => {
                to.extend_from_slice(&[u8::from(settled.keyed), settled.outcome.to_byte()]);
                put_text(to, settled.code.map_or("", Code::as_str));
            }
            Self::Keyed(keyed) => {
                for text in [keyed.principal, keyed.key, keyed.plugin, keyed.tool] {
                    put_text(to, text);
                }
                to.extend_from_slice(keyed.digest);
            }
            Self::Answer(answer) => to.extend_from_slice(answer.result),
        }
    }

    /// `None`: of a kind that is not known, or not what such an entry is.
    fn read(kind: u8, body: &'a [u8]) -> Option<Self> {
        let mut from = Reader(body);
        let call = CallId::new(from.u32()?, from.u64()?);
        let at = from.u64()?;
        Some(match kind {
            SENT => Self::Sent(Sent {
                call,
                at,
                keyed: from.byte()? != 0,
                instance: from.u32()?,
                generation: from.u64()?,
                plugin: from.text()?,
                tool: from.text()?,
                method: from.text()?,
                principal: from.text()?,
            }),
            SETTLED => Self::Settled(Settled {
                call,
                at,
                keyed: from.byte()? != 0,
                outcome: Outcome::of_byte(from.byte()?)?,
                code: from.text().map(code)?,
            }),
            KEYED => Self::Keyed(Keyed {
                call,
                at,
                principal: from.text()?,
                key: from.text()?,
                plugin: from.text()?,
                tool: from.text()?,
                digest: from.0,
            }),
            ANSWER => Self::Answer(Answer { call, at, result: from.0 }),
            _ => return None,
        })
    }
}

fn code(name: &str) -> Option<Code> {
    Code::ALL.iter().copied().find(|code| code.as_str() == name)
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    let text = text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default();
    to.extend_from_slice(&u16::try_from(text.len()).unwrap_or_default().to_le_bytes());
    to.extend_from_slice(text.as_bytes());
}

// === impl Outcome ===

impl Outcome {
    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Cancelled => "cancelled",
        }
    }

    /// What comes of a call that ended with `code`, of which `unknown` says whether it may have run all the same.
    #[must_use]
    pub fn of(code: Code, unknown: bool) -> Self {
        match (code, unknown) {
            (Code::Cancelled, _) => Self::Cancelled,
            (_, true) => Self::Unknown,
            (_, false) => Self::Failed,
        }
    }

    fn to_byte(self) -> u8 {
        match self {
            Self::Answered => 1,
            Self::Failed => 2,
            Self::Unknown => 3,
            Self::Cancelled => 4,
        }
    }

    fn of_byte(byte: u8) -> Option<Self> {
        [Self::Answered, Self::Failed, Self::Unknown, Self::Cancelled]
            .into_iter()
            .find(|outcome| outcome.to_byte() == byte)
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(bytes)?;
        self.0 = left;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.array().map(u16::from_le_bytes)?;
        std::str::from_utf8(self.take(usize::from(length))?).ok()
    }
}
