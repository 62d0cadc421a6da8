//! What clients hold open without doing anything: sessions and streams of events.

use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::{Host, McpHttp, Outcome, Size, proc};
use crate::plugins::host_with;
use crate::report::Report;
use crate::targets::Line;
use crate::ways::connect;
use crate::wire::{Edge, Payload};

/// How long one of many may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sessions of legacy clients that do nothing, each opened on a connection that is closed again.
#[expect(clippy::cast_precision_loss, reason = "counts of sessions")]
pub(crate) async fn sessions(report: &mut Report, size: Size) -> Outcome<()> {
    const SECTION: &str = "MCP sessions at rest";
    let host = host_with(1, &[]).await?;
    host.all_ready().await?;
    // What the first ones need, all share.
    open(&host, 100).await?;
    let first = size.pick(2000, 500);
    let (before, _) = proc::memory(host.pid)?;
    let mut sessions = open(&host, first).await?;
    let (after, _) = proc::memory(host.pid)?;
    let each = (after - before) * 1.024 / first as f64;
    report.number(SECTION, format!("memory of each of {first}"), each, "kB");
    report.lines.push(Line::at_most("memory of an idle MCP session at most 10 kB", each, 10.0, " kB"));
    let all = size.pick(10_000, 1000);
    sessions.extend(open(&host, all - first).await?);
    let alive = alive(&host, &sessions).await?;
    report.number(SECTION, format!("held of {all}"), alive as f64, "");
    report.number(SECTION, "memory of the host with them", proc::memory(host.pid)?.0 / 1024.0, "MiB");
    report.lines.push(Line::at_least(format!("{all} MCP sessions held"), alive as f64, all as f64));
    host.end().await
}

/// Opens so many; their names.
async fn open(host: &Host, count: usize) -> Outcome<Vec<String>> {
    let mut names = Vec::with_capacity(count);
    for _ in 0..count {
        names.push(McpHttp::legacy(host.connect().await?, "/mcp").await?.session().to_owned());
    }
    Ok(names)
}

/// How many still answer.
async fn alive(host: &Host, sessions: &[String]) -> Outcome<usize> {
    let mut http = host.connect().await?;
    http.headers.push_str("accept: application/json, text/event-stream\r\n");
    let (plain, mut alive) = (http.headers.clone(), 0);
    for session in sessions {
        http.headers = format!("{plain}mcp-protocol-version: 2025-11-25\r\nmcp-session-id: {session}\r\n");
        match http.send("POST", "/mcp", r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await? {
            200 => alive += 1,
            404 => {}
            status => return Err(format!("ping: {status} {}", http.text()).into()),
        }
    }
    Ok(alive)
}

/// Streams that are held: of the host's events, each of which must then tell of a call, and of sessions.
#[expect(clippy::cast_precision_loss, reason = "counts of streams")]
pub(crate) async fn streams(report: &mut Report, size: Size) -> Outcome<()> {
    const SECTION: &str = "event streams held";
    let count = size.pick(1000, 200);
    for path in ["/api/v1/events", "/mcp"] {
        let host = host_with(1, &[]).await?;
        host.all_ready().await?;
        let names = if path == "/mcp" { open(&host, count).await? } else { vec![String::new(); count] };
        let (before, _) = proc::memory(host.pid)?;
        let mut streams = Vec::with_capacity(count);
        for session in &names {
            match tokio::time::timeout(PATIENCE, Stream::open(&host, path, session)).await {
                Ok(Ok(stream)) => streams.push(stream),
                // It takes no more.
                Ok(Err(_)) | Err(_) => break,
            }
        }
        let each = (proc::memory(host.pid)?.0 - before) / streams.len().max(1) as f64;
        let held = match path {
            "/mcp" => streams.iter().filter(|stream| stream.is_open()).count(),
            _ => told(&host, streams).await?,
        };
        report.number(SECTION, format!("GET {path}, of {count}"), held as f64, "");
        report.number(SECTION, format!("GET {path}, memory of each"), each, "KiB");
        let target = format!("{count} event streams held, GET {path}");
        report.lines.push(Line::at_least(target, held as f64, count as f64));
        host.end().await?;
    }
    Ok(())
}

/// How many of the streams tell of a call that is made now.
async fn told(host: &Host, streams: Vec<Stream>) -> Outcome<usize> {
    let mut caller = connect(host, Edge::Facade, "p0", Payload::Echo(100)).await?;
    caller.open().await?;
    let mut told = 0;
    for mut stream in streams {
        let heard = tokio::time::timeout(PATIENCE, stream.until(b"call.finished")).await;
        told += usize::from(matches!(heard, Ok(Ok(()))));
    }
    Ok(told)
}

struct Stream {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Stream {
    async fn open(host: &Host, path: &str, session: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(&host.address).await?;
        let mut opened = Self { stream, buffer: Vec::new() };
        let session = match session {
            "" => String::new(),
            name => format!("mcp-protocol-version: 2025-11-25\r\nmcp-session-id: {name}\r\n"),
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\naccept: text/event-stream\r\n{session}\r\n",
            host.address, host.token
        );
        opened.stream.write_all(request.as_bytes()).await?;
        opened.until(b"\r\n\r\n").await?;
        if opened.buffer.starts_with(b"HTTP/1.1 200 ") {
            Ok(opened)
        } else {
            Err(String::from_utf8_lossy(&opened.buffer).into())
        }
    }

    /// Reads until these bytes have come.
    async fn until(&mut self, wanted: &[u8]) -> Outcome<()> {
        while memmem::find(&self.buffer, wanted).is_none() {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the stream has ended".into());
            }
        }
        Ok(())
    }

    /// Whether the other side has not ended it.
    fn is_open(&self) -> bool {
        !matches!(self.stream.try_read(&mut [0; 4096]), Ok(0))
    }
}
