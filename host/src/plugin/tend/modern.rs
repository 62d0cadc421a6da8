//! The modern words: one `subscriptions/listen`, open as long as the instance serves. What is wanted cannot be changed in it,
//! so another one is opened, and the last one ends when that is acknowledged: nothing is missed between them.

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

use super::{ANSWER_WITHIN, Tells, Tended, pause};
use crate::plugin::inbox::GenerationInbox;
use crate::plugin::watch::Union;

/// A listen has no end of its own.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// One that lasted this long did not fail; the next try is not delayed for it.
const LASTED: Duration = Duration::from_secs(30);
/// The member of a filter that names resources; all others are lists.
const RESOURCES: &str = "resourceSubscriptions";
const TASKS: &str = "taskIds";
/// What some say for a resource that is not there.
const NO_RESOURCE: i64 = -32002;
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
/// The mark of our own listen; nobody behind us knows it.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// A listen that is open. Dropping it ends it.
struct Listen {
    /// What it asks for.
    filter: Map<String, Value>,
    since: Instant,
    ended: oneshot::Receiver<Result<Reply, CallError>>,
    _open: DropGuard,
}

/// Whether all that is wanted was told, or the next listen asks for more.
enum All {
    Told,
    Not,
}

/// How the opening of a listen failed.
#[derive(Debug, thiserror::Error)]
enum Failed {
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

/// What a tending knows beside what is wanted.
struct Tending {
    open: Option<Listen>,
    /// Resources with which the last listen was opened.
    good: BTreeSet<String>,
    /// Resources that no listen is opened with, as long as they are wanted.
    bad: BTreeSet<String>,
    /// Tasks that the plugin was asked for when it refused: it may have forgotten one. Their clients ask for them themselves.
    untold: BTreeSet<String>,
    /// How many others the next listen asks for at most. Fewer, while one is looked for that the plugin does not take.
    step: usize,
    failures: u32,
    /// For a while nothing was heard.
    missed: bool,
}

pub(super) async fn tend(tended: &Tended) {
    let mut changes = tended.watch.changes();
    let mut tending = Tending::new();
    loop {
        changes.mark_unchanged();
        let union = tended.watch.union();
        match tending.become_as(&union, tended).await {
            Ok(All::Not) => {}
            Ok(All::Told) => {
                tended.serving.reached(union.version);
                tokio::select! {
                    // The watch outlives this.
                    _ = changes.changed() => {}
                    () = ended(&mut tending.open) => tending.lost().await,
                }
            }
            Err(Failed::Refused(refusal))
                if refusal.code == RpcError::METHOD_NOT_FOUND
                    && tending.open.is_none()
                    && tending.asked(&union).is_empty() =>
            {
                return refused(tended, &refusal).await;
            }
            Err(Failed::Refused(refusal)) if tending.leaves_tasks(&refusal, &union) => {}
            Err(Failed::Refused(refusal)) if tending.doubts(&refusal, &union) => {
                // No want of one client ends what others are told.
                tending.bad.iter().for_each(|uri| tended.serving.answered(uri, Some(refusal.clone())));
            }
            Err(failed) => {
                tracing::warn!(error = %failed, "its changes are not heard; the subscription is tried again");
                tending.missed |= tending.open.is_none();
                tending.pause().await;
            }
        }
    }
}

impl Tending {
    fn new() -> Self {
        let (good, bad, untold) = Default::default();
        // What changed since the lists were read first was told to nobody.
        Self { open: None, good, bad, untold, step: usize::MAX, failures: 0, missed: true }
    }

    /// Listens for what is wanted, or for a part of it.
    async fn become_as(&mut self, union: &Union, tended: &Tended) -> Result<All, Failed> {
        self.bad.retain(|uri| union.resources.contains(uri));
        let resources = self.asked(union);
        if !tended.tells.subscribes() {
            settle(tended, &resources, Some(&BTreeSet::new()));
        }
        self.untold.retain(|task| union.tasks.contains(task));
        let tasks = union.tasks.difference(&self.untold).cloned().collect();
        let filter = filter(&tended.tells, &resources, &tasks);
        if filter.is_empty() {
            self.open = None;
        } else if self.open.as_ref().is_none_or(|open| open.filter != filter) {
            let lists = filter.keys().any(|key| key != RESOURCES && key != TASKS);
            let (listen, honoured) = Listen::open(tended, filter).await?;
            if tended.tells.subscribes() {
                settle(tended, &resources, honoured.as_ref());
            }
            self.open = Some(listen);
            if std::mem::take(&mut self.missed) && lists {
                tended.inbox.lists_may_have_changed();
            }
        }
        self.good = resources;
        if union.resources.iter().all(|uri| self.good.contains(uri) || self.bad.contains(uri)) {
            self.step = usize::MAX;
            return Ok(All::Told);
        }
        self.step = self.step.saturating_mul(2);
        Ok(All::Not)
    }

