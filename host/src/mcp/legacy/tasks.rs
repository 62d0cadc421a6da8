//! The tasks of 2025-11-25, between legacy clients and legacy plugins: each goes to the plugin that began it, and to nobody
//! whose it is not.

use wharf_core::PluginId;
use wharf_core::catalog::Face;
use wharf_plugin_api::{Era, Reply, RpcError};

use super::{Asking, call, no_method};
use crate::mcp::forward::{self, bad};
use crate::mcp::params::Member;
use crate::mcp::session::Session;

/// Answers a method of tasks.
///
/// # Errors
/// The answer, if there is none of the plugin.
pub(super) async fn run(asking: &mut Asking) -> Result<Reply, RpcError> {
    let Asking { session, method, params, .. } = asking;
    match &**method {
        "tasks/list" => list(asking).await,
        "tasks/get" | "tasks/result" | "tasks/cancel" => {
            let task = params.as_ref().ok_or_else(|| forward::no_text("taskId"))?.text(Member::TaskId)?;
            let plugin = owner(session, &task).ok_or_else(|| bad(format!("Unknown task: {task}")))?;
            let forwarded = forward::to(&plugin, session.caller(), method, params.take());
            call::settle(asking, forwarded).await
        }
        _ => call::run(asking).await,
    }
}

/// The plugin at which a task of the client is. What nobody began through us can only be at the one plugin of the face.
fn owner(session: &Session, task: &str) -> Option<PluginId> {
    let principal = &session.visitor.principal;
    let plugins = legacy_plugins(session);
    if let Some(plugin) = plugins.iter().find(|plugin| session.tasks.owns(principal, plugin, task)) {
        return Some(plugin.clone());
    }
    match &session.visitor.face {
        Face::Plugin(plugin) if session.tasks.may_be_of(principal, plugin, task) => {
            plugins.contains(plugin).then(|| plugin.clone())
        }
        Face::Plugin(_) | Face::All | Face::Group(_) => None,
    }
}

async fn list(asking: &mut Asking) -> Result<Reply, RpcError> {
    let plugin = match &asking.session.visitor.face {
        Face::Plugin(plugin) if legacy_plugins(&asking.session).contains(plugin) => plugin.clone(),
        Face::Plugin(_) | Face::All | Face::Group(_) => return Err(no_method(&asking.method)),
    };
    Ok(match call::run(asking).await? {
        Reply::Result(result) => {
            let Session { tasks, visitor, .. } = &*asking.session;
            Reply::Result(tasks.without_others(&visitor.principal, &plugin, result))
        }
        error @ Reply::Error(_) => error,
    })
}

fn legacy_plugins(session: &Session) -> Vec<PluginId> {
    let catalog = session.host.catalog();
    let plugins = catalog.shelf(&session.visitor.face).map(|shelf| shelf.plugins.clone()).unwrap_or_default();
    plugins.into_iter().filter(|(_, era)| *era == Era::Legacy).map(|(plugin, _)| plugin).collect()
}
