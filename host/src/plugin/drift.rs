//! A plugin that lists something else than before is said to: in its log, as an event, and in the API until the next time.
//! Servers come back from a restart with nothing to offer, and look well.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::json;
use wharf_core::catalog::Kind;
use wharf_core::catalog::drift::Drift;
use wharf_core::{Generation, InstanceNo};

use super::core::PluginCore;
use super::prove::Proof;
use super::services::Services;

/// The last time that a plugin's lists were other than before.
#[derive(Clone, Debug, Serialize)]
pub struct ListsChange {
    /// When.
    #[serde(serialize_with = "crate::telemetry::rfc3339")]
    pub at: SystemTime,
    /// `start`: they were other after a start; `relist`: the plugin said that they changed, or their time was over; `upgrade`:
    /// another version has taken over.
    pub after: &'static str,
    /// The difference by kind: `tool`, `prompt`, `resource`, `template`.
    pub lists: Drift,
    /// The same as text.
    pub text: String,
}

/// What is listed now, compared with what was listed before.
pub(super) fn compare(before: &Proof, now: &Proof) -> Drift {
    let tools =
        |proof: &Proof| proof.tools.iter().map(|tool| Arc::clone(&tool.definition)).collect::<Vec<_>>();
    Drift::default()
        .and(Kind::Tool, &tools(before), &tools(now))
        .and(Kind::Prompt, &before.prompts, &now.prompts)
        .and(Kind::Resource, &before.resources, &now.resources)
        .and(Kind::Template, &before.templates, &now.templates)
}

/// Tells what is other than before, by the word of this launch of an instance.
pub(super) fn tell_drift(
    core: &PluginCore,
    services: &Services,
    (n, generation): (InstanceNo, Generation),
    (before, now): (&Proof, &Proof),
    after: &'static str,
) {
    let lists = compare(before, now);
    if lists.is_empty() {
        return;
    }
    // Names are the plugin's own words: of them all only the text is free of what it may have been told in secret.
    let text = core.clean(&lists.to_string());
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
    core.log.append(n.0, generation.0, "wharf", &format!("lists after {after}: {text}"));
    let change = ListsChange { at: SystemTime::now(), after, lists, text };
    services.events.publish(
        "plugin.lists",
        json!({
            "plugin": core.id, "instance": n, "generation": generation,
            "after": change.after, "lists": change.lists, "emptied": emptied, "text": change.text,
        }),
    );
    core.drift.store(Some(Arc::new(change)));
}
