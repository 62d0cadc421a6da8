//! The modern words: one `subscriptions/listen`, open as long as the instance serves. What is wanted cannot be changed in it,
//! so another one is opened, and the last one ends when that is acknowledged: nothing is missed between them.

mod listen;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value};
use wharf_plugin_api::RpcError;

use self::listen::{Failed, Listen};
use super::{Tells, Tended, pause};
use crate::plugin::watch::Union;

/// One that lasted this long did not fail; the next try is not delayed for it.
const LASTED: Duration = Duration::from_secs(30);
/// The member of a filter that names resources; all others are lists.
const RESOURCES: &str = "resourceSubscriptions";
const TASKS: &str = "taskIds";
/// What some say for a resource that is not there.
const NO_RESOURCE: i64 = -32002;

/// Whether all that is wanted was told, or the next listen asks for more.
enum All {
    Told,
    Not,
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
