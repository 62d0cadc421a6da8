//! What all calls of a host share.

use std::sync::Arc;

use super::book::Book;
use super::calls::Calls;
use crate::clock::Clock;
use crate::events::EventBus;
use crate::journal::Journal;
use crate::plugin::Services;

/// Shared by all calls of one host.
#[derive(Debug)]
pub(crate) struct Routing {
    pub(crate) clock: Clock,
    pub(crate) events: Arc<EventBus>,
    /// Those in flight, as a number.
    pub(crate) calls: Calls,
    /// Those that run and those that ran.
    pub(crate) book: Arc<Book>,
    /// What is written down of them.
    pub(crate) journal: Journal,
}

impl Routing {
    /// At most `most_calls` are in flight at a time.
    pub(crate) fn new(services: &Services, book: Arc<Book>, most_calls: usize) -> Arc<Self> {
        let (events, journal) = (Arc::clone(&services.events), services.journal.clone());
        Arc::new(Self { clock: services.clock, events, calls: Calls::new(most_calls), book, journal })
    }
}
