//! The MCP server side of a host, without a transport: sessions, eras, lists, calls, subscriptions.
//!
//! A transport (HTTP in `serve`, a pipe in `edge_stdio`) turns bytes into messages and asks here; what it gets back is
//! messages again. Nothing here knows HTTP, a status, or how a message is framed.
//!
//! ```text
//! posted bytes -> ladder (which era?) -> legacy: Session::request | modern: Mcp::modern -> Exchange -> messages
//! ```

pub(crate) mod capabilities;
pub(crate) mod exchange;
pub(crate) mod failure;
pub(crate) mod forward;
pub(crate) mod ladder;
mod legacy;
mod level;
mod links;
pub(crate) mod listen;
pub(crate) mod lists;
pub(crate) mod modern;
pub(crate) mod param_headers;
pub(crate) mod params;
pub(crate) mod park;
pub(crate) mod session;
pub(crate) mod tasks;
#[cfg(test)]
pub(crate) mod testkit;
pub(crate) mod translate;

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use wharf_core::catalog::Face;
use wharf_plugin_api::{Id, Reply, RpcError};

pub(crate) use self::exchange::{AnswerKind, Answered, Exchange, First};
use self::ladder::Envelope;
pub(crate) use self::params::Params;
use self::session::Sessions;
pub(crate) use self::session::{Feed, REQUESTS, Session};
use self::tasks::TaskTable;
use crate::Host;
use crate::alarm::Alarm;
use crate::held::Held;
use crate::route::Failure;

/// The MCP side of a host. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Mcp(Arc<Shared>);

/// What it keeps.
#[derive(Debug)]
pub(crate) struct Shared {
    host: Host,
    sessions: Arc<Sessions>,
    tasks: Arc<TaskTable>,
    modern: modern::Modern,
}

impl Deref for Mcp {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// A client as its transport sees it: who it is, and which part of the catalog it came for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Visitor {
    pub(crate) principal: Arc<str>,
    pub(crate) face: Face,
}

/// A modern request, whose envelope was read and is right (the ladder's work).
#[derive(Clone, Debug)]
pub(crate) struct ModernRequest {
    pub(crate) id: Id,
    pub(crate) method: Cow<'static, str>,
    pub(crate) params: Option<Params>,
    /// The `Mcp-Param-*` headers that came with it, lower-case name without the prefix, value as sent. `None`: a transport
    /// without headers, where they need not be.
    pub(crate) param_headers: Option<Vec<(String, String)>>,
    /// As the ladder read it; `None`: it is read from the params.
    pub(crate) envelope: Option<Envelope>,
}

impl Mcp {
    pub(crate) fn new(host: Host) -> Self {
        let modern = modern::Modern::new(host.tasks().clone());
        Self(Arc::new(Shared { host, sessions: Arc::default(), tasks: Arc::default(), modern }))
    }

    /// What waits for clients, of this edge and of all others.
    pub(crate) fn held(&self) -> &Held {
        self.host.held()
    }

    /// Knows when a time is over.
    pub(crate) fn alarm(&self) -> &Alarm {
        self.host.alarm()
    }

    /// Whether anything stands behind a face, ready or not; a transport answers "not found" where nothing does.
    pub(crate) fn has(&self, face: &Face) -> bool {
        match face {
            Face::All => true,
            Face::Plugin(id) => self.host.state_of(id.as_str()).is_some(),
            Face::Group(group) => self.host.has_group(group),
        }
    }

    /// Whether a call would be turned away now. Counts nothing.
    pub(crate) fn is_full(&self) -> bool {
        self.host.is_full()
    }

    /// Whether there is room for one more call.
    ///
    /// # Errors
    /// What to tell its client if there is none.
    pub(crate) fn has_room(&self) -> Result<(), Failure> {
        self.host.has_room()
    }

    /// Calls in flight, without those that wait for their clients to come back.
    pub(crate) fn calls_in_flight(&self) -> usize {
        self.host.calls_in_flight().saturating_sub(self.park().waiting())
    }

    /// Opens a legacy session by the params of its `initialize`. The reply is the answer to it.
    ///
    /// # Errors
    /// The answer, if there is no session.
    pub(crate) async fn initialize(
        &self,
        visitor: Visitor,
        params: Option<Params>,
    ) -> Result<(Arc<Session>, Reply), RpcError> {
        self.sessions.open(&self.host, visitor, Arc::clone(&self.tasks), params.as_deref()).await
    }

    /// An open session. `None` if it is unknown, has ended, or belongs to another visitor.
    pub(crate) fn session(&self, id: &str, visitor: &Visitor) -> Option<Arc<Session>> {
        self.sessions.get(id, visitor)
    }
}
