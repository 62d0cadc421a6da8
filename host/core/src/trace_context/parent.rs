//! `traceparent`: the name of a trace, and of the span in it that asks.

use std::fmt;

/// Bits of the flags that the specification gives a meaning: sampled, and that the trace's name is random. Others are not
/// passed on.
const FLAGS: u8 = 0b11;
/// Length of what version 00 writes; later ones begin with the same.
const LENGTH: usize = 55;

/// Which trace, and who asks in it. Neither is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

impl TraceParent {
    /// Reads `00-<32 hex>-<16 hex>-<2 hex>`, in lower case. Of a later version what it shares with this one is read, as the
    /// specification asks; `ff` is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let version = hex(bytes.get(..2)?)?;
        let rest = bytes.get(LENGTH..)?;
        let ends = rest.is_empty() || (version > 0 && rest.first() == Some(&b'-'));
        let dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
        if version == 0xff || !ends || !dashes {
            return None;
        }
        let trace = hex(bytes.get(3..35)?)?;
        let span = u64::try_from(hex(bytes.get(36..52)?)?).ok()?;
        let flags = u8::try_from(hex(bytes.get(53..LENGTH)?)?).ok()? & FLAGS;
        (trace != 0 && span != 0).then_some(Self { trace, span, flags })
    }

    /// The name of the trace: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The name of the span that asks: 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(self) -> String {
        format!("{:016x}", self.span)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// A number of lower-case hexadecimal digits alone.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}
