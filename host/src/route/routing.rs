//! What all calls of a host share.

use std::sync::Arc;

use crate::clock::Clock;
use crate::events::EventBus;
use crate::plugin::Services;

/// Shared by all calls of one host.
#[derive(Debug)]
pub(crate) struct Routing {
    pub(crate) clock: Clock,
    pub(crate) events: Arc<EventBus>,
}

impl Routing {
    pub(crate) fn new(services: &Services) -> Arc<Self> {
        Arc::new(Self { clock: services.clock, events: Arc::clone(&services.events) })
    }
}
