//! A client's request on its way to a plugin: whose it is, and what of it is ours to take out.
//!
//! Names become those of the plugin, and the client's own hop leaves `_meta`; every other byte stays. Both eras come through
//! here; what an answer means to a client is not known here.

use std::sync::Arc;

use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::mpsc;
use wharf_core::catalog::{Face, Item, Kind};
use wharf_core::idempotency::{BadKey, Key};
use wharf_core::splice;
use wharf_core::trace_context::TraceContext;
use wharf_core::{Code, PluginId};
use wharf_plugin_api::{Caller, RpcError};

use super::failure;
use crate::Host;
use crate::route::{CallEvent, CallSpec, Failure, durable};

/// Notifications of one call that may wait for its client; what does not fit is dropped by the call.
const EVENTS: usize = 256;

/// The method that names a tool.
const CALL: &str = "tools/call";
/// The member of `_meta` under which a call runs at most once.
pub(crate) const KEY: &str = "wharf/idempotencyKey";

/// What of `_meta` is between a client and us alone.
const HOP: [&str; 8] = [
    durable::KEY,
    KEY,
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/serverInfo",
    "io.modelcontextprotocol/subscriptionId",
];

/// A request that knows its way.
#[derive(Debug)]
pub(crate) struct Forwarded {
    /// What goes to the host. Who can be asked sets `asks`.
    pub(crate) spec: CallSpec,
    /// What the plugin says on the way, if the client wants any of it.
    pub(crate) events: Option<mpsc::Receiver<CallEvent>>,
    /// The client's progress token, as it wrote it.
    pub(crate) token: Option<Box<RawValue>>,
}

/// Whose a request is, and its params as that plugin knows them.
struct Way {
    plugin: PluginId,
    tool: Option<String>,
    params: Option<Arc<RawValue>>,
}

impl Forwarded {
    /// A call of which the client is told what it wants to know: progress if it gave a token, log messages if it has a level.
    pub(crate) fn listening(spec: CallSpec, token: Option<Box<RawValue>>) -> Self {
        if token.is_none() && spec.caller.client.log_level.is_none() {
            return Self { spec, events: None, token };
        }
        let (sender, receiver) = mpsc::channel(EVENTS);
        let progress = token.is_some();
        Self { spec: CallSpec { events: Some(sender), progress, ..spec }, events: Some(receiver), token }
    }
}

/// Finds the plugin that a request is for. Waits, as [`Host::tool`] does, for a plugin on its way up.
///
/// # Errors
/// If nobody is there for it.
pub(crate) async fn forward(
    host: &Host,
    face: &Face,
    caller: Caller,
    method: &str,
    params: Option<Arc<RawValue>>,
) -> Result<Forwarded, RpcError> {
    let way = match method {
        CALL => tool(host, face, params).await?,
        "prompts/get" => prompt(host, face, params).await?,
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            resource(host, face, &caller.principal, params).await?
        }
        "completion/complete" => completion(host, face, &caller.principal, params).await?,
        other => alone(host, face, other, params).await?,
    };
    let key = match (&way.tool, &way.params) {
        (Some(_), Some(params)) => key(params)?,
        // What only reads may come twice.
        (_, _) => None,
    };
    let mut forwarded = to(&way.plugin, caller, method, way.params);
    (forwarded.spec.tool, forwarded.spec.key) = (way.tool, key);
    Ok(forwarded)
}

/// A request whose plugin is known already.
pub(crate) fn to(
    plugin: &PluginId,
    caller: Caller,
    method: &str,
    params: Option<Arc<RawValue>>,
) -> Forwarded {
    let meta = params.as_deref().and_then(|params| splice::field(params, "_meta"));
    let token = meta.and_then(progress_token);
    let trace = meta.and_then(TraceContext::of_meta).map(Box::new);
    let durable = meta.and_then(durable_said);
    let bare = params.as_deref().zip(meta).and_then(|(params, meta)| without_hop(params, meta, durable));
    let params = bare.map(Into::into).or(params);
    let spec = CallSpec::new(plugin.clone(), method.to_owned(), params, caller);
    Forwarded::listening(CallSpec { trace, durable: durable == Some(true), ..spec }, token)
}

/// The plugin that owns a URI of a face, or linked it to this principal, and the URI there.
pub(crate) async fn owner(
    host: &Host,
    face: &Face,
    principal: &Arc<str>,
    uri: &str,
) -> Result<(PluginId, String), RpcError> {
    if let Face::Plugin(plugin) = face {
        ready(host, plugin).await?;
    }
    let catalog = host.catalog();
    let shelf = catalog.shelf(face).ok_or_else(|| no_resource(uri))?;
    // A completion names a template as it is listed.
    if let Some(item) = shelf.find(Kind::Template, uri) {
        return Ok((item.plugin.clone(), item.upstream.clone()));
    }
    let linked = host.links().of(principal, uri);
    let owner = shelf.owner_of_linked(uri, linked.as_ref());
    owner.map(|owner| (owner.plugin, owner.uri)).ok_or_else(|| no_resource(uri))
}

