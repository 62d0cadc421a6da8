//! Which instance takes a call.

use crate::lifecycle::State;
use crate::manifest::Balance;

/// An instance as the choice sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Where it stands.
    pub state: State,
    /// Whether it has a link that takes calls.
    pub linked: bool,
    /// Calls in flight.
    pub inflight: usize,
}

/// What a call can do where no instance takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Wait: it comes up by itself, soon.
    Wait,
    /// Fail now.
    Fail,
}

/// Picks the position of an instance, or `None` if none can take a call. Ready ones come first; a degraded one (alive, but
/// slow to answer its probes) serves only where there is no other. `turn` counts the calls of the plugin.
#[must_use]
pub fn pick(candidates: &[Candidate], balance: Balance, turn: usize) -> Option<usize> {
    let among = |state: State| {
        let mut of_state = candidates.iter().enumerate().filter(move |(_, c)| c.linked && c.state == state);
        let start = of_state.clone().count().checked_sub(1).map(|last| turn % (last + 1));
        match balance {
            Balance::RoundRobin => start.and_then(|n| of_state.nth(n)),
            // The turn breaks ties, so that idle instances share the work.
            Balance::LeastInflight | Balance::Sticky => start.and_then(|n| {
                let cut = of_state.clone().nth(n).map_or(0, |(position, _)| position);
                of_state.min_by_key(|(position, c)| (c.inflight, *position < cut, *position))
            }),
        }
    };
    among(State::Ready).or_else(|| among(State::Degraded)).map(|(position, _)| position)
}

/// Whether it is worth waiting for a plugin in this state. `wanted`: it is meant to be up, so that what ends comes back.
#[must_use]
pub fn outlook(state: State, wanted: bool) -> Outlook {
    match state {
        State::Ready | State::Degraded | State::Starting | State::Preparing | State::Backoff => Outlook::Wait,
        // One that sleeps is woken by the call.
        State::Draining | State::Stopping | State::Stopped if wanted => Outlook::Wait,
        State::Draining
        | State::Stopping
        | State::Quarantined
        | State::Fatal
        | State::Misconfigured
        | State::Stopped
        | State::Disabled => Outlook::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::{Candidate, pick};
    use crate::lifecycle::State;
    use crate::manifest::Balance::{LeastInflight, RoundRobin};

    fn c(state: State, inflight: usize) -> Candidate {
        Candidate { state, linked: true, inflight }
    }

    #[test]
    fn ready_before_degraded_before_none() {
        let all = [c(State::Starting, 0), c(State::Degraded, 0), c(State::Ready, 9)];
        assert_eq!(pick(&all, LeastInflight, 0), Some(2));
        assert_eq!(pick(&all[..2], LeastInflight, 0), Some(1));
        assert_eq!(pick(&all[..1], LeastInflight, 0), None);
        assert_eq!(pick(&[], RoundRobin, 3), None);
        assert_eq!(pick(&[Candidate { linked: false, ..c(State::Ready, 0) }], RoundRobin, 3), None);
    }

    #[test]
    fn the_least_busy_wins_and_ties_are_shared() {
        let all = [c(State::Ready, 2), c(State::Ready, 1), c(State::Ready, 1)];
        assert_eq!(pick(&all, LeastInflight, 0), Some(1));
        assert_eq!(pick(&all, LeastInflight, 2), Some(2));
        let idle = [c(State::Ready, 0); 3];
        assert_eq!(
            (0..6).map(|t| pick(&idle, LeastInflight, t).unwrap()).collect::<Vec<_>>(),
            [0, 1, 2, 0, 1, 2]
        );
    }

    #[test]
    fn round_robin_takes_each_in_turn() {
        let all = [c(State::Ready, 5), c(State::Backoff, 0), c(State::Ready, 0)];
        assert_eq!((0..4).map(|t| pick(&all, RoundRobin, t).unwrap()).collect::<Vec<_>>(), [0, 2, 0, 2]);
    }
}
