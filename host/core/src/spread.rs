//! Tables of the path of a call, where the standard one would spend most of its time on a hash.
//!
//! By numbers that no stranger chooses: our own ids, and what was hashed with a key already. And by names that strangers do
//! choose: these are hashed with a key of this run, by a function that is quick on short texts.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A table by such numbers.
pub type ByNumber<T> = HashMap<u64, T, BuildHasherDefault<Spread>>;

/// A table by names, whoever chose them.
pub type ByName<K, T> = HashMap<K, T, foldhash::quality::RandomState>;

/// Spreads numbers that nobody else chooses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio: neighbours come apart, in the high bits as well.
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::Hasher as _;

    use super::Spread;

    #[test]
    fn neighbours_come_apart_at_both_ends() {
        let spread = |number: u64| {
            let mut hasher = Spread::default();
            hasher.write_u64(number);
            hasher.finish()
        };
        // A table takes its place from the low bits, and a mark of seven from the high ones.
        let low: HashSet<u64> = (0..128).map(|n| spread(n) % 128).collect();
        let high: HashSet<u64> = (0..128).map(|n| spread(n) >> 57).collect();
        assert!(low.len() > 64 && high.len() > 64, "{} {}", low.len(), high.len());
    }
}
