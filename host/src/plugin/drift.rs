//! A plugin that lists something else than before is said to: in its log, as an event, and in the API until the next time.
//! Servers come back from a restart with nothing to offer, and look well.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::json;
use wharf_core::catalog::Kind;
use wharf_core::catalog::drift::Drift;

use super::prove::Proof;
use super::supervisor::Supervisor;

/// The last time that a plugin's lists were other than before.
#[derive(Clone, Debug, Serialize)]
pub struct ListsChange {
    /// When.
    #[serde(serialize_with = "crate::telemetry::rfc3339")]
    pub at: SystemTime,
    /// `start`: they were other after a start; `relist`: the plugin said that they changed, or their time was over.
    pub after: &'static str,
    /// The difference by kind: `tool`, `prompt`, `resource`, `template`.
    pub lists: Drift,
    /// The same as text.
    pub text: String,
}

impl Supervisor {
    /// Compares what is listed now with what was listed before.
    pub(super) fn tell_drift(&self, before: &Proof, now: &Proof, after: &'static str) {
        let tools =
            |proof: &Proof| proof.tools.iter().map(|tool| Arc::clone(&tool.definition)).collect::<Vec<_>>();
        let lists = Drift::default()
            .and(Kind::Tool, &tools(before), &tools(now))
            .and(Kind::Prompt, &before.prompts, &now.prompts)
            .and(Kind::Resource, &before.resources, &now.resources)
            .and(Kind::Template, &before.templates, &now.templates);
        if lists.is_empty() {
            return;
        }
        let generation = self.machine.generation();
        // Names are the plugin's own words: of them all only the text is free of what it may have been told in secret.
        let text = self.core.clean(&lists.to_string());
        let emptied: Vec<&str> = lists.emptied().map(Kind::as_str).collect();
        if emptied.is_empty() {
            tracing::info!(generation = generation.0, text, "it lists something else than before");
        } else {
            let emptied = emptied.join(", ");
            tracing::warn!(
                generation = generation.0,
                emptied,
                text,
                "what it listed before is gone altogether: look at its log"
            );
        }
        self.core.log.append(self.n.0, generation.0, "wharf", &format!("lists after {after}: {text}"));
        let change = ListsChange { at: SystemTime::now(), after, lists, text };
        self.services.events.publish(
            "plugin.lists",
            json!({
                "plugin": self.core.id, "instance": self.n, "generation": generation,
                "after": change.after, "lists": change.lists, "emptied": emptied, "text": change.text,
            }),
        );
        self.core.drift.store(Some(Arc::new(change)));
    }
}
