//! `subscriptions/listen`: what a modern client wants to be told, for as long as its request is open.
//!
//! The plugins are told what is wanted before the client is told that it is heard, so that a change right after the
//! acknowledgement is not missed. Lists are compared as this client last saw them; changes that come close together are
//! told once. Whoever reads too slowly to be told each change is told that everything it asked for may have changed.

mod filter;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use wharf_core::catalog::{Face, Kind, Shelf};
use wharf_core::lifecycle::State;
use wharf_core::{PluginId, splice};
use wharf_plugin_api::{Hello, Id, Reply, RpcError, jsonrpc};

use self::filter::Filter;
use super::capabilities::has_tasks;
use super::exchange::{Answered, Exchange};
use super::modern::owner_of_task;
use super::{Mcp, ModernRequest, Visitor, failure, forward};
use crate::Host;
use crate::held::Events;
use crate::plugin::notice::Notice;
use crate::plugin::watch::{Want, Wanted};

/// Open listens of all clients. Clients share a principal, so those of one are bounded where they can be told apart: by its
/// connections, of which each listen over HTTP holds one, and within a connection that carries many.
const MOST: usize = 1024;
/// Messages that wait for a transport. Then the listen itself waits, and what it misses meanwhile is told as changed.
const EVENTS: usize = 64;
/// How long the plugins have to take note before the client is told that it is heard.
const UNTIL_TOLD: Duration = Duration::from_millis(500);
/// Changes of lists that come within this of each other are told once: servers tell several at a start.
const TOGETHER: Duration = Duration::from_millis(50);
/// The key of a listen's id in what is told of it.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// Room for listens. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Listens(Arc<Semaphore>);

impl Default for Listens {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

/// A resource that is watched.
#[derive(Debug)]
struct Watched {
    /// As the client knows it.
    uri: String,
    plugin: PluginId,
    /// As the plugin knows it.
    upstream: String,
    /// Kept for as long as it is watched.
    want: Option<Want>,
}

/// A listen under way.
struct Listening {
    host: Host,
    face: Face,
    principal: Arc<str>,
    id: Id,
    out: Events,
    filter: Filter,
    watched: Vec<Watched>,
    tasks: Vec<Task>,
    /// The lists, as the client was told of them last.
    shelf: Arc<Shelf>,
    _room: OwnedSemaphorePermit,
}

/// A task whose notifications are wanted.
#[derive(Debug)]
struct Task {
    plugin: PluginId,
    id: String,
    _want: Option<Want>,
}

/// The client is gone.
struct Gone;

/// Answers a listen.
pub(super) fn open(mcp: &Mcp, visitor: Visitor, request: &ModernRequest) -> Exchange {
    let mut filter = match Filter::read(request.params.as_deref()) {
        Ok(filter) => filter,
        Err(error) => return Exchange::refused(&request.id, error),
    };
    let Ok(room) = Arc::clone(&mcp.modern.listens.0).try_acquire_owned() else {
        let text =
            format!("{MOST} listens of all clients are open; close one, or ask for more in one of them");
        return Exchange::refused(&request.id, RpcError::new(failure::BUSY, text));
    };
    let (out, events) = Events::new(mcp.host.held(), EVENTS);
    let (host, id) = (mcp.host.clone(), request.id.clone());
    let shelf = shelf(&host, &visitor.face);
    let tasks = std::mem::take(&mut filter.tasks);
    let tasks = tasks.into_iter().filter_map(|id| Task::of(mcp, &visitor, id)).collect();
    let listening = Listening {
        host,
        face: visitor.face,
        principal: visitor.principal,
        id,
        out,
        filter,
        watched: Vec::new(),
        tasks,
        shelf,
        _room: room,
    };
    let mcp = mcp.clone();
    Exchange { events, answer: Box::pin(listening.answered(mcp)) }
}

fn shelf(host: &Host, face: &Face) -> Arc<Shelf> {
    host.catalog().shelf(face).cloned().unwrap_or_default()
}

/// Which kinds of lists a notification is about.
fn told_by(filter: &Filter) -> [(bool, &'static str, &'static [Kind]); 3] {
    [
        (filter.tools, "notifications/tools/list_changed", &[Kind::Tool]),
        (filter.prompts, "notifications/prompts/list_changed", &[Kind::Prompt]),
        (filter.resources, "notifications/resources/list_changed", &[Kind::Resource, Kind::Template]),
    ]
}

/// Params that say of which listen they are, whatever else they say.
fn marked(params: Option<&RawValue>, id: &Id) -> Option<Box<RawValue>> {
    let id: &RawValue = serde_json::from_str(id.as_str()).ok()?;
    let meta = |meta: Option<&RawValue>| {
        let own = meta.and_then(|meta| splice::with_field(meta, SUBSCRIPTION, id));
        own.or_else(|| to_raw_value(&json!({ SUBSCRIPTION: id })).ok())
    };
    let Some(params) = params.filter(|params| params.get().starts_with('{')) else {
        return to_raw_value(&json!({ "_meta": meta(None)? })).ok();
    };
    splice::with_field(params, "_meta", &meta(splice::field(params, "_meta"))?)
}

// === impl Listening ===

impl Listening {
    async fn answered(mut self, mcp: Mcp) -> Answered {
        // Both from before the wants on: what happens while they are made known is told after the acknowledgement.
        let (notices, changes) = (self.host.notices(), self.host.catalog_changes());
        self.shelf = shelf(&self.host, &self.face);
        self.watch().await;
        if self.acknowledge().await.is_err() {
            return self.ended();
        }
        let ending = self.host.tasks().ending().clone();
        tokio::select! {
            () = ending.cancelled() => {}
            _ = self.tell(mcp, notices, changes) => {}
        }
        self.ended()
    }

