//! A plugin that runs elsewhere: nothing is launched, everything else is the same.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wharf_core::manifest::{Dialect, Late, Remote, Target};
use wharf_plugin_api::{Cause, CauseKind, Inbox, Launch, Link, Plugin, Stage, async_trait};

use super::Common;
use super::eras::Plan;
use super::keeper::kept;
use super::verdicts::Fingerprint;
use crate::dialect::{self, Connected, Endpoint};

pub(super) struct RemoteServer {
    pub(super) common: Common,
    pub(super) remote: Remote,
}

#[async_trait]
impl Plugin for RemoteServer {
    async fn open(&self, launch: Launch, inbox: Arc<dyn Inbox>) -> Result<Arc<dyn Link>, Cause> {
        let connected = tokio::select! {
            connected = self.connect(&launch, &inbox) => connected?,
            () = inbox.cancelled() => return Err(Cause::new(CauseKind::Requested, "no longer wanted")),
        };
        let Connected { link, lost, .. } = connected;
        let inner = Arc::clone(&link);
        Ok(kept(link, inbox, Duration::ZERO, &self.common.services.tasks, |close, told| async move {
            let cause = tokio::select! {
                cause = lost => cause,
                () = close.cancelled() => Cause::new(CauseKind::Requested, "ended by the host"),
            };
            told.lost(&cause);
            inner.close().await;
            cause
        }))
    }
}

impl RemoteServer {
    async fn connect(&self, launch: &Launch, inbox: &Arc<dyn Inbox>) -> Result<Connected, Cause> {
        let late = Late { port: None, replica: launch.replica };
        let nth = usize::try_from(launch.replica).unwrap_or(usize::MAX);
        // Of an only endpoint there may be several instances.
        let target = self.remote.targets.get(nth).or_else(|| self.remote.targets.first());
        let nowhere = || Cause::new(CauseKind::InvalidManifest, "no endpoint is declared");
        let Target { url, dialect, headers: own, .. } = target.ok_or_else(nowhere)?;
        let url = url.render(late);
        let headers = self.remote.headers.iter().chain(own);
        let headers: Vec<(String, String)> =
            headers.map(|(name, value)| (name.clone(), value.render(late))).collect();
        let endpoint = Endpoint::new(&url, &headers, &self.common.services.http)?;
        if let (Some(host), Some(port)) = (endpoint.host(), endpoint.port()) {
            inbox.stage(Stage::Listening { host: host.to_owned(), port });
        }
        let mut plan = Plan::of(&self.common, *dialect, Fingerprint::of(&url));
        loop {
            let options = self.common.options(launch, plan.era);
            let deadline = options.handshake_deadline;
            let attempt = attempt(*dialect, endpoint.clone(), options, Arc::clone(inbox)).await;
            let outcome = attempt.as_ref().map(Connected::era);
            if !plan.another(&self.common, outcome, Instant::now() >= deadline) {
                return attempt.map_err(|cause| plan.explained(cause));
            }
        }
    }
}

async fn attempt(
    dialect: Option<Dialect>,
    endpoint: Endpoint,
    options: dialect::Options,
    inbox: Arc<dyn Inbox>,
) -> Result<Connected, Cause> {
    match dialect {
        None => dialect::detect::connect(endpoint, inbox, options).await,
        Some(Dialect::Sse) => dialect::sse::connect(endpoint, inbox, options).await,
        Some(Dialect::SsePost) => dialect::sse_post::connect(endpoint, inbox, options).await,
        Some(Dialect::Http | Dialect::Stdio) => dialect::http::connect(endpoint, inbox, options).await,
    }
}
