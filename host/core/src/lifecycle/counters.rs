//! How often an instance failed lately, and what follows: a delay, or quarantine.
//!
//! The count decays with healthy uptime instead of being reset by a clock edge, so that "fails once a month" never means
//! "always waits the longest delay".

use std::collections::VecDeque;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::manifest::Restart;
use crate::moment::Moment;

/// An instance that was ready this long is restarted at once, the first time.
const SOUND: Duration = Duration::from_secs(10);
/// The window in which crashes count towards quarantine; ready for as long as this, all counts are cleared.
const WINDOW: Duration = Duration::from_secs(600);

/// What an instance's failures amount to.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Steps of the backoff.
    step: u32,
    /// The restart without delay has been used up.
    rushed: bool,
    /// Starts in a row that never became ready.
    failed_starts: u32,
    /// When it ended after having been ready, within the window.
    crashes: VecDeque<Moment>,
}

impl Counters {
    /// Notes that the other side could not be reached, or what is to be run not fetched, and returns the delay before the next
    /// try. It is no crash of the plugin: a server that is away for an hour is back in the catalog within a minute of its return.
    pub fn uncounted(&mut self, restart: &Restart, roll: f64) -> Duration {
        self.next_step(restart, roll)
    }

    /// Notes an end and returns the delay before the next start. `ready_for` is how long it had been ready, if it was.
    pub fn failed(
        &mut self,
        now: Moment,
        ready_for: Option<Duration>,
        restart: &Restart,
        roll: f64,
    ) -> Duration {
        match ready_for {
            None => self.failed_starts = self.failed_starts.saturating_add(1),
            Some(uptime) => {
                self.failed_starts = 0;
                self.decay(uptime, restart);
                self.crashes.push_back(now);
                // Only as many as can matter are kept.
                while self.crashes.len() > restart.quarantine_crashes as usize {
                    self.crashes.pop_front();
                }
            }
        }
        if self.step == 0 && !self.rushed && ready_for.is_some_and(|uptime| uptime >= SOUND) {
            self.rushed = true;
            return Duration::ZERO;
        }
        self.next_step(restart, roll)
    }

    /// Whether the failures so far are enough for quarantine.
    #[must_use]
    pub fn hopeless(&self, now: Moment, restart: &Restart) -> bool {
        let recent = self.crashes.iter().filter(|at| now - **at < WINDOW).count();
        self.failed_starts >= restart.quarantine_after || recent >= restart.quarantine_crashes as usize
    }

    fn next_step(&mut self, restart: &Restart, roll: f64) -> Duration {
        let delay = Backoff::from(restart).around(self.step, restart.jitter, roll);
        self.step = self.step.saturating_add(1);
        delay
    }

    fn decay(&mut self, uptime: Duration, restart: &Restart) {
        if uptime >= WINDOW {
            *self = Self::default();
            return;
        }
        let period = restart.decay.0.as_millis().max(1);
        let steps = u32::try_from(uptime.as_millis() / period).unwrap_or(u32::MAX);
        self.step = self.step.saturating_sub(steps);
        if steps > 0 {
            self.rushed = false;
        }
    }
}
