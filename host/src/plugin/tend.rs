//! Tells an instance, while it serves, what the plugin's clients want: a task that compares the union of their wants with what
//! the plugin was told, in the words of its era.
//!
//! Its requests are the host's own: they count as no call, so nothing that drains or stops waits for them, and they end with
//! the task.

mod legacy;
mod modern;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio_util::sync::CancellationToken;
use wharf_core::backoff::Backoff;
use wharf_plugin_api::{Era, Link};

use super::inbox::GenerationInbox;
use super::services::{Services, roll};
use super::supervisor::Supervisor;
use super::watch::{Serving, Watch};

/// How long the plugin may take to answer one of these requests.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// After one that failed. A plugin that answers none of them is not asked more often than once in a while.
const AGAIN: Backoff = Backoff { initial: Duration::from_secs(1), factor: 2.0, max: Duration::from_secs(60) };

/// What a plugin says it can tell.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Tells {
    tools: Option<Listed>,
    prompts: Option<Listed>,
    resources: Option<Listed>,
    logging: Option<IgnoredAny>,
    extensions: Extensions,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Extensions {
    #[serde(rename = "io.modelcontextprotocol/tasks")]
    tasks: Option<IgnoredAny>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Listed {
    list_changed: bool,
    subscribe: bool,
}

/// One instance that serves.
struct Tended {
    link: Arc<dyn Link>,
    inbox: Arc<GenerationInbox>,
    services: Arc<Services>,
    watch: Arc<Watch>,
    serving: Serving,
    tells: Tells,
}

impl Supervisor {
    /// Begins to tend the generation that serves now; ends when it no longer does.
    pub(super) fn tend(&mut self) {
        let (Some(link), Some(inbox)) = (self.link.clone(), self.inbox.clone()) else { return };
        let watch = Arc::clone(&self.core.watch);
        let tended = Tended {
            tells: Tells::of(&*link),
            serving: watch.serving(self.n, self.visit.is_none()),
            services: Arc::clone(&self.services),
            link,
            inbox,
            watch,
        };
        let (end, ending) = (CancellationToken::new(), self.services.tasks.ending().clone());
        self.tending = Some(end.clone().drop_guard());
        self.services.tasks.spawn(tracing::Span::current(), async move {
            let tending = async {
                match tended.link.hello().era() {
                    Era::Legacy => legacy::tend(&tended).await,
                    Era::Modern => modern::tend(&tended).await,
                }
            };
            tokio::select! {
                () = tending => {}
                () = end.cancelled() => {}
                () = ending.cancelled() => {}
            }
        });
    }
}

impl Tells {
    fn of(link: &dyn Link) -> Self {
        let capabilities = link.hello().capabilities.as_ref();
        // What cannot be read promises nothing.
        capabilities.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }

    fn subscribes(&self) -> bool {
        self.resources.is_some_and(|resources| resources.subscribe)
    }
}

/// Waits before the `n`th further try, from 0.
async fn pause(n: u32) {
    tokio::time::sleep(AGAIN.around(n, 0.2, roll())).await;
}