/// The error for a URI that nobody owns.
pub(crate) fn no_resource(uri: &str) -> RpcError {
    let data = to_raw_value(&json!({ "uri": uri })).ok();
    RpcError { data, ..RpcError::new(RpcError::INVALID_PARAMS, format!("Resource not found: {uri}")) }
}

/// A string member of the params.
///
/// # Errors
/// That it is missing, or no string.
pub(crate) fn text(params: Option<&RawValue>, key: &str) -> Result<String, RpcError> {
    let value = params.and_then(|params| splice::field(params, key));
    let text = value.and_then(|value| serde_json::from_str(value.get()).ok());
    text.ok_or_else(|| bad(format!("params.{key} must be a string")))
}

/// Params that are wrong.
pub(crate) fn bad(message: impl Into<String>) -> RpcError {
    RpcError::new(RpcError::INVALID_PARAMS, message)
}

async fn tool(host: &Host, face: &Face, params: Option<Arc<RawValue>>) -> Result<Way, RpcError> {
    let name = text(params.as_deref(), "name")?;
    let found = |item: &Item| (item.plugin.clone(), item.own.clone());
    let offered = || find(host, face, Kind::Tool, &name).as_deref().map(found);
    let (plugin, own) = match (offered(), face) {
        (Some(found), _) => found,
        (None, Face::Plugin(plugin)) => {
            let found = host.tool(plugin.as_str(), &name).await;
            found.map_err(|failure| failure::error(&host.turned_away(plugin.as_str(), CALL, failure)))?;
            (plugin.clone(), name)
        }
        (None, Face::All | Face::Group(_)) => {
            expected(host, face, &name).await?;
            offered().ok_or_else(|| {
                host.turned_away("", CALL, Failure::new(Code::ToolNotFound, ""));
                bad(failure::unknown("tool", &name))
            })?
        }
    };
    Ok(Way { plugin, tool: Some(own), params })
}

async fn prompt(host: &Host, face: &Face, params: Option<Arc<RawValue>>) -> Result<Way, RpcError> {
    let name = text(params.as_deref(), "name")?;
    let item = named_prompt(host, face, &name).await?;
    Ok(Way {
        plugin: item.plugin.clone(),
        tool: None,
        params: replaced(params, "name", &name, &item.upstream),
    })
}

async fn named_prompt(host: &Host, face: &Face, name: &str) -> Result<Arc<Item>, RpcError> {
    let find = || find(host, face, Kind::Prompt, name);
    if find().is_none() {
        expected(host, face, name).await?;
    }
    find().ok_or_else(|| bad(failure::unknown("prompt", name)))
}

async fn resource(
    host: &Host,
    face: &Face,
    principal: &Arc<str>,
    params: Option<Arc<RawValue>>,
) -> Result<Way, RpcError> {
    let uri = text(params.as_deref(), "uri")?;
    let (plugin, upstream) = owner(host, face, principal, &uri).await?;
    Ok(Way { plugin, tool: None, params: replaced(params, "uri", &uri, &upstream) })
}

async fn completion(
    host: &Host,
    face: &Face,
    principal: &Arc<str>,
    params: Option<Arc<RawValue>>,
) -> Result<Way, RpcError> {
    let reference = params.as_deref().and_then(|params| splice::field(params, "ref")).map(ToOwned::to_owned);
    let reference = reference.as_deref().ok_or_else(|| bad("params.ref must be an object"))?;
    let kind = text(Some(reference), "type")?;
    let (plugin, key, from, to) = match kind.as_str() {
        "ref/prompt" => {
            let name = text(Some(reference), "name")?;
            let item = named_prompt(host, face, &name).await?;
            (item.plugin.clone(), "name", name, item.upstream.clone())
        }
        "ref/resource" => {
            let uri = text(Some(reference), "uri")?;
            let (plugin, upstream) = owner(host, face, principal, &uri).await?;
            (plugin, "uri", uri, upstream)
        }
        _ if matches!(face, Face::Plugin(_)) => {
            return alone(host, face, "completion/complete", params).await;
        }
        other => {
            return Err(bad(format!("params.ref.type {other:?} is neither ref/prompt nor ref/resource")));
        }
    };
    if from == to {
        return Ok(Way { plugin, tool: None, params });
    }
    let renamed = replaced(Some(Arc::from(reference.to_owned())), key, &from, &to);
    let params = params.as_deref().zip(renamed.as_deref());
    let params = params.and_then(|(params, renamed)| splice::with_field(params, "ref", renamed));
    Ok(Way { plugin, tool: None, params: params.map(Into::into) })
}

