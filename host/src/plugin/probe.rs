//! One health probe.

use std::net::Ipv6Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wharf_core::manifest::{Health, Probe};
use wharf_plugin_api::{Era, Link, Request, Scope};

use super::inbox::Server;
use super::prove::HostScope;
use crate::process::ports::Door;

/// How a server is reached beside its link.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// Where it listens, as far as that is known.
    pub(crate) at: Option<Server>,
    /// It is a process of ours: there is one way to it, or none.
    pub(crate) launched: bool,
    /// The way.
    pub(crate) door: Option<Door>,
}

/// Whether the instance answers its probe in time. Any answer counts, an error too: who answers lives. A plugin
/// of which it is not known where it listens fails the probes that need to know.
pub(crate) async fn probe(link: &dyn Link, health: &Health, reach: &Reach) -> bool {
    let attempt = async {
        match &health.probe {
            Probe::None => true,
            Probe::Mcp => {
                let scope: std::sync::Arc<dyn Scope> = HostScope::within(health.timeout.0);
                let question = match link.hello().era() {
                    Era::Legacy => "ping",
                    Era::Modern => "server/discover",
                };
                link.request(Request::bare(question), scope).await.is_ok()
            }
            Probe::Tcp => connect(reach).await.is_some(),
            Probe::Http(path) => http(path, reach).await.is_some_and(|status| (200..400).contains(&status)),
        }
    };
    tokio::time::timeout(health.timeout.0, attempt).await.unwrap_or(false)
}

async fn connect(reach: &Reach) -> Option<TcpStream> {
    let at = reach.at.as_ref()?;
    if reach.launched {
        return reach.door.as_ref()?.connect().await.ok();
    }
    TcpStream::connect((at.host.as_str(), at.port)).await.ok()
}

/// The status of a GET; a bare HTTP/1.0 exchange, of which only the status line is read.
async fn http(path: &str, reach: &Reach) -> Option<u16> {
    let mut stream = connect(reach).await?;
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {}\r\nUser-Agent: wharf\r\n\r\n",
        authority(reach.at.as_ref()?)
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = [0u8; 12];
    stream.read_exact(&mut head).await.ok()?;
    std::str::from_utf8(&head).ok()?.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}

fn authority(at: &Server) -> String {
    match at.host.parse::<Ipv6Addr>() {
        Ok(ip) => format!("[{ip}]:{}", at.port),
        Err(_) => format!("{}:{}", at.host, at.port),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::{Reach, Server, connect, http};

    #[tokio::test]
    async fn a_probe_goes_where_the_server_listens() {
        for (bind, host, says) in [
            ("[::1]:0", "::1", "Host: [::1]:"),
            ("127.0.0.1:0", "127.0.0.1", "Host: 127.0.0.1:"),
            ("127.0.0.1:0", "localhost", "Host: localhost:"),
        ] {
            let listener = TcpListener::bind(bind).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let at = Some(Server { host: host.to_owned(), port });
            let launched = Reach { at: at.clone(), launched: true, door: None };
            assert!(connect(&launched).await.is_none(), "it may be anybody's port");
            let reach = Reach { at, ..Reach::default() };
            assert!(connect(&reach).await.is_some(), "{bind}");
            drop(listener.accept().await.unwrap());
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                String::from_utf8(request).unwrap()
            };
            let (status, request) = tokio::join!(http("/health", &reach), serve);
            assert_eq!(status, Some(204));
            assert!(request.starts_with("GET /health HTTP/1.0\r\n"), "{request}");
            assert!(request.contains(&format!("{says}{port}\r\n")), "{request}");
        }
        assert!(connect(&Reach::default()).await.is_none(), "nobody knows where it listens");
    }
}
