//! What the choice of an instance looks at, for each call: one word that its supervisor writes.

use std::sync::atomic::{AtomicU8, Ordering};

use wharf_core::lifecycle::State;
use wharf_plugin_api::{Era, Link};

/// The state in the lower bits.
const STATE: u8 = 0x0f;
/// It has a link that takes calls.
const LINKED: u8 = 0x10;
/// The link speaks the legacy era.
const LEGACY: u8 = 0x20;

/// How an instance looks. It may be a moment behind the snapshot: whoever goes by it looks at that once more.
#[derive(Debug, Default)]
pub(crate) struct Face(AtomicU8);

/// The same, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look(u8);

impl Face {
    /// `link`: what takes calls, if it serves.
    pub(super) fn show(&self, state: State, link: Option<&dyn Link>) {
        let at = State::ALL.iter().position(|one| *one == state).and_then(|at| u8::try_from(at).ok());
        let (linked, legacy) = (link.is_some(), link.is_some_and(|link| link.hello().era() == Era::Legacy));
        let bits = if linked { LINKED } else { 0 } | if legacy { LEGACY } else { 0 };
        self.0.store(at.unwrap_or(STATE) | bits, Ordering::Release);
    }

    pub(super) fn look(&self) -> Look {
        Look(self.0.load(Ordering::Acquire))
    }
}

impl Look {
    pub(super) fn state(self) -> State {
        State::ALL.get(usize::from(self.0 & STATE)).copied().unwrap_or(State::Disabled)
    }

    pub(super) fn is_linked(self) -> bool {
        self.0 & LINKED != 0
    }

    pub(super) fn is_legacy(self) -> bool {
        self.0 & LEGACY != 0
    }
}

#[cfg(test)]
mod tests {
    use wharf_core::lifecycle::State;

    use super::Face;

    #[test]
    fn every_state_is_seen_as_it_is_shown() {
        let face = Face::default();
        assert!(!face.look().is_linked(), "nothing is there before the first word");
        for state in State::ALL {
            face.show(state, None);
            let look = face.look();
            assert_eq!((look.state(), look.is_linked(), look.is_legacy()), (state, false, false));
        }
    }
}
