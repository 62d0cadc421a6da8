//! A client's request on its way to a plugin: whose it is, and what of it is ours to take out.
//!
//! Names become those of the plugin, and the client's own hop leaves `_meta`; every other byte stays. Both eras come through
//! here; what an answer means to a client is not known here.

mod said;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use wharf_core::catalog::{Face, Item, Kind};
use wharf_core::{Code, PluginId, splice};
use wharf_plugin_api::{Caller, RpcError};

use self::said::Said;
use super::failure;
use super::params::{Member, Params};
use crate::Host;
use crate::late;
use crate::route::{CallEvent, CallSpec, Failure, Payload};

/// Notifications of one call that may wait for its client; what does not fit is dropped by the call.
const EVENTS: usize = 256;

/// The method that names a tool.
pub(super) const CALL: &str = "tools/call";

/// A request that knows its way.
#[derive(Debug)]
pub(crate) struct Forwarded {
    /// What goes to the host. Who can be asked sets `asks`.
    pub(crate) spec: CallSpec,
    /// What the plugin says on the way, if the client wants any of it.
    pub(crate) events: Option<late::Receiver<CallEvent>>,
    /// The client's progress token, as it wrote it.
    pub(crate) token: Option<Box<RawValue>>,
    /// The tool that it calls, as the face lists it.
    pub(crate) tool: Option<Arc<Item>>,
}

/// Whose a request is, and its params as that plugin knows them.
pub(crate) struct Way {
    plugin: PluginId,
    tool: Option<Named>,
    params: Option<Params>,
}

/// A tool.
enum Named {
    /// Which the face lists.
    Listed(Arc<Item>),
    /// Which its plugin offers under this name.
    Own(String),
}

/// Finds the plugin that a request is for. Waits, as [`Host::tool`] does, for a plugin on its way up.
///
/// # Errors
/// If nobody is there for it.
pub(crate) async fn way(
    host: &Host,
    face: &Face,
    principal: &Arc<str>,
    method: &str,
    params: Option<Params>,
) -> Result<Way, RpcError> {
    // The way of nearly every call: its tool is listed, and nothing is waited for.
    match listed_tool(host, face, method, params) {
        Ok(way) => Ok(way),
        Err(params) => Box::pin(any_way(host, face, principal, method, params)).await,
    }
}

impl Forwarded {
    /// A call of which the client is told what it wants to know: progress if it gave a token, log messages if it has a level.
    pub(crate) fn listening(mut spec: CallSpec, token: Option<Box<RawValue>>) -> Self {
        if token.is_none() && spec.caller.client.log_level.is_none() {
            return Self { spec, events: None, token, tool: None };
        }
        // Who hears it waits for the call beside it.
        let (sender, receiver) = late::beside(EVENTS);
        (spec.events, spec.progress) = (Some(sender), token.is_some());
        Self { spec, events: Some(receiver), token, tool: None }
    }
}

impl Way {
    /// A request that goes this way.
    ///
    /// # Errors
    /// If the key that it names is none.
    pub(crate) fn taken(self, caller: Caller, method: &str) -> Result<Forwarded, RpcError> {
        // What only reads may come twice.
        let key = if self.tool.is_some() { Said::of(self.params.as_ref()).key()? } else { None };
        let (own, tool) = match self.tool {
            None => (None, None),
            Some(Named::Own(own)) => (Some(own), None),
            Some(Named::Listed(item)) => (Some(item.own.clone()), Some(item)),
        };
        let name = tool.as_ref().map(|item| item.upstream.as_str());
        let mut forwarded = told(&self.plugin, caller, method, (self.params, name));
        (forwarded.spec.tool, forwarded.spec.key, forwarded.tool) = (own, key, tool);
        Ok(forwarded)
    }
}

/// The way of a call whose tool the face lists; else the params are given back.
fn listed_tool(
    host: &Host,
    face: &Face,
    method: &str,
    params: Option<Params>,
) -> Result<Way, Option<Params>> {
    let name = params.as_ref().filter(|_| method == CALL).and_then(|params| params.text(Member::Name).ok());
    let Some(item) = name.and_then(|name| find(host, face, Kind::Tool, &name)) else { return Err(params) };
    Ok(Way { plugin: item.plugin.clone(), tool: Some(Named::Listed(item)), params })
}

/// The way of any request.
async fn any_way(
    host: &Host,
    face: &Face,
    principal: &Arc<str>,
    method: &str,
    params: Option<Params>,
) -> Result<Way, RpcError> {
    match method {
        CALL => tool(host, face, params).await,
        "prompts/get" => prompt(host, face, params).await,
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            resource(host, face, principal, params).await
        }
        "completion/complete" => completion(host, face, principal, params).await,
        other => alone(host, face, other, params).await,
    }
}

/// A request whose plugin is known already.
pub(crate) fn to(plugin: &PluginId, caller: Caller, method: &str, params: Option<Params>) -> Forwarded {
    told(plugin, caller, method, (params, None))
}

