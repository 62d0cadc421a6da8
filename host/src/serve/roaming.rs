//! A TCP stream that may be used on one serving thread after another: it tells its readiness to the one that uses it. It must
//! not know why it changes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::near;

/// A stream, and whom its readiness is told.
#[derive(Debug)]
pub(crate) struct Roaming {
    /// `None` once it could not be taken over.
    stream: Option<TcpStream>,
    /// Serving thread.
    at: usize,
}

impl Roaming {
    /// One that was accepted on the host's own thread.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream: Some(stream), at: 0 }
    }

    /// The stream by itself, which tells its readiness to the thread that this is asked on.
    pub(super) fn into_inner(mut self) -> io::Result<TcpStream> {
        self.here()?;
        self.stream.ok_or_else(lost)
    }

    fn here(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        let here = near::number();
        if here != self.at
            && let Some(stream) = self.stream.take()
        {
            let taken = stream.into_std().and_then(TcpStream::from_std);
            let taken = taken.inspect_err(|error| {
                tracing::warn!(%error, "a connection is lost: its next thread could not take it over");
            });
            (self.stream, self.at) = (Some(taken?), here);
        }
        self.stream.as_mut().map(Pin::new).ok_or_else(lost)
    }
}

fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "a serving thread could not take the stream over")
}

impl AsyncRead for Roaming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.here()?.poll_read(cx, into)
    }
}

impl AsyncWrite for Roaming {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.here()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.here()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.here()?.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.here()?.poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }
}
