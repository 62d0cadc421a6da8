//! What all calls of a host share.

use std::sync::Arc;

use super::book::Book;
use super::calls::Calls;
use super::idempotency::Keys;
use crate::alarm::Alarm;
use crate::clock::Clock;
use crate::events::EventBus;
use crate::journal::Journal;
use crate::plugin::Services;

/// Shared by all calls of one host.
#[derive(Debug)]
pub(crate) struct Routing {
    pub(crate) clock: Clock,
    /// Knows when their time is over.
    pub(crate) alarm: Alarm,
    pub(crate) events: Arc<EventBus>,
    /// Those that run and those that ran.
    pub(crate) book: Arc<Book>,
    /// What is written down of them.
    pub(crate) journal: Journal,
    /// Those in flight.
    pub(crate) calls: Calls,
    /// Of calls that must run at most once.
    pub(crate) keys: Arc<Keys>,
}

impl Routing {
    /// At most `most_calls` are in flight at a time.
    pub(crate) fn new(services: &Services, book: Arc<Book>, most_calls: usize) -> Arc<Self> {
        let (events, journal) = (Arc::clone(&services.events), services.journal.clone());
        let (keys, calls) = (Arc::new(Keys::new(&services.journal)), Calls::new(most_calls));
        let alarm = services.alarm.clone();
        alarm.minds(&book);
        Arc::new(Self { clock: services.clock, alarm, events, book, journal, calls, keys })
    }
}
