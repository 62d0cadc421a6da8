//! The calls whose clients are asked by their plugin, in the order in which they began to wait for an answer.
//!
//! Each of them holds a place among the calls that the plugin runs, and a person may never answer. So a share of the places
//! is all that they get, and the call that has waited longest is sent away where another one gets no turn.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::asks::Asks;

/// A client has at least so long to answer, however short others are willing to wait.
const LEAST: Duration = Duration::from_millis(10);

/// The asking calls behind one gate.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Longest first.
    waiting: Vec<Wait>,
}

/// A call with an open question.
#[derive(Debug)]
struct Wait {
    since: Instant,
    questions: usize,
    /// Of the call, and of no other one: it is known by this.
    asks: Asks,
}

/// An open question of a call.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    all: &'a Asking,
    asks: &'a Asks,
}

/// As many calls as may be ask already, none of them for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    pub(crate) most: usize,
}

// === impl Asking ===

impl Asking {
    /// The client of a call is asked, until what this returns is dropped: beside at most `most` - 1 other calls, each of which
    /// is left in peace for so long.
    ///
    /// # Errors
    /// If too many others ask.
    pub(crate) fn ask<'a>(
        &'a self,
        asks: &'a Asks,
        most: usize,
        patience: Duration,
    ) -> Result<Asked<'a>, TooMany> {
        let full = {
            let state = self.state();
            state.waiting.len() >= most && !state.waiting.iter().any(|wait| wait.asks.is(asks))
        };
        if full && !self.send_away(patience) {
            return Err(TooMany { most });
        }
        let mut state = self.state();
        match state.waiting.iter_mut().find(|wait| wait.asks.is(asks)) {
            Some(wait) => wait.questions += 1,
            None => state.waiting.push(Wait { since: Instant::now(), questions: 1, asks: asks.clone() }),
        }
        Ok(Asked { all: self, asks })
    }

    /// For a call that waits for a place: once it has waited for `patience`, the call that has asked longest is sent away, if
    /// it was left in peace for as long. One and no more. Never resolves.
    pub(crate) async fn press(&self, patience: Duration) -> Infallible {
        let mut next = Some(Self::first_press(Instant::now(), patience));
        while let Some(at) = next {
            tokio::time::sleep_until(at).await;
            next = self.press_once(patience);
        }
        std::future::pending().await
    }

    /// When a call that waits since then presses for the first time.
    pub(crate) fn first_press(since: Instant, patience: Duration) -> Instant {
        since + patience.max(LEAST)
    }

    /// The time has come, for who keeps it: says when to come again. `None`: one was sent away, and it is enough.
    pub(crate) fn press_once(&self, patience: Duration) -> Option<Instant> {
        if self.send_away(patience) {
            return None;
        }
        // Whoever begins to ask now is left in peace until then, too.
        let longest = self.state().waiting.first().map(|wait| wait.since);
        Some(longest.unwrap_or_else(Instant::now) + patience.max(LEAST))
    }

    /// Sends away the call that has asked longest, if it has for `patience`.
    pub(crate) fn send_away(&self, patience: Duration) -> bool {
        let mut state = self.state();
        let ripe = state.waiting.first().is_some_and(|wait| wait.since.elapsed() >= patience.max(LEAST));
        if ripe {
            state.waiting.remove(0).asks.send_away();
        }
        ripe
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut state = self.all.state();
        // One that was sent away is no longer there.
        if let Some(wait) = state.waiting.iter_mut().find(|wait| wait.asks.is(self.asks)) {
            wait.questions -= 1;
        }
        state.waiting.retain(|wait| wait.questions > 0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::super::asks::{Asks, asks};
    use super::{Asking, TooMany};

    const SECOND: Duration = Duration::from_secs(1);

    fn is_sent_away(asks: &Asks) -> bool {
        asks.sent_away().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_counts_once_and_the_longest_makes_room_when_it_had_its_time() {
        let asking = Asking::default();
        let [one, two, three] = [(); 3].map(|()| asks().0);
        let ask = |asks| asking.ask(asks, 2, SECOND);
        let first = (ask(&one).unwrap(), ask(&one).unwrap());
        tokio::time::advance(SECOND / 2).await;
        let _second = ask(&two).unwrap();
        assert_eq!(ask(&three).unwrap_err(), TooMany { most: 2 });
        tokio::time::advance(SECOND / 2).await;
        let _third = ask(&three).unwrap();
        assert!(is_sent_away(&one) && !is_sent_away(&two));
        drop(first);
        assert_eq!(asking.state().waiting.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_leaves_its_place() {
        let asking = Asking::default();
        let [one, two] = [(); 2].map(|()| asks().0);
        drop(asking.ask(&one, 1, SECOND).unwrap());
        drop(asking.ask(&two, 1, SECOND).unwrap());
        tokio::time::advance(SECOND * 9).await;
        assert!(!asking.send_away(SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_sends_one_away_and_not_before_its_time() {
        let asking = Asking::default();
        let [one, two] = [(); 2].map(|()| asks().0);
        let pressing = asking.press(SECOND);
        tokio::pin!(pressing);
        assert!(pressing.as_mut().now_or_never().is_none());
        tokio::time::advance(SECOND / 2).await;
        let ask = |asks| asking.ask(asks, 2, SECOND).unwrap();
        let _asked = (ask(&one), ask(&two));
        for (passed, gone) in [(SECOND * 3 / 4, false), (SECOND * 3 / 4, true), (SECOND * 9, true)] {
            tokio::time::advance(passed).await;
            // Twice: a wait that is over may begin another one.
            assert!(pressing.as_mut().now_or_never().is_none() && pressing.as_mut().now_or_never().is_none());
            assert_eq!(is_sent_away(&one), gone);
        }
        assert!(!is_sent_away(&two), "one is enough");
    }
}