    /// Makes known what is wanted, and waits until the plugins that serve have heard it.
    async fn watch(&mut self) {
        for uri in std::mem::take(&mut self.filter.uris) {
            // What nobody owns is not watched; the acknowledgement says so.
            let Ok((plugin, upstream)) = forward::owner(&self.host, &self.face, &self.principal, &uri).await
            else {
                continue;
            };
            let watch = self.host.watch(&plugin);
            let want = watch.map(|watch| watch.want(Wanted::Resource(upstream.clone())));
            self.watched.push(Watched { uri, plugin, upstream, want });
        }
        let lists = told_by(&self.filter).iter().any(|(wanted, ..)| *wanted);
        let serves = |plugin: &PluginId| {
            matches!(self.host.state_of(plugin.as_str()), Some(State::Ready | State::Degraded))
        };
        let concerned = self.shelf.plugins.iter().map(|(plugin, _)| plugin).filter(|plugin| {
            let has = self.watched.iter().any(|watched| watched.plugin == **plugin)
                || self.tasks.iter().any(|task| task.plugin == **plugin);
            serves(plugin) && (lists || has)
        });
        let told = concerned.filter_map(|plugin| self.host.watch(plugin).map(|watch| (plugin, watch)));
        let told = told.map(|(plugin, watch)| async move {
            if !watch.told(UNTIL_TOLD).await {
                tracing::debug!(%plugin, "a listen was acknowledged before the plugin had heard of it");
            }
        });
        futures_util::future::join_all(told).await;
        self.watched.retain(|watched| {
            let refusal = watched.want.as_ref().and_then(Want::refusal);
            if let Some(error) = &refusal {
                tracing::debug!(plugin = %watched.plugin, uri = watched.uri, %error, "a plugin does not tell of a resource");
            }
            refusal.is_none()
        });
    }

    async fn acknowledge(&self) -> Result<(), Gone> {
        let uris: Vec<_> = self.watched.iter().map(|watched| watched.uri.as_str()).collect();
        let tasks: Vec<_> = self.tasks.iter().map(|task| task.id.as_str()).collect();
        let params = to_raw_value(&json!({ "notifications": self.filter.honoured(&uris, &tasks) })).ok();
        self.say("notifications/subscriptions/acknowledged", params.as_deref()).await
    }

