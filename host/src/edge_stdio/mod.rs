//! MCP on a pipe: one message a line, both eras on the same one. The pipe is stdin and stdout, or a connection that was
//! given over to it; it knows neither.
//!
//! ```text
//! reader -> lines -> Talk -> exchanges, each a task -> queue -> writer
//! ```
//! The reader waits for no writer, only for room in the talk's backlog.

pub(crate) mod out;
pub(crate) mod peer;
pub(crate) mod talk;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use wharf_core::frame::Framer;

use self::out::Out;
use self::peer::Peer;
use self::talk::Talk;
use crate::held::{STUCK, Taker};
use crate::mcp::{Mcp, Visitor};
use crate::tasks::Tasks;

/// The longest line that is read: as long as a body over HTTP.
const LONGEST: usize = 4 << 20;
/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;
/// Messages on their way out.
const QUEUE: usize = 32;
/// A client that takes nothing for so long is gone, or will never read.
const STALL: Duration = Duration::from_secs(300);
/// For answers in flight after the end of the input: a script sends its calls and closes.
const DRAIN: Duration = Duration::from_secs(30);
/// And when the host ends. It is the host that has a limit: it ends the plugins then, and with them each call, which says so.
pub(crate) const DRAIN_AT_END: Duration = Duration::from_secs(2 * 3600);
/// For what stands in the queue after that.
const FLUSH: Duration = Duration::from_secs(5);

/// Serves a client to the end of its input, or of the host. `peer` is who reads what is written.
pub(crate) async fn serve<R, W>(
    mcp: Mcp,
    visitor: Visitor,
    (reader, writer): (R, W),
    peer: Peer,
    tasks: Tasks,
) where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let taker = mcp.held().taker("pipe");
    let (out, queue) = Out::new(Arc::clone(&taker), QUEUE);
    let talk = Talk::new(mcp, visitor, tasks.clone(), out);
    let over = talk.over().clone();
    let writing = write(writer, queue, Arc::clone(&taker), over.clone());
    let writing = tasks.spawn(tracing::debug_span!("pipe writer"), writing);
    let talked = async {
        let mut reading = std::pin::pin!(async {
            read(reader, &talk).await;
            talk.falls_silent();
        });
        let (drain, reads) = tokio::select! {
            () = &mut reading => (DRAIN, false),
            () = tasks.ending().cancelled() => (DRAIN_AT_END, true),
            // Nobody reads what would be waited for.
            () = over.cancelled() => (Duration::ZERO, false),
        };
        // The host ends and the client does not: what it asks for now is refused, and what it was asked it can answer.
        let meanwhile = async {
            if reads {
                reading.await;
            }
            std::future::pending().await
        };
        tokio::select! {
            () = talk.finish(drain) => {}
            () = meanwhile => {}
            () = peer.gone() => {
                tracing::debug!("a client is gone; what it asked for is cancelled");
                talk.end();
            }
        }
    };
    let taken = tokio::select! {
        () = talked => true,
        () = unread(&taker, &tasks) => false,
    };
    talk.end();
    drop(talk);
    finish(writing, taken).await;
}

/// Resolves when what is written cannot be waited for: too much of it waits, or the host ends and nothing of it is taken.
async fn unread(taker: &Taker, tasks: &Tasks) {
    tokio::select! {
        () = taker.must_go() => {}
        () = async {
            tasks.ending().cancelled().await;
            taker.stuck(STUCK).await;
        } => tracing::warn!(waiting_bytes = taker.bytes(), "a client takes nothing while the host ends; its pipe is closed"),
    }
}

/// Lets the last messages out, if they are taken.
async fn finish(mut writing: JoinHandle<()>, taken: bool) {
    if taken && timeout(FLUSH, &mut writing).await.is_ok() {
        return;
    }
    tracing::debug!("a client did not take its last messages");
    // Or they would wait for as long as the client is there.
    writing.abort();
}

/// Reads to the end of the input.
async fn read<R: AsyncRead + Unpin>(mut reader: R, talk: &Talk) {
    let mut framer = Framer::new(LONGEST);
    loop {
        match reader.read_buf(framer.room(CHUNK)).await {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "the input broke off");
                return;
            }
        }
        take_lines(&mut framer, talk).await;
    }
    // A last line needs no end.
    if framer.unfinished_len() > 0 {
        framer.push(b"\n");
        take_lines(&mut framer, talk).await;
    }
}

async fn take_lines(framer: &mut Framer, talk: &Talk) {
    while let Some(line) = framer.next_line() {
        match line {
            Ok(line) => talk.take(line.as_bytes()).await,
            Err(error) => talk.refuse_line(&error.to_string()).await,
        }
    }
}

/// Writes until there is nobody left who could say something.
async fn write<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut queue: mpsc::Receiver<Bytes>,
    taker: Arc<Taker>,
    over: CancellationToken,
) {
    while let Some(message) = queue.recv().await {
        let written = timeout(STALL, line(&mut writer, &message, queue.is_empty(), &taker)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "the output broke off");
                break;
            }
            Err(_) => {
                tracing::warn!("a client takes nothing of what it is sent; its pipe is closed");
                break;
            }
        }
    }
    over.cancel();
    // The other end sees the end as well.
    timeout(FLUSH, writer.shutdown()).await.ok();
}

async fn line<W: AsyncWrite + Unpin>(
    writer: &mut W,
    message: &[u8],
    flush: bool,
    taker: &Taker,
) -> std::io::Result<()> {
    let mut whole = Buf::chain(message, &b"\n"[..]);
    while whole.has_remaining() {
        taker.waits();
        if writer.write_buf(&mut whole).await? == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        taker.took(Instant::now());
    }
    if flush {
        taker.waits();
        writer.flush().await?;
        taker.took(Instant::now());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
