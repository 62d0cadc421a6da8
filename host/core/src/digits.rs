//! Numbers as text, for who writes one in every answer: without the machinery of formatting, and without memory of their own.

/// The digits of a number.
#[derive(Clone, Copy, Debug)]
pub struct Digits {
    bytes: [u8; LONGEST],
    /// The first of them.
    at: usize,
}

/// Digits of the largest number, in the decimal system.
const LONGEST: usize = 20;
const HEX: &[u8; 16] = b"0123456789abcdef";

impl Digits {
    /// Of a number in the decimal system.
    #[must_use]
    pub fn decimal(number: u64) -> Self {
        Self::written(number, |left| (left % 10, left / 10), 1)
    }

    /// Of a number in the hexadecimal system, at least so many: zeros stand before it.
    #[must_use]
    pub fn hex(number: u64, least: usize) -> Self {
        Self::written(number, |left| (left & 0xf, left >> 4), least)
    }

    /// `split` gives the last digit of a number, and what is left without it.
    fn written(number: u64, split: impl Fn(u64) -> (u64, u64), least: usize) -> Self {
        let (mut bytes, mut at, mut left) = ([b'0'; LONGEST], LONGEST, number);
        for place in bytes.iter_mut().rev() {
            if left == 0 {
                break;
            }
            let (digit, rest) = split(left);
            *place = HEX.get(digit as usize).copied().unwrap_or_default();
            left = rest;
            at -= 1;
        }
        Self { bytes, at: at.min(LONGEST - least.min(LONGEST)) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // They are letters and digits.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Likewise, as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Digits;

    #[test]
    fn the_ends_are_right() {
        assert_eq!(Digits::decimal(0).as_str(), "0");
        assert_eq!(Digits::decimal(u64::MAX).as_str(), "18446744073709551615");
        assert_eq!((Digits::hex(0, 8).as_str(), Digits::hex(0, 1).as_str()), ("00000000", "0"));
        assert_eq!(Digits::hex(u64::MAX, 1).as_str(), "ffffffffffffffff");
        assert_eq!(Digits::hex(1, 99).as_str(), "00000000000000000001");
    }

    proptest! {
        #[test]
        fn they_are_what_everybody_writes(number in any::<u64>(), shift in 0_u32..64) {
            let number = number >> shift;
            for (digits, text) in [
                (Digits::decimal(number), number.to_string()),
                (Digits::hex(number, 1), format!("{number:x}")),
                (Digits::hex(number, 8), format!("{number:08x}")),
            ] {
                prop_assert_eq!(digits.as_str(), text);
            }
        }
    }
}
