//! Calls that nobody waits for any more and that the plugin may go on with: what it says or asks then may be for them.
//!
//! Clients give up often, and most plugins stop or answer soon. Such a call therefore counts for a short while, and never
//! against calls of its own principal, who may see what it asks. It must not know what follows from that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// How long a call counts after it was given up.
const COUNTS_FOR: Duration = Duration::from_secs(60);
/// So many are kept; the oldest is forgotten.
const MOST: usize = 1024;

/// The calls of one connection that were given up, the oldest first.
#[derive(Default)]
pub(super) struct GivenUp(VecDeque<Call>);

struct Call {
    id: u64,
    principal: Arc<str>,
    at: Instant,
}

// === impl GivenUp ===

impl GivenUp {
    pub(super) fn add(&mut self, id: u64, principal: Arc<str>, at: Instant) {
        let over = self.0.iter().take_while(|call| !call.counts(at)).count();
        self.0.drain(..over);
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(Call { id, principal, at });
    }

    /// The plugin has answered it after all: it is done with it. False: it is not among them.
    pub(super) fn answered(&mut self, id: u64) -> bool {
        let place = self.0.iter().position(|call| call.id == id);
        place.and_then(|place| self.0.remove(place)).is_some()
    }

    /// How many may be meant instead of calls of this principal; `None`: there is no other call.
    pub(super) fn beside(&self, principal: Option<&str>, at: Instant) -> usize {
        let calls = self.0.iter().rev().take_while(|call| call.counts(at));
        calls.filter(|call| principal != Some(&*call.principal)).count()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

// === impl Call ===

impl Call {
    fn counts(&self, at: Instant) -> bool {
        at.duration_since(self.at) < COUNTS_FOR
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::{COUNTS_FOR, GivenUp, MOST};

    #[test]
    fn a_call_counts_for_a_while_and_against_others() {
        let (mut given_up, at) = (GivenUp::default(), Instant::now());
        given_up.add(1, "a".into(), at);
        given_up.add(2, "b".into(), at + COUNTS_FOR / 2);
        let beside = |given_up: &GivenUp, whom, at| given_up.beside(whom, at);
        let now = at + COUNTS_FOR / 2;
        assert_eq!(beside(&given_up, None, now), 2);
        assert_eq!((beside(&given_up, Some("a"), now), beside(&given_up, Some("c"), now)), (1, 2));
        assert_eq!(beside(&given_up, Some("c"), at + COUNTS_FOR), 1);
        assert!(given_up.answered(2) && !given_up.answered(2));
        assert_eq!((beside(&given_up, Some("c"), now), beside(&given_up, Some("a"), now)), (1, 0));
        given_up.add(3, "a".into(), at + COUNTS_FOR);
        assert_eq!(given_up.0.len(), 1, "what no longer counts is forgotten");
    }

    #[test]
    fn no_more_are_kept_than_fit() {
        let (mut given_up, at) = (GivenUp::default(), Instant::now());
        for id in 0..=MOST as u64 {
            given_up.add(id, if id == 0 { "oldest" } else { "other" }.into(), at);
        }
        assert_eq!((given_up.beside(None, at), given_up.beside(Some("other"), at)), (MOST, 0));
    }
}
