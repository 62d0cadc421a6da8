//! HTTP as a client: one client for all servers that run elsewhere, one for each launch of a plugin of ours,
//! addresses, and what a failure or a status says about delivery.
//!
//! It must not know MCP beyond its error kinds. Redirects are not followed: a plugin's address is the manifest's business.

use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{CONTENT_TYPE, HOST, HeaderMap};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use wharf_plugin_api::jsonrpc::{self, Message};
use wharf_plugin_api::{CallError, CallErrorKind, Cause, CauseKind, Delivery, Id, Reply, Trace};

use super::pool::{self, Body, HttpClient, Server, Unanswered};
use super::shortened;
use super::way::{Dial, Way};
use crate::tasks::Tasks;

/// How long a TCP connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of an error's body is read.
const MAX_ERROR_BODY: usize = 64 << 10;
/// How long the rest of an answered response may take, so that its connection can be used again.
const DRAIN: Duration = Duration::from_secs(1);

/// Where a plugin listens, and what it must be sent.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// The address of the manifest. It may hold secrets: do not log it.
    pub(crate) url: Uri,
    /// Sent with every request. They may hold secrets: mark those sensitive, do not log them.
    pub(crate) headers: HeaderMap,
    /// What a server is sent of the address.
    pub(crate) target: Uri,
    /// Its connections.
    pub(crate) server: Server,
    /// Where connections go instead of where the address says, which stays what the server is called.
    pub(crate) at: Option<SocketAddr>,
}

/// A response that is no success.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    /// The start of its body.
    pub(crate) body: Vec<u8>,
}

impl Endpoint {
    /// An endpoint by its address. Every header is marked as sensitive: which of them hold secrets is not known here.
    ///
    /// # Errors
    /// If the address or a header is none once its variables are put in. The error shows no value.
    pub(crate) fn new(url: &str, headers: &[(String, String)], client: &HttpClient) -> Result<Self, Cause> {
        let invalid = |what: String| Cause::new(CauseKind::InvalidManifest, what);
        let url: Uri = url.parse().map_err(|error| invalid(format!("`url` is no address: {error}")))?;
        let mut map = HeaderMap::with_capacity(headers.len() + 1);
        for (name, value) in headers {
            let key = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| invalid(format!("{name:?} is no name of a header")))?;
            let mut value = HeaderValue::from_str(value).map_err(|_| {
                invalid(format!("the value of header {name:?} holds characters that a header may not"))
            })?;
            value.set_sensitive(true);
            map.append(key, value);
        }
        if let Some(named) = host(&url) {
            map.entry(HOST).or_insert(named);
        }
        Ok(Self { target: pool::path(&url), server: client.server(url.clone()), url, headers: map, at: None })
    }

    /// The host of the address: a name or an IP address, without brackets.
    pub(crate) fn host(&self) -> Option<&str> {
        self.url.host().map(|host| host.trim_start_matches('[').trim_end_matches(']'))
    }

    /// The port of the address.
    pub(crate) fn port(&self) -> Option<u16> {
        let default = if self.url.scheme_str() == Some("https") { 443 } else { 80 };
        self.url.host().map(|_| self.url.port_u16().unwrap_or(default))
    }

    /// Goes this way from now on, which leads where the plugin was seen to listen: not what a name may lead to. What the
    /// server is called stays.
    pub(crate) fn connect_by(&mut self, at: SocketAddr, dial: Dial) {
        self.at = Some(at);
        self.server = client(Way::Given(dial), self.server.tasks().clone()).server(located(&self.url, at));
    }

    /// A request to `target`, which is of this endpoint's origin, with the endpoint's headers.
    pub(crate) fn request(&self, method: Method, target: &Uri, body: Full<Bytes>) -> Request<Full<Bytes>> {
        with_headers(method, target, self.headers.clone(), body)
    }
}

/// A request that says this.
pub(crate) fn with_headers(
    method: Method,
    target: &Uri,
    headers: HeaderMap,
    body: Full<Bytes>,
) -> Request<Full<Bytes>> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = target.clone();
    *request.headers_mut() = headers;
    request
}

