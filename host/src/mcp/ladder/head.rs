//! What a transport tells beside the message, and whether it says the same.

use std::borrow::Cow;

use serde_json::value::RawValue;
use wharf_core::splice;
use wharf_plugin_api::{Era, RpcError};

use super::super::params::{Looked, Member};
use super::mismatch;

/// The facts of a message's head, as sent. A pipe has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head<'a> {
    /// `MCP-Protocol-Version`
    pub(crate) protocol_version: Option<&'a str>,
    /// `Mcp-Method`
    pub(crate) method: Option<&'a str>,
    /// `Mcp-Name`
    pub(crate) name: Option<&'a str>,
    /// Each `Mcp-Param-*`: lower-case name without the prefix, value as sent.
    pub(crate) params: Vec<(String, String)>,
}

/// A header's value without the blanks around it. Nearly none has any, which is told faster than a letter of any script is.
pub(crate) fn trimmed(value: &str) -> &str {
    let is_bare = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
    let bytes = value.as_bytes();
    if is_bare(bytes.first()) && is_bare(bytes.last()) { value } else { value.trim() }
}

/// The member of the params that `Mcp-Name` repeats.
fn naming(method: &str) -> Option<(Member, &'static str)> {
    match method {
        "tools/call" | "prompts/get" => Some((Member::Name, "name")),
        "resources/read" => Some((Member::Uri, "uri")),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some((Member::TaskId, "taskId")),
        _ => None,
    }
}

/// The text of a header's value: as it stands, or out of `=?base64?..?=`. `None` if it cannot be read.
pub(crate) fn decoded(value: &str) -> Option<Cow<'_, str>> {
    let value = value.trim_matches([' ', '\t']);
    let coded = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    let Some(coded) = coded else {
        let plain = value.bytes().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e));
        return plain.then_some(Cow::Borrowed(value));
    };
    String::from_utf8(base64(coded)?).ok().map(Cow::Owned)
}

/// Standard base64 with its padding, and nothing else.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        Some(u32::from(match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        }))
    };
    let (digits, padding) = match text.as_bytes() {
        [digits @ .., b'=', b'='] => (digits, 2),
        [digits @ .., b'='] => (digits, 1),
        digits => (digits, 0),
    };
    if !(digits.len() + padding).is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut bits = 0;
        for at in 0..4 {
            bits = bits << 6 | group.get(at).map_or(Some(0), |byte| digit(*byte))?;
        }
        let [_, bytes @ ..] = bits.to_be_bytes();
        let (kept, left) = bytes.split_at_checked(group.len() * 6 / 8)?;
        // Bits that stand for nothing must be none: one text has one spelling.
        if left.iter().any(|byte| *byte != 0) {
            return None;
        }
        out.extend_from_slice(kept);
    }
    Some(out)
}

// === impl Head ===

impl Head<'_> {
    /// Whether it names a modern revision.
    pub(crate) fn is_modern(&self) -> bool {
        self.protocol_version.is_some_and(|version| Era::of(trimmed(version)) == Era::Modern)
    }

    pub(super) fn owned_params(&self) -> Vec<(String, String)> {
        self.params.clone()
    }

    /// The head of a modern request. That the revision is the same was seen to; that it is there was not.
    pub(super) fn must_match(
        &self,
        method: &str,
        params: Option<(&RawValue, &Looked)>,
    ) -> Result<(), RpcError> {
        if self.protocol_version.is_none() {
            return Err(mismatch("the header MCP-Protocol-Version is missing"));
        }
        if self.method.is_none() {
            return Err(mismatch(format!("the header Mcp-Method is missing; the request's is {method:?}")));
        }
        self.must_not_differ(method)?;
        let Some((member, key)) = naming(method) else { return Ok(()) };
        let named = params.and_then(|(params, looked)| looked.member(params, member)).and_then(splice::text);
        let header = self.name.map(|name| {
            decoded(name).ok_or_else(|| mismatch(format!("the header Mcp-Name {name:?} cannot be decoded")))
        });
        match (header.transpose()?, named) {
            (Some(header), Some(named)) if header == named => Ok(()),
            (Some(header), Some(named)) => {
                Err(mismatch(format!("Mcp-Name is {header:?} and params.{key} is {named:?}")))
            }
            (Some(header), None) => {
                Err(mismatch(format!("Mcp-Name is {header:?} and params.{key} is no text")))
            }
            (None, Some(named)) => {
                Err(mismatch(format!("the header Mcp-Name is missing; params.{key} is {named:?}")))
            }
            // That a name is needed is for whoever knows the method.
            (None, None) => Ok(()),
        }
    }

    /// The method, if the head names one.
    pub(super) fn must_not_differ(&self, method: &str) -> Result<(), RpcError> {
        match self.method {
            Some(named) if trimmed(named) != method => {
                Err(mismatch(format!("Mcp-Method is {named:?} and the message's method is {method:?}")))
            }
            Some(_) | None => Ok(()),
        }
    }
}
