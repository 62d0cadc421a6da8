//! One health probe.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wharf_core::manifest::{Health, Probe};
use wharf_plugin_api::{Link, Request, Scope};

use super::prove::HostScope;

/// Whether the instance answers its probe in time. Any answer to a ping counts, an error too: who answers lives.
pub(crate) async fn probe(link: &dyn Link, health: &Health, port: Option<u16>) -> bool {
    let attempt = async {
        match &health.probe {
            Probe::None => true,
            Probe::Mcp => {
                let scope: std::sync::Arc<dyn Scope> = HostScope::within(health.timeout.0);
                link.request(Request::bare("ping"), scope).await.is_ok()
            }
            Probe::Tcp => connect(port).await.is_some(),
            Probe::Http(path) => http(path, port).await.is_some_and(|status| (200..400).contains(&status)),
        }
    };
    tokio::time::timeout(health.timeout.0, attempt).await.unwrap_or(false)
}

async fn connect(port: Option<u16>) -> Option<TcpStream> {
    TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port?))).await.ok()
}

/// The status of a GET; a bare HTTP/1.0 exchange, of which only the status line is read.
async fn http(path: &str, port: Option<u16>) -> Option<u16> {
    let mut stream = connect(port).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nUser-Agent: wharf\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = [0u8; 12];
    stream.read_exact(&mut head).await.ok()?;
    std::str::from_utf8(&head).ok()?.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}
