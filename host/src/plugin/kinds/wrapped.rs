//! A plugin of a manifest within a wrapper of the embedding program: what the manifest's one needs is made ready first,
//! whether its wrapper thinks of it or not.

use std::sync::Arc;

use wharf_core::manifest::Wrapper;
use wharf_plugin_api::{Cause, Inbox, Launch, Link, Plugin, async_trait};

pub(super) struct Wrapped {
    inner: Arc<dyn Plugin>,
    outer: Arc<dyn Plugin>,
}

impl Wrapped {
    pub(super) fn new(inner: Arc<dyn Plugin>, wrapper: &Wrapper) -> Self {
        Self { outer: (wrapper.0)(Arc::clone(&inner)), inner }
    }
}

#[async_trait]
impl Plugin for Wrapped {
    async fn prepare(&self) -> Result<(), Cause> {
        self.inner.prepare().await?;
        self.outer.prepare().await
    }

    async fn open(&self, launch: Launch, host: Arc<dyn Inbox>) -> Result<Arc<dyn Link>, Cause> {
        self.outer.open(launch, host).await
    }
}
