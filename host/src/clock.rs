//! The host's two clocks: the monotonic one that decides, and the wall clock that is only shown.

use std::time::SystemTime;

use tokio::time::Instant;
use wharf_core::Moment;

/// Started with the host. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    wall: SystemTime,
}

impl Clock {
    /// Starts now.
    #[must_use]
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), wall: SystemTime::now() }
    }

    /// The time for decisions.
    #[must_use]
    pub(crate) fn now(&self) -> Moment {
        Moment::new(self.start.elapsed())
    }

    /// The instant at which a moment comes, for timers.
    #[must_use]
    pub(crate) fn instant(&self, at: Moment) -> Instant {
        self.start + at.since_start()
    }

    /// An instant as people read it.
    #[must_use]
    pub(crate) fn wall_at(&self, at: Instant) -> SystemTime {
        self.wall + at.saturating_duration_since(self.start)
    }

    /// A moment as people read it; right as long as nobody sets the wall clock while the host runs.
    #[must_use]
    pub(crate) fn wall(&self, at: Moment) -> SystemTime {
        self.wall + at.since_start()
    }
}
