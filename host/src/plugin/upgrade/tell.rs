//! What is told of an upgrade: in the log, as an event, and in the API until the next one.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::json;
use wharf_core::catalog::drift::Drift;
use wharf_core::upgrade::{Status, Step};

use super::Upgrading;
use crate::plugin::{PluginHandle, UpgradeView};

/// What a new version lists beside the old one.
#[derive(Clone, Debug, Serialize)]
pub struct Lists {
    /// The difference by kind: `tool`, `prompt`, `resource`, `template`.
    pub lists: Drift,
    /// The same as text.
    pub text: String,
}

impl PluginHandle {
    /// The last upgrade, if there was one.
    pub(crate) fn upgrade(&self) -> Option<UpgradeView> {
        let up = self.upgrading();
        up.machine.status().map(|status| self.view(status, &up))
    }

    fn view(&self, status: &Status, up: &Upgrading) -> UpgradeView {
        let wall = |at| -> SystemTime { self.services.clock.wall(at) };
        UpgradeView {
            state: status.step,
            from: status.from,
            to: status.to,
            since: wall(status.since),
            until: status.until.map(wall),
            cause: status.cause.clone(),
            difference: up.lists.clone(),
        }
    }

    pub(super) fn tell_upgrade(&self, up: &Upgrading) {
        let Some(status) = up.machine.status() else { return };
        let view = self.view(status, up);
        let why = status.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        let (from, to, step) = (status.from, status.to, status.step.as_str());
        let text = up.lists.as_ref().map(|lists| lists.text.as_str()).unwrap_or_default();
        if status.step == Step::RolledBack {
            tracing::warn!(%from, %to, lists = text, "upgrade {step}{why}; the old version serves");
        } else {
            tracing::info!(%from, %to, lists = text, "upgrade {step}{why}");
        }
        let n = self.instances().first().map_or(0, |one| one.n.0);
        self.core.log.append(n, 0, "wharf", &format!("upgrade {from} -> {to} {step}{why}"));
        self.services.events.publish("plugin.upgrade", json!({ "plugin": self.core.id, "upgrade": view }));
    }
}
