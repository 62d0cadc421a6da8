//! What a session hears from the host, and which of it its client is told.
//!
//! A client is told only what is meant for it: resources that it subscribed to, log messages of its level, changes of the
//! lists of its face, and what its own instances say.

use bytes::Bytes;
use serde_json::value::{RawValue, to_raw_value};
use wharf_core::PluginId;
use wharf_core::catalog::{Face, Kind, Shelf};
use wharf_core::splice;
use wharf_plugin_api::{Notification, jsonrpc};

use super::Session;
use super::queue::Worth;
use crate::mcp::forward;
use crate::plugin::notice::Notice;

impl Session {
    /// A plugin said something outside of the session's calls.
    pub(super) fn hear(&self, notice: &Notice) {
        let own = match &notice.session {
            Some(session) if *session == self.id => true,
            Some(_) => return,
            None => false,
        };
        let catalog = self.host.catalog();
        let in_face = match &self.visitor.face {
            Face::Plugin(plugin) => *plugin == notice.plugin,
            face @ (Face::All | Face::Group(_)) => catalog
                .shelf(face)
                .is_some_and(|shelf| shelf.plugins.iter().any(|(plugin, _)| *plugin == notice.plugin)),
        };
        if in_face {
            self.tell(&notice.plugin, &notice.notification, own);
        }
    }

    /// Tells the client on its feed, if it is meant. `own`: it comes from an instance or a call of the session alone.
    pub(in crate::mcp) fn tell(&self, plugin: &PluginId, notification: &Notification, own: bool) {
        let params = notification.params.as_deref();
        match &*notification.method {
            "notifications/resources/updated" => self.updated(plugin, params),
            "notifications/message" => {
                if self.level().lets(params) {
                    self.say(&notification.method, params, Worth::Log);
                }
            }
            // The host reads the lists again, and tells what it found.
            method if method.ends_with("/list_changed") => {}
            "notifications/tasks/status" => {
                let task = forward::text(params, "taskId");
                if own || task.is_ok_and(|task| self.tasks.owns(&self.visitor.principal, plugin, &task)) {
                    self.say(&notification.method, params, Worth::Word);
                }
            }
            // Whom it concerns only its sender knows.
            method if own => self.say(method, params, Worth::Word),
            method => {
                tracing::debug!(%plugin, method, "a notification that is meant for no session was dropped")
            }
        }
    }

    fn updated(&self, plugin: &PluginId, params: Option<&RawValue>) {
        let Ok(upstream) = forward::text(params, "uri") else { return };
        let shelf = self.shelf();
        let seen = shelf.uri_as_seen(plugin, &upstream);
        if self.wants.subscribed(plugin, &upstream) {
            let renamed = to_raw_value(&seen).ok().zip(params);
            let params = renamed.and_then(|(uri, params)| splice::with_field(params, "uri", &uri));
            let message = line(jsonrpc::notification("notifications/resources/updated", params.as_deref()));
            self.queue.push_once(message);
        }
    }

    fn say(&self, method: &str, params: Option<&RawValue>, worth: Worth) {
        // What does not fit is counted and logged there.
        self.queue.push(line(jsonrpc::notification(method, params)), worth);
    }

    /// The lists of the face may have changed.
    pub(super) fn compare(&self, before: &Shelf, after: &Shelf) {
        let changed = |kinds: &[Kind]| kinds.iter().any(|kind| !before.lists_the_same(after, *kind));
        let lists: [(&[Kind], &str); 3] = [
            (&[Kind::Tool], "notifications/tools/list_changed"),
            (&[Kind::Prompt], "notifications/prompts/list_changed"),
            (&[Kind::Resource, Kind::Template], "notifications/resources/list_changed"),
        ];
        for (kinds, method) in lists {
            if changed(kinds) {
                self.queue.push_once(line(jsonrpc::notification(method, None)));
            }
        }
    }
}

fn line(mut message: Vec<u8>) -> Bytes {
    jsonrpc::single_line(&mut message);
    message.into()
}
