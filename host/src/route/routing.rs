//! What all calls of a host share.

use std::sync::Arc;

use super::calls::Calls;
use crate::clock::Clock;
use crate::events::EventBus;
use crate::plugin::Services;

/// Shared by all calls of one host.
#[derive(Debug)]
pub(crate) struct Routing {
    pub(crate) clock: Clock,
    pub(crate) events: Arc<EventBus>,
    /// Those in flight.
    pub(crate) calls: Calls,
}

impl Routing {
    /// At most `most_calls` are in flight at a time.
    pub(crate) fn new(services: &Services, most_calls: usize) -> Arc<Self> {
        let calls = Calls::new(most_calls);
        Arc::new(Self { clock: services.clock, events: Arc::clone(&services.events), calls })
    }
}
