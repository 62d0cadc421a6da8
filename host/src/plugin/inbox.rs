//! The host's ear for one generation: what a plugin says outside of calls.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wharf_core::{Generation, InstanceNo, PluginId, Revision};
use wharf_plugin_api::{CallError, Cause, Inbox, Notification, Reply, Request, RpcError, Stage, async_trait};

use super::notice::{LARGEST, Notice, Notices};
use super::versions::Muted;
use super::visit::Visit;
use crate::process::logs::LogBook;

/// What the opening has told so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) pid: Option<u32>,
    /// The port that the plugin's process listens on, or shall listen on.
    pub(crate) port: Option<u16>,
    /// Where its server listens, once that is known.
    pub(crate) at: Option<Server>,
    /// Whom it waits for before it may fetch what it runs.
    pub(crate) behind: Option<String>,
}

/// Where a server listens: an IP address or a name, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The ear of one generation.
#[derive(Debug)]
pub(crate) struct GenerationInbox {
    facts: Mutex<Facts>,
    /// Rung when the facts changed, or the plugin says that its lists did.
    pub(crate) news: Arc<Notify>,
    lists_changed: AtomicBool,
    /// What the plugin has said so far.
    heard: AtomicU64,
    cancel: CancellationToken,
    /// Why nothing can be said to the plugin any more, until it is taken.
    lost: Mutex<Option<Cause>>,
    closed: Mutex<Option<oneshot::Sender<Cause>>>,
    outside: Option<Outside>,
    born: Instant,
}

/// Where goes what the plugin says outside of calls.
#[derive(Clone, Debug)]
pub(crate) struct Outside {
    pub(crate) plugin: PluginId,
    pub(crate) notices: Notices,
    pub(crate) log: Arc<LogBook>,
    /// Which of the plugin's instances, and which life of it: for the log.
    pub(crate) instance: InstanceNo,
    pub(crate) generation: Generation,
    /// Of another version, which takes the calls, the same is heard.
    pub(super) muted: (Arc<Muted>, Revision),
    /// The session whose own instance it is.
    pub(crate) visit: Option<Arc<Visit>>,
}

impl GenerationInbox {
    /// An ear that tells nobody what it hears.
    #[cfg(test)]
    pub(crate) fn new(news: Arc<Notify>) -> (Arc<Self>, oneshot::Receiver<Cause>) {
        Self::with(news, None)
    }

    fn with(news: Arc<Notify>, outside: Option<Outside>) -> (Arc<Self>, oneshot::Receiver<Cause>) {
        let (closed, end) = oneshot::channel();
        let inbox = Self {
            facts: Mutex::default(),
            news,
            lists_changed: false.into(),
            heard: 0.into(),
            cancel: CancellationToken::new(),
            lost: Mutex::default(),
            closed: Mutex::new(Some(closed)),
            outside,
            born: Instant::now(),
        };
        (Arc::new(inbox), end)
    }

    /// An ear, and where the end of the generation will be told.
    pub(crate) fn telling(news: Arc<Notify>, outside: Outside) -> (Arc<Self>, oneshot::Receiver<Cause>) {
        Self::with(news, Some(outside))
    }

    pub(crate) fn facts(&self) -> Facts {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It waits for a place to fetch, which these have; none: it has one.
    pub(super) fn waits_behind(&self, plugins: &[PluginId]) {
        let ids: Vec<&str> = plugins.iter().map(PluginId::as_str).collect();
        let behind = (!ids.is_empty()).then(|| ids.join(", "));
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        if facts.behind != behind {
            facts.behind = behind;
            self.news.notify_one();
        }
    }

    /// Whether the lists changed since this was last asked.
    pub(crate) fn take_lists_changed(&self) -> bool {
        self.lists_changed.swap(false, Ordering::AcqRel)
    }

    /// The plugin says so, or could not have been heard for a while.
    pub(crate) fn lists_may_have_changed(&self) {
        self.lists_changed.store(true, Ordering::Release);
        self.news.notify_one();
    }

    /// Why nothing can be said to the plugin any more, once.
    pub(super) fn take_lost(&self) -> Option<Cause> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// How long ago its generation was asked for.
    pub(super) fn age(&self) -> Duration {
        self.born.elapsed()
    }

    /// How many messages it has sent, and things it has shown.
    pub(crate) fn heard_so_far(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// The generation is no longer wanted.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }
}

impl Outside {
    /// What is too large for all to keep is told to nobody but the plugin's own log.
    fn tell(&self, notification: Notification) {
        let (muted, revision) = &self.muted;
        if muted.is(*revision) {
            return;
        }
        let bytes = notification.params.as_ref().map_or(0, |params| params.get().len());
        if bytes > LARGEST {
            let text = format!(
                "{} was dropped: its params have {bytes} bytes, and outside of calls {LARGEST} are the most",
                notification.method
            );
            self.log.append(self.instance.0, self.generation.0, "wharf", &text);
            return;
        }
        let session = self.visit.as_ref().map(|visit| Arc::clone(&visit.session));
        self.notices.tell(Notice { plugin: self.plugin.clone(), session, notification });
    }
}

#[async_trait]
impl Inbox for GenerationInbox {
    fn heard(&self) {
        if self.heard.fetch_add(1, Ordering::Relaxed) == 0 {
            self.news.notify_one();
        }
    }

    fn stage(&self, stage: Stage) {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        match stage {
            Stage::Spawned { pid, port } => *facts = Facts { pid: Some(pid), port, ..Facts::default() },
            Stage::Listening { host, port } => {
                // A port of the API is one of this machine.
                facts.port = facts.pid.map(|_| port);
                facts.at = Some(Server { host, port });
                self.heard.fetch_add(1, Ordering::Relaxed);
            }
            // A step of a later version of the plugin's interface.
            _ => {}
        }
        drop(facts);
        self.news.notify_one();
    }

    fn event(&self, notification: Notification) {
        let lists = ["notifications/tools/list_changed", "notifications/prompts/list_changed"];
        if lists.contains(&&*notification.method)
            || notification.method == "notifications/resources/list_changed"
        {
            self.lists_may_have_changed();
        } else if let Some(outside) = &self.outside {
            outside.tell(notification);
        } else {
            tracing::debug!(method = %notification.method, "notification that belongs to no call");
        }
    }

    async fn ask(&self, request: Request) -> Result<Reply, CallError> {
        if let Some(visit) = self.outside.as_ref().and_then(|outside| outside.visit.as_ref()) {
            return Ok(visit.ask(request).await);
        }
        let text = format!(
            "{} belongs to no call, and several clients share this instance; `isolation = \"session\"` gives each its own",
            request.method
        );
        Ok(Reply::Error(RpcError::new(RpcError::METHOD_NOT_FOUND, text)))
    }

    async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    fn lost(&self, cause: Cause) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
        self.news.notify_one();
    }

    fn closed(&self, cause: Cause) {
        let sender = self.closed.lock().unwrap_or_else(PoisonError::into_inner).take();
        match sender {
            // The supervisor may be gone; then nobody needs to know.
            Some(sender) => drop(sender.send(cause)),
            None => tracing::warn!(%cause, "a plugin told its end twice"),
        }
    }
}
