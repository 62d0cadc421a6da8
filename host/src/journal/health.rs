//! Whether the journal can be written, said once when it changes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::json;

use crate::events::EventBus;

/// How the journal is.
#[derive(Clone, Debug, Serialize)]
pub struct JournalView {
    /// `ok`, `failing` (calls are served, durable ones refused) or `off`.
    pub state: &'static str,
    /// Since when.
    #[serde(serialize_with = "crate::telemetry::rfc3339")]
    pub since: SystemTime,
    /// What fails, and what helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The health of one journal.
#[derive(Debug, Default)]
pub(super) struct Health {
    well: AtomicBool,
    now: Mutex<Option<JournalView>>,
    events: OnceLock<Arc<EventBus>>,
}

impl Health {
    pub(super) fn is_well(&self) -> bool {
        self.well.load(Ordering::Acquire)
    }

    pub(super) fn view(&self) -> JournalView {
        let off = || JournalView { state: "off", since: SystemTime::UNIX_EPOCH, detail: None };
        self.now().clone().unwrap_or_else(off)
    }

    /// From now on changes are told here; one that is ill already is told now.
    pub(super) fn tell(&self, events: &Arc<EventBus>) {
        self.events.set(Arc::clone(events)).ok();
        let now = self.now().clone();
        if let Some(view) = now.filter(|view| view.state != "ok") {
            self.publish(&view);
        }
    }

    pub(super) fn well(&self) {
        self.becomes("ok", None);
    }

    pub(super) fn ill(&self, error: &std::io::Error, folder: &Path) {
        let detail = format!(
            "{}: {error}. Calls are served, but what runs now is not known after a crash, and calls marked durable are refused; \
             make room, make the folder writable, or see to the disk: it is tried again each second",
            folder.display()
        );
        self.becomes("failing", Some(detail));
    }

    fn becomes(&self, state: &'static str, detail: Option<String>) {
        let view = {
            let mut now = self.now();
            self.well.store(state == "ok", Ordering::Release);
            if now.as_ref().is_some_and(|now| now.state == state) {
                return;
            }
            let view = JournalView { state, since: SystemTime::now(), detail };
            let first = now.replace(view.clone()).is_none();
            if first && state == "ok" {
                return;
            }
            view
        };
        self.publish(&view);
    }

    fn publish(&self, view: &JournalView) {
        match &view.detail {
            Some(detail) => tracing::error!(detail, "the journal cannot be written"),
            None => tracing::info!("the journal is written again"),
        }
        if let Some(events) = self.events.get() {
            events.publish("journal.state", json!({"state": view.state, "detail": view.detail}));
        }
    }

    fn now(&self) -> MutexGuard<'_, Option<JournalView>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
