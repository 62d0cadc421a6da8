//! One listen: its request stays open, its notifications go the way of those that belong to nothing. What is asked for, and
//! what to do when it ends, is decided above.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use wharf_core::splice;
use wharf_plugin_api::{
    CallError, Caller, Inbox, Notification, Reply, Request, RpcError, Scope, async_trait,
};

use crate::plugin::inbox::GenerationInbox;
use crate::plugin::tend::{ANSWER_WITHIN, Tended};

/// A listen has no end of its own.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
/// The mark of our own listen; nobody behind us knows it.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// A listen that is open. Dropping it ends it.
pub(super) struct Listen {
    /// What it asks for.
    pub(super) filter: Map<String, Value>,
    pub(super) since: Instant,
    pub(super) ended: oneshot::Receiver<Result<Reply, CallError>>,
    _open: DropGuard,
}

/// How the opening of a listen failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The plugin answered with an error.
    #[error("subscriptions/listen was answered with an error: {0}")]
    Refused(RpcError),
    /// Anything else, which may pass.
    #[error("subscriptions/listen: {0}")]
    Passing(String),
}

/// What belongs to a listen: its notifications go the way of those that belong to nothing.
struct ListenScope {
    caller: Caller,
    deadline: std::time::Instant,
    inbox: Arc<GenerationInbox>,
    acknowledged: Mutex<Option<oneshot::Sender<Option<Arc<RawValue>>>>>,
}

/// What the plugin agreed to.
#[derive(Default, Deserialize)]
struct Acknowledged {
    #[serde(default)]
    notifications: Honoured,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Honoured {
    resource_subscriptions: Option<BTreeSet<String>>,
}

impl Listen {
    /// Opens one, and waits for its acknowledgement. Returns the resources that the plugin agreed to watch, if it said.
    pub(super) async fn open(
        tended: &Tended,
        filter: Map<String, Value>,
    ) -> Result<(Self, Option<BTreeSet<String>>), Failed> {
        let params = serde_json::json!({ "notifications": filter });
        let request = Request::new("subscriptions/listen", &params)
            .map_err(|error| Failed::Passing(error.to_string()))?;
        let (told, acknowledged) = oneshot::channel();
        let scope = Arc::new(ListenScope {
            caller: Caller::new("wharf"),
            deadline: std::time::Instant::now() + FOR_EVER,
            inbox: Arc::clone(&tended.inbox),
            acknowledged: Mutex::new(Some(told)),
        });
        let (end, link) = (CancellationToken::new(), Arc::clone(&tended.link));
        let (answered, mut ended) = oneshot::channel();
        let (ending, own_end) = (tended.services.tasks.ending().clone(), end.clone());
        tended.services.tasks.spawn(tracing::Span::current(), async move {
            tokio::select! {
                // Nobody may wait for it any more.
                reply = link.request(request, scope) => drop(answered.send(reply)),
                () = own_end.cancelled() => {}
                () = ending.cancelled() => {}
            }
        });
        let open = end.drop_guard();
        let acknowledgement = tokio::select! {
            biased;
            Ok(acknowledgement) = acknowledged => acknowledgement,
            outcome = &mut ended => return Err(Failed::of(outcome.ok())),
            () = tokio::time::sleep(ANSWER_WITHIN) => {
                return Err(Failed::Passing("it was not acknowledged".to_owned()));
            }
        };
        let honoured = acknowledgement
            .and_then(|raw| serde_json::from_str::<Acknowledged>(raw.get()).ok())
            .and_then(|acknowledged| acknowledged.notifications.resource_subscriptions);
        Ok((Self { filter, since: Instant::now(), ended, _open: open }, honoured))
    }
}

impl Failed {
    fn of(outcome: Option<Result<Reply, CallError>>) -> Self {
        match outcome {
            Some(Ok(Reply::Error(error))) => Self::Refused(error),
            Some(Ok(Reply::Result(_))) => Self::Passing("it ended before it was acknowledged".to_owned()),
            Some(Err(error)) => Self::Passing(error.to_string()),
            None => Self::Passing("the host is ending".to_owned()),
        }
    }
}

#[async_trait]
impl Scope for ListenScope {
    fn sent(&self) {}

    fn listens(&self) -> bool {
        false
    }

    fn event(&self, notification: Notification) {
        if notification.method != ACKNOWLEDGED {
            let params = notification.params.map(without_subscription);
            return self.inbox.event(Notification { method: notification.method, params });
        }
        let told = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).take();
        match told {
            // It may have been given up meanwhile.
            Some(told) => drop(told.send(notification.params)),
            None => tracing::debug!("a subscription was acknowledged twice"),
        }
    }

    async fn ask(&self, request: Request) -> Result<Reply, CallError> {
        self.inbox.ask(request).await
    }

    fn is_call(&self) -> bool {
        false
    }

    fn caller(&self) -> &Caller {
        &self.caller
    }

    fn deadline(&self) -> std::time::Instant {
        self.deadline
    }
}

/// The params without the mark of our listen; every other byte as it came.
fn without_subscription(params: Arc<RawValue>) -> Arc<RawValue> {
    let edited = || {
        let meta = splice::field(&params, "_meta")?;
        splice::field(meta, SUBSCRIPTION)?;
        let meta = splice::without_fields(meta, &[SUBSCRIPTION])?;
        let is_empty = meta.get().chars().all(|c| c.is_whitespace() || c == '{' || c == '}');
        if is_empty {
            splice::without_fields(&params, &["_meta"])
        } else {
            splice::with_field(&params, "_meta", &meta)
        }
    };
    edited().map_or_else(|| Arc::clone(&params), Into::into)
}
