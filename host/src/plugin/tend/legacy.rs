//! The legacy words: `resources/subscribe` and `resources/unsubscribe` for each resource, `logging/setLevel` for all.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use wharf_plugin_api::{CallError, CallErrorKind, Delivery, Reply, Request, RpcError};

use super::{ANSWER_WITHIN, Tended, pause};
use crate::plugin::prove::HostScope;
use crate::plugin::watch::{INFO, Union};

/// By severity, from 0.
const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// What the instance was told so far.
#[derive(Debug, Default)]
struct Told {
    resources: BTreeSet<String>,
    level: Option<u8>,
}

pub(super) async fn tend(tended: &Tended) {
    let (mut told, mut failures) = (Told::default(), 0);
    let mut changes = tended.watch.changes();
    loop {
        changes.mark_unchanged();
        let union = tended.watch.union();
        match told.become_as(&union, tended).await {
            Ok(()) => {
                failures = 0;
                tended.serving.reached(union.version);
                // The watch outlives this.
                changes.changed().await.ok();
            }
            Err(error) => {
                tracing::warn!(%error, "what its clients want could not be told; it is tried again");
                pause(failures).await;
                failures = failures.saturating_add(1);
            }
        }
    }
}

impl Told {
    /// Tells all that is not told yet. One that cannot be told holds up no other; the first error is returned at the end.
    async fn become_as(&mut self, union: &Union, tended: &Tended) -> Result<(), CallError> {
        let mut outcome = Ok(());
        if tended.tells.logging.is_some() {
            outcome = outcome.and(self.level(union.logs, tended).await);
        }
        for uri in self.resources.difference(&union.resources).cloned().collect::<Vec<_>>() {
            match ask(tended, "resources/unsubscribe", &json!({ "uri": uri })).await {
                // It is no longer wanted: whatever the answer, nothing hangs on it.
                Ok(_) => drop(self.resources.remove(&uri)),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        for uri in union.resources.difference(&self.resources).cloned().collect::<Vec<_>>() {
            outcome = outcome.and(self.subscribe(uri, tended).await);
        }
        outcome
    }

    async fn subscribe(&mut self, uri: String, tended: &Tended) -> Result<(), CallError> {
        let refusal = if tended.tells.subscribes() {
            ask(tended, "resources/subscribe", &json!({ "uri": uri })).await?
        } else {
            let text = "the plugin does not offer to tell when a resource changes";
            Some(RpcError::new(RpcError::METHOD_NOT_FOUND, text))
        };
        if let Some(refusal) = &refusal {
            tracing::warn!(uri, %refusal, "a resource is not watched");
        }
        tended.serving.answered(&uri, refusal);
        self.resources.insert(uri);
        Ok(())
    }

    /// As nobody wants a level any more, it is `info` again, if the plugin was told another one.
    async fn level(&mut self, wanted: Option<u8>, tended: &Tended) -> Result<(), CallError> {
        let level = wanted.or(self.level.map(|_| INFO));
        if level == self.level {
            return Ok(());
        }
        if let Some(name) = level.and_then(|level| LEVELS.get(usize::from(level)))
            && let Some(refusal) = ask(tended, "logging/setLevel", &json!({ "level": name })).await?
        {
            tracing::warn!(%refusal, "the level of its log messages could not be set");
        }
        self.level = level;
        Ok(())
    }
}

/// Asks, and returns the error with which the plugin answered. One that does not answer in time refuses with that: asked
/// again and again it would hold up all else that is to be told.
async fn ask(tended: &Tended, method: &'static str, params: &Value) -> Result<Option<RpcError>, CallError> {
    let request = Request::new(method, params).map_err(|error| {
        CallError::new(CallErrorKind::Protocol, Delivery::NotDelivered, error.to_string())
    })?;
    let asking = tended.link.request(request, HostScope::within(ANSWER_WITHIN));
    let late = || RpcError::new(RpcError::INTERNAL, format!("the plugin did not answer {method}"));
    match tokio::time::timeout(ANSWER_WITHIN, asking).await {
        Ok(Ok(Reply::Result(_))) => Ok(None),
        Ok(Ok(Reply::Error(error))) => Ok(Some(error)),
        Ok(Err(error)) if error.kind != CallErrorKind::Timeout => Err(error),
        Ok(Err(_)) | Err(_) => Ok(Some(late())),
    }
}
