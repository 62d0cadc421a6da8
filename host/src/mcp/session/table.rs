//! All sessions of a host: opened by `initialize`, found by an id that only their client knows.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::mpsc;
use wharf_core::splice;
use wharf_core::spread::ByName;
use wharf_plugin_api::{Client, Era, Reply, RpcError};

use super::Session;
use super::feeds::Feeds;
use super::life::{Ears, live};
use crate::Host;
use crate::mcp::Visitor;
use crate::mcp::capabilities::{Introduction, introduce};
use crate::mcp::failure::BUSY;
use crate::mcp::forward::bad;
use crate::mcp::tasks::TaskTable;

/// Sessions of one host, at most. One that rests takes less than 10 KB.
pub(super) const MOST: usize = 10_240;
/// Questions of a session's own instances that wait to be taken up.
const ASKS: usize = 16;

/// The legacy revisions that we speak, the newest last.
const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// The sessions of a host.
#[derive(Debug, Default)]
pub(in crate::mcp) struct Sessions {
    open: Mutex<ByName<Arc<str>, Arc<Session>>>,
    feeds: Feeds,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Initialized<'a> {
    protocol_version: &'a str,
    capabilities: &'a RawValue,
    server_info: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
}

impl Sessions {
    /// Opens a session. The reply answers its `initialize`.
    ///
    /// # Errors
    /// The answer, if there is none.
    pub(in crate::mcp) async fn open(
        self: &Arc<Self>,
        host: &Host,
        visitor: Visitor,
        tasks: Arc<TaskTable>,
        params: Option<&RawValue>,
    ) -> Result<(Arc<Session>, Reply), RpcError> {
        let params = params.ok_or_else(|| bad("initialize needs params"))?;
        let revision = revision(params)?;
        let client = client(params)?;
        let told = introduce(host, &visitor.face, Era::Legacy).await?;
        let id: Arc<str> = secret()?.into();
        let queue = self.feeds.queue();
        let session =
            Session::new(Arc::clone(&id), revision, host.clone(), visitor, tasks, client.clone(), queue);
        let session = Arc::new(session);
        let reply = answer(&session, &told)?;
        self.insert(&session)?;
        let (asks, asked) = mpsc::channel(ASKS);
        let catalogs = {
            let mut catalogs = host.catalog_changes();
            catalogs.mark_unchanged();
            catalogs
        };
        let ears = Ears {
            joined: host.join(id, Arc::new(client), asks),
            asks: asked,
            notices: host.notices(),
            catalogs,
            shelf: session.shelf(),
        };
        let span = tracing::info_span!(parent: None, "session");
        host.tasks().spawn(span, live(Arc::clone(&session), ears, Arc::clone(self)));
        Ok((session, reply))
    }

    /// An open session of this visitor.
    pub(in crate::mcp) fn get(&self, id: &str, visitor: &Visitor) -> Option<Arc<Session>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let session = open.get(id).filter(|session| session.visitor == *visitor)?;
        (!session.is_over.load(Ordering::Acquire)).then(|| Arc::clone(session))
    }

    fn insert(&self, session: &Arc<Session>) -> Result<(), RpcError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= MOST {
            let spare =
                open.values().filter(|session| session.is_spare()).min_by_key(|session| session.idle_at());
            let Some(spare) = spare.cloned() else {
                let text =
                    format!("{MOST} sessions are open and in use; try again when others have ended theirs");
                return Err(RpcError::new(BUSY, text));
            };
            tracing::info!(session = %spare.shown(), "a session that rests was ended: {MOST} are open");
            spare.end();
            open.remove(&spare.id);
        }
        open.insert(Arc::clone(&session.id), Arc::clone(session));
        Ok(())
    }

    pub(super) fn forget(&self, id: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// The revision to speak: the client's, if it is a legacy one that we know, else our newest of them.
fn revision(params: &RawValue) -> Result<String, RpcError> {
    let wanted = splice::field(params, "protocolVersion");
    let wanted: String = wanted
        .and_then(|wanted| serde_json::from_str(wanted.get()).ok())
        .ok_or_else(|| bad("params.protocolVersion must be a string"))?;
    let known = REVISIONS.into_iter().find(|known| *known == wanted);
    let newest = REVISIONS.last().copied().unwrap_or_default();
    Ok(known.unwrap_or(newest).to_owned())
}

/// What the client says of itself, raw.
fn client(params: &RawValue) -> Result<Client, RpcError> {
    let object = |key| splice::field(params, key).filter(|value| value.get().starts_with('{'));
    let capabilities = match splice::field(params, "capabilities") {
        None => Client::default().capabilities,
        Some(given) if given.get().starts_with('{') => given.to_owned().into(),
        Some(_) => return Err(bad("params.capabilities must be an object")),
    };
    Ok(Client {
        capabilities,
        info: object("clientInfo").map(|info| info.to_owned().into()),
        log_level: None,
    })
}

fn answer(session: &Session, told: &Introduction) -> Result<Reply, RpcError> {
    let result = Initialized {
        protocol_version: &session.revision,
        capabilities: &told.capabilities,
        server_info: &told.server_info,
        instructions: told.instructions.as_deref(),
    };
    let broken = |error| RpcError::new(RpcError::INTERNAL, format!("the answer is not JSON: {error}"));
    to_raw_value(&result).map(Reply::Result).map_err(broken)
}

/// 128 random bits, as hexadecimal digits.
fn secret() -> Result<String, RpcError> {
    let mut bytes = [0_u8; 16];
    let failed =
        |error| RpcError::new(RpcError::INTERNAL, format!("the system gives no random numbers: {error}"));
    getrandom::fill(&mut bytes).map_err(failed)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