/// Says in the headers of which trace a request is part, as its `_meta` does.
pub(crate) fn trace(trace: Option<&Trace>, headers: &mut HeaderMap) {
    for (name, value) in trace.into_iter().flat_map(Trace::pairs) {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// The value of `Host`: the authority without a user's name, and without a port that goes without saying.
fn host(url: &Uri) -> Option<HeaderValue> {
    let host = url.host()?;
    let default = if url.scheme_str() == Some("https") { 443 } else { 80 };
    let port = url.port_u16().filter(|port| *port != default);
    let named = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    HeaderValue::from_str(&named).ok()
}

/// The address with another place.
pub(crate) fn located(url: &Uri, at: SocketAddr) -> Uri {
    let mut parts = url.clone().into_parts();
    parts.authority = at.to_string().parse().ok();
    // The parts are those of an address, and a socket address is an authority.
    Uri::from_parts(parts).unwrap_or_else(|_| url.clone())
}

/// The client of servers that run elsewhere.
pub(crate) fn http_client(tasks: &Tasks) -> HttpClient {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.enforce_http(false);
    client(Way::Address(tcp), tasks.clone())
}

pub(super) fn client(way: Way, tasks: Tasks) -> HttpClient {
    static TLS: LazyLock<Arc<rustls::ClientConfig>> =
        LazyLock::new(|| Arc::new(tls_config(rustls::crypto::ring::default_provider())));
    HttpClient::new(HttpsConnector::from((way, Arc::clone(&TLS))), tasks)
}

/// Sends a request and waits for the head of its response.
///
/// # Errors
/// If there is none; it tells whether the request can have arrived.
pub(crate) fn send(
    server: &Server,
    request: Request<Full<Bytes>>,
) -> impl Future<Output = Result<Response<Body>, CallError>> + use<'_> {
    server.request(request).map(|sent| sent.map_err(unanswered))
}

fn unanswered(error: Unanswered) -> CallError {
    let (delivery, what) = match &error {
        Unanswered::Connect(_) => (Delivery::NotDelivered, "cannot connect"),
        Unanswered::Broke(_) => (Delivery::Unknown, "the connection broke before the answer"),
    };
    CallError::new(CallErrorKind::Connection, delivery, format!("{what}: {}", reason(&error)))
}

/// Reads the start of a refusal.
pub(crate) async fn refused(response: Response<Body>) -> Refused {
    let status = response.status();
    let body = http_body_util::Limited::new(response.into_body(), MAX_ERROR_BODY).collect();
    let body = tokio::time::timeout(DRAIN, body).await;
    let body = body.ok().and_then(Result::ok).map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    Refused { status, body }
}

/// Reads the rest of a response of which nothing is wanted, so that its connection can be used again.
pub(crate) fn finish(mut body: Body, tasks: &Tasks) {
    loop {
        if body.is_done() {
            return;
        }
        match body.frame().now_or_never() {
            Some(Some(Ok(_))) => {}
            Some(Some(Err(_)) | None) => return,
            None => break,
        }
    }
    let rest = async move {
        let rest = http_body_util::Limited::new(body, MAX_ERROR_BODY).collect();
        tokio::time::timeout(DRAIN, rest).await.ok();
    };
    drop(tasks.spawn(tracing::debug_span!("drain"), rest));
}

/// Whether a response says that it is an event stream.
pub(crate) fn is_events(response: &Response<Body>) -> bool {
    let said = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let media_type = said.split(|byte| *byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// The innermost reason of an error: "Connection refused", not "client error (Connect)".
pub(crate) fn reason(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn tls_config(provider: rustls::crypto::CryptoProvider) -> rustls::ClientConfig {
    use hyper_rustls::ConfigBuilderExt as _;
    let versions = rustls::ClientConfig::builder_with_provider(provider.into());
    match versions.with_safe_default_protocol_versions() {
        Ok(builder) => builder.with_webpki_roots().with_no_client_auth(),
        // Never with the provider above; the default is what other clients of this process use.
        Err(_) => rustls::ClientConfig::builder().with_webpki_roots().with_no_client_auth(),
    }
}

// === impl Refused ===

impl Refused {
    /// For people: the status and the start of what the server says about it.
    pub(crate) fn detail(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text = shortened(&text).trim();
        let said: String = text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let colon = if said.is_empty() { "" } else { ": " };
        format!("the server answered {}{colon}{said}", self.status)
    }

    /// Whether it says only that the server, or someone before it, cannot answer now.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.status.as_u16(), 429 | 502..=504)
    }

    /// What it says about a call.
    pub(crate) fn call_error(&self) -> CallError {
        let (kind, delivery) = match self.status.as_u16() {
            // It says itself that it did not take the request.
            429 => (CallErrorKind::Refused, Delivery::NotDelivered),
            // Someone between says that the server did not answer; it may say so after it has forwarded the request.
            502..=504 => (CallErrorKind::Connection, Delivery::Unknown),
            500..=599 => (CallErrorKind::Protocol, Delivery::Unknown),
            400..=499 => (CallErrorKind::Refused, Delivery::Answered),
            _ => (CallErrorKind::Protocol, Delivery::Answered),
        };
        CallError::new(kind, delivery, self.detail())
    }

    /// What it says about a handshake.
    pub(crate) fn cause(&self) -> Cause {
        let kind = match self.status.as_u16() {
            401 | 403 => CauseKind::Unauthorized,
            429 | 502..=504 => CauseKind::Unreachable,
            _ => CauseKind::HandshakeRefused,
        };
        Cause::new(kind, self.detail())
    }

    /// The JSON-RPC response that its body is, if it is one.
    pub(crate) fn response(&self) -> Option<(Option<Id>, Reply)> {
        match jsonrpc::parse(&self.body) {
            Ok(Message::Response { id, reply }) => Some((id, reply)),
            Ok(_) | Err(_) => None,
        }
    }
}