/// Likewise, with the name of its tool at the plugin: where a byte has to be changed at all, both are at once.
fn told(
    plugin: &PluginId,
    caller: Caller,
    method: &str,
    (params, name): (Option<Params>, Option<&str>),
) -> Forwarded {
    let said = Said::of(params.as_ref());
    let bare = said.for_plugin(name).map(Into::into);
    let bare = bare.or_else(|| params.as_ref().map(Params::copied));
    let payload = if name.is_some() { Payload::Named(bare) } else { Payload::Params(bare) };
    let mut spec = CallSpec::new(plugin.clone(), known(method), None, caller);
    spec.payload = payload;
    (spec.trace, spec.durable) = (said.trace().map(Box::new), said.durable() == Some(true));
    Forwarded::listening(spec, said.token())
}

/// The name of a method, of which the usual one is kept.
pub(super) fn known(method: &str) -> Cow<'static, str> {
    if method == CALL { Cow::Borrowed(CALL) } else { Cow::Owned(method.to_owned()) }
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
    let text = value.and_then(splice::text).map(Cow::into_owned);
    text.ok_or_else(|| no_text(key))
}

/// The error for a member that must be a string.
pub(super) fn no_text(key: &str) -> RpcError {
    bad(format!("params.{key} must be a string"))
}

/// A member of the params that must be a string.
///
/// # Errors
/// That it is missing, or no string.
fn member(params: Option<&Params>, member: Member, key: &str) -> Result<String, RpcError> {
    params.ok_or_else(|| no_text(key))?.text(member).map(Cow::into_owned)
}

/// Params that are wrong.
pub(crate) fn bad(message: impl Into<String>) -> RpcError {
    RpcError::new(RpcError::INVALID_PARAMS, message)
}

async fn tool(host: &Host, face: &Face, params: Option<Params>) -> Result<Way, RpcError> {
    let name = params.as_ref().ok_or_else(|| no_text("name"))?.text(Member::Name)?;
    let found = |item: Arc<Item>| (item.plugin.clone(), Named::Listed(item));
    let offered = || find(host, face, Kind::Tool, &name).map(found);
    let (plugin, named) = match (offered(), face) {
        (Some(found), _) => found,
        (None, Face::Plugin(plugin)) => {
            let found = host.tool(plugin.as_str(), &name).await;
            found.map_err(|failure| failure::error(&host.turned_away(plugin.as_str(), CALL, failure)))?;
            // It was on its way, and is listed by now.
            offered().unwrap_or_else(|| (plugin.clone(), Named::Own(name.clone().into_owned())))
        }
        (None, Face::All | Face::Group(_)) => {
            expected(host, face, &name).await?;
            offered().ok_or_else(|| {
                host.turned_away("", CALL, Failure::new(Code::ToolNotFound, ""));
                bad(failure::unknown("tool", &name))
            })?
        }
    };
    Ok(Way { plugin, tool: Some(named), params })
}

async fn prompt(host: &Host, face: &Face, params: Option<Params>) -> Result<Way, RpcError> {
    let name = member(params.as_ref(), Member::Name, "name")?;
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
    params: Option<Params>,
) -> Result<Way, RpcError> {
    let uri = member(params.as_ref(), Member::Uri, "uri")?;
    let (plugin, upstream) = owner(host, face, principal, &uri).await?;
    Ok(Way { plugin, tool: None, params: replaced(params, "uri", &uri, &upstream) })
}

async fn completion(
    host: &Host,
    face: &Face,
    principal: &Arc<str>,
    params: Option<Params>,
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
    let renamed = to_raw_value(&to).ok().and_then(|to| splice::with_field(reference, key, &to));
    let params = params.as_deref().zip(renamed);
    let params = params.and_then(|(params, renamed)| splice::with_field(params, "ref", &renamed));
    Ok(Way { plugin, tool: None, params: params.map(Into::into) })
}

/// What names no thing of a plugin can only be meant for the one plugin of its face.
async fn alone(host: &Host, face: &Face, method: &str, params: Option<Params>) -> Result<Way, RpcError> {
    let Face::Plugin(plugin) = face else {
        return Err(RpcError::new(RpcError::METHOD_NOT_FOUND, format!("Method not found: {method}")));
    };
    ready(host, plugin).await?;
    Ok(Way { plugin: plugin.clone(), tool: None, params })
}

fn find(host: &Host, face: &Face, kind: Kind, key: &str) -> Option<Arc<Item>> {
    host.catalog_now().shelf(face)?.find(kind, key).cloned()
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

fn replaced(params: Option<Params>, key: &str, from: &str, to: &str) -> Option<Params> {
    // One that stands twice is changed at both places: the plugin could read the other.
    if from == to && params.as_ref().is_none_or(Params::is_plain) {
        return params;
    }
    let value = to_raw_value(to).ok()?;
    splice::with_field(params.as_deref()?, key, &value).map(Into::into)
}