/// What names no thing of a plugin can only be meant for the one plugin of its face.
async fn alone(
    host: &Host,
    face: &Face,
    method: &str,
    params: Option<Arc<RawValue>>,
) -> Result<Way, RpcError> {
    let Face::Plugin(plugin) = face else {
        return Err(RpcError::new(RpcError::METHOD_NOT_FOUND, format!("Method not found: {method}")));
    };
    ready(host, plugin).await?;
    Ok(Way { plugin: plugin.clone(), tool: None, params })
}

fn find(host: &Host, face: &Face, kind: Kind, key: &str) -> Option<Arc<Item>> {
    host.catalog().shelf(face)?.find(kind, key).cloned()
}

async fn ready(host: &Host, plugin: &PluginId) -> Result<(), RpcError> {
    host.listed(plugin).await.map_err(|failure| failure::error(&failure))
}

/// Waits for the plugins that may offer a name. Of a face with several, the one that fails is not what the client named.
async fn expected(host: &Host, face: &Face, name: &str) -> Result<(), RpcError> {
    if let Face::Plugin(plugin) = face {
        return ready(host, plugin).await;
    }
    let waits =
        host.may_offer(face, name).into_iter().map(|plugin| async move { host.listed(&plugin).await });
    let failed = futures_util::future::join_all(waits).await;
    let offered = [Kind::Tool, Kind::Prompt].into_iter().any(|kind| find(host, face, kind, name).is_some());
    match failed.into_iter().find_map(Result::err) {
        Some(failure) if !offered => Err(failure::error(&failure)),
        Some(_) | None => Ok(()),
    }
}

fn replaced(params: Option<Arc<RawValue>>, key: &str, from: &str, to: &str) -> Option<Arc<RawValue>> {
    if from == to {
        return params;
    }
    let value = to_raw_value(to).ok()?;
    splice::with_field(params.as_deref()?, key, &value).map(Into::into)
}

/// The client's progress token: a string or an integer. Anything else is none.
fn progress_token(meta: &RawValue) -> Option<Box<RawValue>> {
    let token = splice::field(meta, "progressToken")?;
    wharf_plugin_api::Id::from_raw(token).map(|_| token.to_owned())
}

/// The key of a call.
fn key(params: &RawValue) -> Result<Option<Key>, RpcError> {
    let bytes = params.get().as_bytes();
    let holds = |needle: &str| memchr::memmem::find(bytes, needle.as_bytes()).is_some();
    // As below.
    if !holds("idempotencyKey") && !holds("\\") {
        return Ok(None);
    }
    let Some(given) = splice::field(params, "_meta").and_then(|meta| splice::field(meta, KEY)) else {
        return Ok(None);
    };
    let key = serde_json::from_str::<String>(given.get()).ok().and_then(|text| Key::new(&text).ok());
    key.map(Some).ok_or_else(|| bad(format!("params._meta[{KEY:?}]: {BadKey}")))
}

/// Whether the call is to be durable. `None`: it does not say, or neither yes nor no; who runs it refuses that.
fn durable_said(meta: &RawValue) -> Option<bool> {
    let bytes = meta.get().as_bytes();
    let holds = |needle: &str| memchr::memmem::find(bytes, needle.as_bytes()).is_some();
    if !holds("durable") && !holds("\\") {
        return None;
    }
    splice::field(meta, durable::KEY)?.get().parse().ok()
}

/// The params without what `_meta` says of the client's own hop. `None`: it says nothing of it. Whether it says that the call
/// is to be `durable` was read before.
fn without_hop(params: &RawValue, meta: &RawValue, durable: Option<bool>) -> Option<Box<RawValue>> {
    // The way of nearly every legacy call: nothing to take out, nothing to copy. A key may be spelled with escapes.
    let bytes = meta.get().as_bytes();
    let holds = |needle: &str| memchr::memmem::find(bytes, needle.as_bytes()).is_some();
    if durable.is_none() && !holds("io.modelcontextprotocol/") && !holds("idempotencyKey") && !holds("\\") {
        return None;
    }
    // The first is whether it is durable: what says neither stays, to be refused.
    let hop = HOP.get(usize::from(durable.is_none())..)?;
    splice::with_field(params, "_meta", &splice::without_fields(meta, hop)?)
}

#[cfg(test)]
mod tests;
