//! What plugins say outside of calls, for whoever listens: updated resources, log messages, the state of tasks. That a list
//! changed is not among it: the host reads the list again and tells what it found.

use std::sync::Arc;

use tokio::sync::broadcast;
use wharf_core::PluginId;
use wharf_plugin_api::Notification;

/// Notices that a slow listener may be behind.
const KEPT: usize = 1024;
/// The most bytes of the params of one: all listeners together keep that many of them.
pub(super) const LARGEST: usize = 256 << 10;

/// A notification that belongs to no call.
#[derive(Debug)]
pub(crate) struct Notice {
    /// Who said it.
    pub(crate) plugin: PluginId,
    /// The client's session whose own instance said it; `None`: an instance that all share.
    pub(crate) session: Option<Arc<str>>,
    /// What.
    pub(crate) notification: Notification,
}

/// The feed of all plugins. A listener that lags is told so by its channel.
#[derive(Clone, Debug)]
pub(crate) struct Notices(broadcast::Sender<Arc<Notice>>);

impl Default for Notices {
    fn default() -> Self {
        Self(broadcast::Sender::new(KEPT))
    }
}

impl Notices {
    /// Tells those who listen now.
    pub(crate) fn tell(&self, notice: Notice) {
        // Nobody listening is fine.
        self.0.send(Arc::new(notice)).ok();
    }

    /// Listens from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.0.subscribe()
    }
}
