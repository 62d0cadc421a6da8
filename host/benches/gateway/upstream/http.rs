//! Over streamable HTTP: one thread, connections kept open, every answer a JSON document. It keeps no sessions.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::rc::Rc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::Server;
use crate::common::Outcome;

pub(super) fn serve(server: Server, port: u16) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, accept(Rc::new(RefCell::new(server)), port))
}

async fn accept(server: Rc<RefCell<Server>>, port: u16) -> Outcome<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    writeln!(std::io::stdout(), "listening on {}", listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let server = Rc::clone(&server);
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| answer(&server, request));
            // A caller that goes away is no trouble of ours.
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

async fn answer(
    server: &RefCell<Server>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    if request.method() != Method::POST {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return Ok(response);
    }
    let Ok(body) = request.into_body().collect().await else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    let body = body.to_bytes();
    let mut out = Vec::with_capacity(body.len() + 128);
    if server.borrow_mut().answer(&body, &mut out) {
        let json = header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        *response.body_mut() = Full::new(out.into());
    } else {
        *response.status_mut() = StatusCode::ACCEPTED;
    }
    Ok(response)
}
