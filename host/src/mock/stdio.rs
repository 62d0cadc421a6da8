//! The stdio dialect, the server's side: one message a line. Shares no code with the host's reader, so that each checks
//! the other.

use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::mpsc;
use wharf_plugin_api::jsonrpc;

use super::frame::{self, Frame, Outlet};
use super::server::Server;
use super::session::Session;

/// The longest line that is read.
const MAX_LINE: usize = 64 << 20;

/// How long requests that still run may take after the end of input: enough for `printf .. | wharf mock`, and no more.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Serves until the input ends.
pub(crate) async fn serve<R, W>(server: Arc<Server>, input: R, output: W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (out, frames) = mpsc::channel(frame::QUEUE);
    let session = Session::new(out.clone())?;
    let writer = server.tasks.spawn(tracing::debug_span!("mock stdout"), write(frames, output));
    let read = read(&server, &session, &out, BufReader::new(input)).await;
    let idle = async {
        while !server.is_idle() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // Either way it ends; who still runs after that is dropped.
    tokio::time::timeout(LAST_WORDS, idle).await.ok();
    session.cancel_all();
    drop((out, session));
    tokio::time::timeout(LAST_WORDS, writer).await.ok();
    read
}

async fn read<R: AsyncBufRead + Unpin>(
    server: &Arc<Server>,
    session: &Arc<Session>,
    out: &Outlet,
    mut input: R,
) -> io::Result<()> {
    let mut line = Vec::new();
    while let Some(whole) = read_line(&mut input, &mut line).await? {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let parsed = if whole {
            jsonrpc::parse(&line).map_err(|e| e.to_string())
        } else {
            Err("the line is too long".to_owned())
        };
        match parsed {
            Ok(message) => server.receive(session, message, out.clone()),
            Err(error) => {
                super::note(&format!("bad line: {error}"));
                let error = serde_json::json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": error}});
                // Never waits where it reads. Full: the client does not read either.
                out.try_send(Frame::Message(error.to_string().into_bytes())).ok();
            }
        }
    }
    Ok(())
}

/// Reads one line without its break. `None` at the end, `Some(false)` if it was too long and was skipped.
async fn read_line<R: AsyncBufRead + Unpin>(input: &mut R, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let (mut any, mut whole) = (false, true);
    loop {
        let chunk = input.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(any.then_some(whole));
        }
        any = true;
        let end = chunk.iter().position(|b| *b == b'\n');
        let (part, used) = match end {
            Some(at) => (chunk.get(..at).unwrap_or_default(), at + 1),
            None => (chunk, chunk.len()),
        };
        if line.len() + part.len() > MAX_LINE {
            whole = false;
            line.clear();
        }
        if whole {
            line.extend_from_slice(part);
        }
        input.consume(used);
        if end.is_some() {
            return Ok(Some(whole));
        }
    }
}

/// Writes frames until there are no more, or one says that this is the end; then the output is closed.
async fn write<W: AsyncWrite + Unpin>(mut frames: mpsc::Receiver<Frame>, mut output: W) -> io::Result<()> {
    while let Some(frame) = frames.recv().await {
        match frame {
            Frame::Message(mut bytes) | Frame::Reply(mut bytes) => {
                jsonrpc::single_line(&mut bytes);
                bytes.push(b'\n');
                output.write_all(&bytes).await?;
            }
            Frame::Raw(mut bytes) => {
                bytes.push(b'\n');
                output.write_all(&bytes).await?;
            }
            Frame::Huge { head, total, tail } => {
                for piece in frame::around(head, total, tail) {
                    output.write_all(&piece).await?;
                }
                output.write_all(b"\n").await?;
            }
            Frame::Close => {
                output.flush().await?;
                return output.shutdown().await;
            }
        }
        if frames.is_empty() {
            output.flush().await?;
        }
    }
    output.flush().await
}

/// The real stdin, read by tokio's pool for files: it may be a pipe, a file or a terminal.
pub(crate) fn stdin() -> io::Result<tokio::fs::File> {
    Ok(tokio::fs::File::from_std(io::stdin().as_fd().try_clone_to_owned()?.into()))
}

/// The real stdout. Shutting it down closes every descriptor of it that this process has.
pub(crate) struct Stdout(Option<tokio::fs::File>);

impl Stdout {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self(Some(tokio::fs::File::from_std(io::stdout().as_fd().try_clone_to_owned()?.into()))))
    }

    fn file(&mut self) -> io::Result<Pin<&mut tokio::fs::File>> {
        self.0.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncWrite for Stdout {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.file()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.file()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.file()?.poll_flush(cx))?;
        self.0 = None;
        // Not a bare close: the number would be given to the next file that is opened.
        let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
        nix::unistd::dup2_stdout(&null).map_err(io::Error::from)?;
        Poll::Ready(Ok(()))
    }
}
