//! Where a string of JSON ends: found a word at a time where it is short, as nearly all are, and in blocks where it is long.

use memchr::memchr2;

/// Words that are looked at one by one, before blocks are.
const WORDS: usize = 4;
/// What is longer is searched by the library, where nothing but a quote or an escape can end it: it is faster, but to begin
/// costs more than to look at a few words.
pub(super) const LONG: usize = 512;

/// The next byte that ends a string, begins an escape or may not stand in one; the text's end if there is none. `KNOWN`: the text
/// is JSON, so that no such byte stands in a string.
pub(super) fn run_end<const KNOWN: bool>(bytes: &[u8], from: usize) -> usize {
    let (mut at, mut words) = (from, 0);
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        if let Some(found) = in_word(u64::from_le_bytes(*word)) {
            return at + found;
        }
        at += size_of::<u64>();
        words += 1;
        if words == WORDS {
            at = past_blocks::<KNOWN>(bytes, at);
        }
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len())
}

fn is_special(byte: u8) -> bool {
    ends(byte) || byte == b'\\'
}

/// Whether it is a quote, or may not stand in a string: with one bit changed, these alone are below 0x21.
fn ends(byte: u8) -> bool {
    byte ^ QUOTE < LOW
}

const QUOTE: u8 = b'"' ^ b' ';
const LOW: u8 = b' ' + 1;

/// Behind the blocks that hold no such byte.
fn past_blocks<const KNOWN: bool>(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk::<32>()) {
        // Without a branch, so that it is done for all of them at once.
        let is_end = |byte: u8| if KNOWN { byte == b'"' } else { ends(byte) };
        let found = block.iter().fold(false, |found, byte| found | is_end(*byte) | (*byte == b'\\'));
        if found {
            break;
        }
        at += block.len();
        if KNOWN && at - from >= LONG {
            let rest = bytes.get(at..).unwrap_or_default();
            return at + memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        }
    }
    at
}

/// The first such byte of eight.
fn in_word(word: u64) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The lowest mark is that of the first byte that is below `n`; higher ones may be false.
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word;
    let (quote, escape) = (ONES * u64::from(QUOTE), ONES * u64::from(b'\\'));
    let marks = below(word ^ quote, u64::from(LOW)) | below(word ^ escape, 1);
    let marks = marks & (ONES << 7);
    (marks != 0).then(|| marks.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::{LONG, is_special, run_end};

    #[test]
    fn the_first_special_byte_is_found_wherever_it_stands() {
        for length in (0..80).chain(LONG - 2..LONG + 80) {
            for special in [b'"', b'\\', b'\n', 0, 0x1f] {
                for begin in [0, 3] {
                    let mut text = vec![b'x'; begin + length];
                    text.extend_from_slice(&[special, b'y', b'"', 0x7f, b'\\', 0xc3, 0xa4, b'z', b'z', b'z']);
                    assert_eq!(run_end::<false>(&text, begin), begin + length);
                    if special >= b' ' {
                        assert_eq!(run_end::<true>(&text, begin), begin + length);
                    }
                }
            }
            let none = vec![b'x'; length];
            assert_eq!((run_end::<true>(&none, 0), run_end::<false>(&none, 0)), (length, length));
        }
    }

    #[test]
    fn no_other_byte_ends_it() {
        for byte in 0..=u8::MAX {
            let text = [b'a', byte, b'a', b'a', b'a', b'a', b'a', b'a', b'"'];
            assert_eq!(run_end::<false>(&text, 0), if is_special(byte) { 1 } else { 8 }, "{byte}");
        }
    }
}