    async fn tell(
        &mut self,
        mcp: Mcp,
        mut notices: broadcast::Receiver<Arc<Notice>>,
        mut changes: watch::Receiver<()>,
    ) -> Result<(), Gone> {
        loop {
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() || !mcp.has(&self.face) {
                        return Ok(());
                    }
                    tokio::time::sleep(TOGETHER).await;
                    changes.mark_unchanged();
                    self.tell_lists().await?;
                }
                notice = notices.recv() => match notice {
                    Ok(notice) => self.tell_notice(&notice).await?,
                    Err(RecvError::Lagged(missed)) => {
                        tracing::info!(missed, "a listen fell behind; everything that it asked for is told as changed");
                        self.tell_all().await?;
                    }
                    Err(RecvError::Closed) => return Ok(()),
                },
                () = self.out.closed() => return Err(Gone),
            }
        }
    }

    /// Tells the lists that are not what the client was told of last.
    async fn tell_lists(&mut self) -> Result<(), Gone> {
        let now = shelf(&self.host, &self.face);
        for (wanted, method, kinds) in told_by(&self.filter) {
            if wanted && kinds.iter().any(|kind| !now.lists_the_same(&self.shelf, *kind)) {
                self.say(method, None).await?;
            }
        }
        self.shelf = now;
        Ok(())
    }

    async fn tell_notice(&self, notice: &Notice) -> Result<(), Gone> {
        // What a session's own instance says is for that session.
        if notice.session.is_some() {
            return Ok(());
        }
        let params = notice.notification.params.as_deref();
        match &*notice.notification.method {
            "notifications/resources/updated" => self.tell_updated(notice, params).await,
            "notifications/tasks" => {
                let Ok(id) = forward::text(params, "taskId") else { return Ok(()) };
                if self.tasks.iter().any(|task| task.plugin == notice.plugin && task.id == id) {
                    self.say("notifications/tasks", params).await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn tell_updated(&self, notice: &Notice, params: Option<&RawValue>) -> Result<(), Gone> {
        let Ok(said) = forward::text(params, "uri") else { return Ok(()) };
        let of_plugin = self.watched.iter().filter(|watched| watched.plugin == notice.plugin);
        let Some(watched) = of_plugin.into_iter().find(|watched| watched.covers(&said)) else {
            return Ok(());
        };
        let seen = match watched.upstream == said {
            true => Cow::Borrowed(watched.uri.as_str()),
            false => self.shelf.uri_as_seen(&notice.plugin, &said),
        };
        if seen != said {
            let uri = to_raw_value(&seen).ok();
            let params = params.zip(uri).and_then(|(params, uri)| splice::with_field(params, "uri", &uri));
            return self.say(&notice.notification.method, params.as_deref()).await;
        }
        self.say(&notice.notification.method, params).await
    }

    /// Nothing is known of what was missed but what it could have been.
    async fn tell_all(&mut self) -> Result<(), Gone> {
        for watched in &self.watched {
            let params = to_raw_value(&json!({ "uri": watched.uri })).ok();
            self.say("notifications/resources/updated", params.as_deref()).await?;
        }
        self.tell_lists().await
    }

    async fn say(&self, method: &str, params: Option<&RawValue>) -> Result<(), Gone> {
        let mut message = jsonrpc::notification(method, marked(params, &self.id).as_deref());
        jsonrpc::single_line(&mut message);
        self.out.send(message.into()).await.map_err(|_| Gone)
    }

    fn ended(&self) -> Answered {
        let result =
            format!(r#"{{"resultType":"complete","_meta":{{"{SUBSCRIPTION}":{}}}}}"#, self.id.as_str());
        let reply = RawValue::from_string(result).map_or_else(
            |_| Reply::Error(RpcError::new(RpcError::INTERNAL, "the id of the listen is no JSON")),
            Reply::Result,
        );
        Answered::new(&self.id, &reply)
    }
}

// === impl Task ===

impl Task {
    /// The task that this visitor began, if its plugin can tell of it.
    fn of(mcp: &Mcp, visitor: &Visitor, id: String) -> Option<Self> {
        let plugin = owner_of_task(mcp, visitor, &id)?;
        mcp.tasks.owns(&visitor.principal, &plugin, &id).then_some(())?;
        let declares = |hello: &Hello| has_tasks(hello.capabilities.as_deref());
        mcp.host.hello(&plugin).filter(|hello| declares(hello))?;
        let want = mcp.host.watch(&plugin).map(|watch| watch.want(Wanted::Task(id.clone())));
        Some(Self { plugin, id, _want: want })
    }
}

// === impl Watched ===

impl Watched {
    /// Whether what a plugin says of a URI is about this: it may speak of a part of it.
    fn covers(&self, said: &str) -> bool {
        said.strip_prefix(self.upstream.as_str()).is_some_and(|rest| {
            rest.is_empty() || self.upstream.ends_with('/') || rest.starts_with(['/', '?', '#'])
        })
    }
}
