//! What the HTTP dialects share: the table of sessions, refusals, health, and the socket. Knows no framing.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use wharf_plugin_api::jsonrpc::Message;

use super::args::Args;
use super::frame::{self, Frame};
use super::server::Server;
use super::session::Session;

/// The largest body that is read.
const MAX_BODY: usize = 64 << 20;

/// How many sessions there are at once.
const MAX_SESSIONS: usize = 4096;

/// One HTTP dialect at work.
pub(crate) struct Web {
    pub(crate) server: Arc<Server>,
    pub(crate) sessions: Sessions,
}

/// A session and what waits for its stream.
pub(crate) struct Peer {
    pub(crate) session: Arc<Session>,
    pub(crate) pushed: Arc<tokio::sync::Mutex<mpsc::Receiver<Frame>>>,
}

/// The sessions by id.
pub(crate) struct Sessions {
    table: Mutex<HashMap<String, Arc<Peer>>>,
    calls: AtomicU64,
    lose_after: Option<NonZeroU64>,
    lost: StatusCode,
}

impl Web {
    pub(crate) fn new(server: Arc<Server>) -> Arc<Self> {
        let faults = &server.faults.args;
        let lost = if faults.session_lost_status.as_deref() == Some("400") {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::NOT_FOUND
        };
        let sessions = Sessions {
            table: Mutex::default(),
            calls: AtomicU64::new(0),
            lose_after: faults.lose_sessions_after,
            lost,
        };
        Arc::new(Self { server, sessions })
    }

    /// Hands a message to the server. What it says about it comes out of the returned end, until all was said.
    pub(crate) fn receive(&self, peer: &Peer, message: Message<'_>) -> Box<mpsc::Receiver<Frame>> {
        let (out, frames) = mpsc::channel(frame::QUEUE);
        self.receive_into(peer, message, out);
        Box::new(frames)
    }

    /// The same, with an outlet of the caller's.
    pub(crate) fn receive_into(&self, peer: &Peer, message: Message<'_>, out: frame::Outlet) {
        let is_call = matches!(&message, Message::Request { method, .. } if method == "tools/call");
        self.server.receive(&peer.session, message, out);
        if is_call {
            self.sessions.called();
        }
    }
}

impl Sessions {
    /// Opens a session.
    pub(crate) fn open(&self) -> Result<Arc<Peer>, Refusal> {
        let (push, pushed) = mpsc::channel(frame::QUEUE);
        let session = Session::new(push)
            .map_err(|error| refuse(StatusCode::INTERNAL_SERVER_ERROR, -32603, &error.to_string()))?;
        let peer = Arc::new(Peer { session, pushed: Arc::new(tokio::sync::Mutex::new(pushed)) });
        let mut table = self.table();
        if table.len() >= MAX_SESSIONS {
            return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, -32000, "too many sessions"));
        }
        table.insert(peer.session.id.clone(), Arc::clone(&peer));
        Ok(peer)
    }

    /// Finds the session that a request names, or says why there is none.
    pub(crate) fn find(&self, id: Option<&str>) -> Result<Arc<Peer>, Refusal> {
        let id = id.ok_or_else(|| refuse(StatusCode::BAD_REQUEST, -32000, "the session id is missing"))?;
        self.table().get(id).cloned().ok_or_else(|| refuse(self.lost, -32001, "session not found"))
    }

    /// Forgets a session and ends what runs in it.
    pub(crate) fn close(&self, id: &str) {
        let peer = self.table().remove(id);
        if let Some(peer) = peer {
            peer.session.cancel_all();
        }
    }

    /// A call arrived, and runs: the time to forget all sessions may have come.
    fn called(&self) {
        let n = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if self.lose_after.is_some_and(|every| n.is_multiple_of(every.get())) {
            self.table().clear();
        }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Peer>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A refusal as servers send it: a status, and a JSON-RPC error that answers no request.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: i64,
    message: String,
}

pub(crate) fn refuse(status: StatusCode, code: i64, message: &str) -> Refusal {
    Refusal { status, code, message: message.to_owned() }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body =
            json!({"jsonrpc": "2.0", "id": null, "error": {"code": self.code, "message": self.message}});
        (self.status, [("content-type", "application/json")], body.to_string()).into_response()
    }
}

/// A response that is a stream of events.
pub(crate) fn events(body: axum::body::Body) -> Response {
    ([("content-type", "text/event-stream"), ("cache-control", "no-store")], body).into_response()
}

/// Whether the server lives, as far as it says.
async fn health(State(web): State<Arc<Web>>) -> Response {
    if !web.server.faults.healthy() {
        std::future::pending::<()>().await;
    }
    ([("content-type", "application/json")], r#"{"status":"ok"}"#).into_response()
}

/// The routes of a dialect, with health at `health_path`.
pub(crate) fn finish(routes: Router<Arc<Web>>, health_path: &str, server: Arc<Server>) -> Router {
    routes.route(health_path, get(health)).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(Web::new(server))
}

/// Listens, says where, and serves for ever.
pub(crate) async fn listen(args: &Args, server: &Server, routes: Router, path: &str) -> io::Result<()> {
    if server.faults.args.refuse_to_listen {
        super::note("refuses to listen");
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(server.faults.args.listen_after()).await;
    let wanted = SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(wanted).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {wanted}: {error}; --port 0 takes any"))
    })?;
    super::say(&format!("listening on http://{}{path}", listener.local_addr()?));
    axum::serve(listener, routes).await
}
