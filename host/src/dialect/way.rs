//! How the connections of an HTTP client come about: by the address of the request, or by a way that is given.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

/// Makes a connection to the one server that a client speaks to.
pub(crate) type Dial =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>> + Send + Sync>;

/// Where connections lead.
#[derive(Clone)]
pub(crate) enum Way {
    /// Where the address of the request says.
    Address(HttpConnector),
    /// To one server, whatever the address says.
    Given(Dial),
}

impl Service<Uri> for Way {
    type Response = TokioIo<TcpStream>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match self {
            Self::Address(connector) => connector.poll_ready(cx).map_err(Into::into),
            Self::Given(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        match self {
            Self::Address(connector) => {
                let connecting = connector.call(to);
                Box::pin(async move { Ok(connecting.await?) })
            }
            Self::Given(dial) => {
                let dialing = dial();
                Box::pin(async move {
                    let stream = dialing.await?;
                    stream.set_nodelay(true)?;
                    Ok(TokioIo::new(stream))
                })
            }
        }
    }
}
