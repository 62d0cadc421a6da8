//! Numbers that look random and are the same for the same seed (splitmix64).

/// A sequence of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed that `WHARF_CHAOS_SEED` names, or always the same.
    pub(crate) fn of_environment() -> u64 {
        let told = std::env::var("WHARF_CHAOS_SEED").ok();
        told.map_or(72, |text| text.parse().expect("WHARF_CHAOS_SEED is a whole number"))
    }

    /// How long a random run takes: what `WHARF_CHAOS_SECONDS` says, or so many seconds.
    pub(crate) fn time(usual: u64) -> std::time::Duration {
        let told = std::env::var("WHARF_CHAOS_SECONDS").ok();
        let seconds = told.map_or(usual, |text| text.parse().expect("WHARF_CHAOS_SECONDS is a whole number"));
        std::time::Duration::from_secs(seconds)
    }

    /// Another sequence, for somebody who draws at their own pace.
    pub(crate) fn branch(&self, n: u64) -> Self {
        let mut branch = Self(self.0 ^ n.wrapping_mul(0xd6e8_feb8_6659_fd93));
        branch.next();
        branch
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = self.below(from.len() as u64);
        &from[usize::try_from(at).expect("an index")]
    }
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let mut known = Seed::new(1_234_567);
    assert_eq!(known.next(), 6_457_827_717_110_365_317, "the first number of the published sequence");
    let draw = |mut seed: Seed| (0..100).map(|_| seed.below(1000)).collect::<Vec<_>>();
    assert_eq!(draw(Seed::new(7)), draw(Seed::new(7)));
    assert_ne!(draw(Seed::new(7)), draw(Seed::new(7).branch(1)));
}