    /// The resources that the next listen asks for: those that the last one did, and so many others.
    fn asked(&self, union: &Union) -> BTreeSet<String> {
        let kept = union.resources.intersection(&self.good);
        kept.chain(self.others(union).take(self.step)).cloned().collect()
    }

    fn others<'a>(&'a self, union: &'a Union) -> impl Iterator<Item = &'a String> {
        union.resources.iter().filter(|uri| !self.good.contains(*uri) && !self.bad.contains(*uri))
    }

    /// The listen that was open has ended.
    async fn lost(&mut self) {
        tracing::debug!("a subscription ended; the next one is opened");
        self.missed = true;
        if self.open.take().is_some_and(|open| open.since.elapsed() >= LASTED) {
            self.failures = 0;
        }
        self.pause().await;
    }

    async fn pause(&mut self) {
        pause(self.failures).await;
        self.failures = self.failures.saturating_add(1);
    }

    /// Goes on without the tasks for which a listen may have been refused. False: there are none.
    fn leaves_tasks(&mut self, refusal: &RpcError, union: &Union) -> bool {
        let before = self.untold.len();
        if is_of_one(refusal) {
            self.untold.extend(union.tasks.iter().cloned());
        }
        self.untold.len() > before
    }

    /// Goes on without the resource for which a listen was refused: at once if it can be but one, else with a part of them.
    /// False: no resource is to blame.
    fn doubts(&mut self, refusal: &RpcError, union: &Union) -> bool {
        let of_resources = is_of_one(refusal);
        let is_new = self.others(union).next().is_some();
        if !is_new && self.open.is_none() && of_resources && !self.good.is_empty() {
            // What the plugin took once it need not take again.
            self.good.clear();
        }
        let suspects: Vec<String> = self.others(union).take(self.step).cloned().collect();
        match suspects.len() {
            0 => return false,
            _ if refusal.code == RpcError::METHOD_NOT_FOUND => self.bad.extend(suspects),
            _ if !of_resources => return false,
            1 => self.bad.extend(suspects),
            many => self.step = many / 2,
        }
        tracing::warn!(%refusal, not_watched = self.bad.len(), "the plugin does not take all resources");
        true
    }
}

/// Resolves when the listen that is open ends.
async fn ended(open: &mut Option<Listen>) {
    match open {
        // How does not matter, nor whether its task told it.
        Some(open) => drop((&mut open.ended).await),
        None => std::future::pending().await,
    }
}

/// What there is to listen for.
fn filter(tells: &Tells, resources: &BTreeSet<String>, tasks: &BTreeSet<String>) -> Map<String, Value> {
    let mut filter = Map::new();
    let lists = [
        ("toolsListChanged", tells.tools),
        ("promptsListChanged", tells.prompts),
        ("resourcesListChanged", tells.resources),
    ];
    for (name, _) in lists.iter().filter(|(_, listed)| listed.is_some_and(|listed| listed.list_changed)) {
        filter.insert((*name).to_owned(), Value::Bool(true));
    }
    if tells.subscribes() && !resources.is_empty() {
        filter.insert(RESOURCES.to_owned(), texts(resources));
    }
    if tells.extensions.tasks.is_some() && !tasks.is_empty() {
        filter.insert(TASKS.to_owned(), texts(tasks));
    }
    filter
}

/// Whether a refusal is about something that was asked for, and not about the asking.
fn is_of_one(refusal: &RpcError) -> bool {
    matches!(refusal.code, RpcError::INVALID_PARAMS | NO_RESOURCE)
}

fn texts(all: &BTreeSet<String>) -> Value {
    all.iter().cloned().map(Value::String).collect()
}

/// Tells those who want a resource whether it is watched. `honoured`: those that are; `None`: the plugin did not say.
fn settle(tended: &Tended, resources: &BTreeSet<String>, honoured: Option<&BTreeSet<String>>) {
    for uri in resources {
        let text = "the plugin does not tell when this resource changes";
        let refusal = honoured.is_some_and(|honoured| !honoured.contains(uri));
        tended.serving.answered(uri, refusal.then(|| RpcError::new(RpcError::METHOD_NOT_FOUND, text)));
    }
}

/// The plugin has no such subscriptions: it is not asked again before its next start.
async fn refused(tended: &Tended, refusal: &RpcError) {
    tracing::warn!(%refusal, "it declares changes but takes no subscription; they are not heard");
    let mut changes = tended.watch.changes();
    loop {
        changes.mark_unchanged();
        let union = tended.watch.union();
        for uri in &union.resources {
            tended.serving.answered(uri, Some(refusal.clone()));
        }
        tended.serving.reached(union.version);
        // The watch outlives this.
        changes.changed().await.ok();
    }
}

impl Listen {
    /// Opens one, and waits for its acknowledgement. Returns the resources that the plugin agreed to watch, if it said.
    async fn open(
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
