//! The bare hop, the practical limit of a host: a hyper server that reads the envelope of a message and passes the bytes
//! on, with nothing that makes a host of it: no names, no auth, no limits, no deadlines, no record.
//!
//! The envelope of an answer is read too: nobody can match answers without it. A process of its own, on one thread: what two
//! hand to each other costs this little work more than they gain (on two cores, over stdio, 122,000 calls/s became 91,000).
//! `hop http ADDRESS` | `hop stdio`.

mod http;
mod pipe;

use std::convert::Infallible;
use std::future::Future;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpListener;

use crate::common::Outcome;

/// What of a request is read.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    method: &'a str,
    #[serde(borrow)]
    params: &'a RawValue,
}

/// What of the params is read.
#[derive(Deserialize)]
struct Params<'a> {
    name: &'a str,
}

/// What of an answer is read.
#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    result: &'a RawValue,
}

/// Where the requests go.
trait Onward: Send + Sync + 'static {
    /// The answer to a request; `None` if there is none.
    fn pass(&self, request: Bytes) -> impl Future<Output = Option<Bytes>> + Send;
}

/// Serves until it is ended.
pub(crate) fn serve(args: &[String]) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // In a task: the two ways are not of one type.
    let work = match (args.first().map(String::as_str), args.get(1)) {
        (Some("http"), Some(address)) => runtime.spawn(accept(http::Upstream::new(address.clone()))),
        (Some("stdio"), _) => {
            let _inside = runtime.enter();
            runtime.spawn(accept(pipe::Upstream::start()?))
        }
        _ => return Err("hop http ADDRESS | stdio".into()),
    };
    runtime.block_on(work)?
}

async fn accept<U: Onward>(upstream: U) -> Outcome<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    writeln!(std::io::stdout(), "listening on {}", listener.local_addr()?)?;
    let upstream = Arc::new(upstream);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let upstream = Arc::clone(&upstream);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(&*upstream, request));
            // A caller that goes away is no trouble of ours.
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

async fn answer<U: Onward>(
    upstream: &U,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    let passed = match request.into_body().collect().await {
        Ok(body) => upstream.pass(body.to_bytes()).await,
        Err(_) => None,
    };
    if let Some(body) = passed {
        let json = header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        *response.body_mut() = Full::new(body);
    } else {
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
    Ok(response)
}

/// Reads the envelope of a request; the bytes of its id and of its params.
fn envelope(request: &[u8]) -> Option<(&str, &str)> {
    let envelope: Envelope<'_> = serde_json::from_slice(request).ok()?;
    let params: Params<'_> = serde_json::from_str(envelope.params.get()).ok()?;
    std::hint::black_box((envelope.method, params.name));
    Some((envelope.id.get(), envelope.params.get()))
}
