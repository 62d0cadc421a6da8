//! The relay between a pipe and a host: how it ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Args, nothing, relay};
use crate::edge_stdio::peer::Peer;

/// A host that takes this much, and ends what it says only when it took it or failed to.
struct Host {
    takes: bool,
    over: bool,
    waker: Option<std::task::Waker>,
}

impl AsyncRead for Host {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.over {
            return Poll::Ready(Ok(()));
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Host {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(if self.takes { Ok(bytes.len()) } else { Err(io::ErrorKind::BrokenPipe.into()) })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.over = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn it_went_well_only_if_the_host_took_all() {
    for takes in [true, false] {
        let host = Host { takes, over: false, waker: None };
        let ended =
            relay(host, (&b"{}\n"[..], tokio::io::sink()), Peer::unseen(), std::future::pending).await;
        assert_eq!(ended.is_ok(), takes);
    }
}

#[tokio::test]
async fn it_ends_when_the_input_has_and_nobody_reads_the_answers() {
    let (near, _far) = tokio::io::duplex(64);
    let (reader, writer) = nix::unistd::pipe().unwrap();
    drop(reader);
    let ended = relay(near, (tokio::io::empty(), tokio::io::sink()), Peer::of(&writer), std::future::pending);
    assert!(ended.await.is_err());
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

#[test]
fn who_asks_for_what_is_not_there_is_told_what_that_was() {
    let complaint = |line: &[&str]| nothing(&<Line as clap::Parser>::parse_from(line).args);
    let group = complaint(&["stdio", "--plugins", "conf", "--group", "nope"]);
    assert_eq!(group.title, "no plugin belongs to a group \"nope\"");
    assert!(group.remedy.unwrap().contains("in conf has"));
    assert_eq!(complaint(&["stdio", "--plugin", "nobody"]).title, "no plugin has the id \"nobody\"");
}
