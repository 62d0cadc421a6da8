//! What all calls of a host share.

use std::sync::Arc;

use super::idempotency::Keys;
use crate::clock::Clock;
use crate::events::EventBus;
use crate::plugin::Services;

/// Shared by all calls of one host.
#[derive(Debug)]
pub(crate) struct Routing {
    pub(crate) clock: Clock,
    pub(crate) events: Arc<EventBus>,
    /// Of calls that must run at most once.
    pub(crate) keys: Arc<Keys>,
}

impl Routing {
    pub(crate) fn new(services: &Services) -> Arc<Self> {
        let keys = Arc::new(Keys::new(&services.journal));
        Arc::new(Self { clock: services.clock, events: Arc::clone(&services.events), keys })
    }
}
