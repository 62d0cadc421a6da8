//! A plugin that says much at once, or never stops.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf, duplex};
use tokio::task::JoinSet;
use tokio::time::advance;
use wharf_plugin_api::{CauseKind, Notification};

use super::super::{LAST_WORDS, TURN, start};
use super::connected_with;
use crate::dialect::testkit::{Call, Ear, options, request, result, spawn_call, within};

#[tokio::test]
async fn who_is_answered_goes_on_before_all_is_taken_that_came_with_the_answer() {
    let ear = Ear::default();
    let (link, _lost, mut peer) = connected_with(options(), &ear).await;
    let called = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    let id = peer.message().await["id"].clone();
    let mut after = JoinSet::new();
    after.spawn(async move { (result(called.await.unwrap()), ear.heard.all().len()) });
    let behind = "{\"jsonrpc\":\"2.0\",\"method\":\"x\"}\n".repeat(8 * TURN);
    peer.say(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":1}}\n{behind}")).await;
    let (result, heard) = within(after.join_next()).await.unwrap().unwrap();
    assert_eq!(result, 1);
    assert!(heard < 8 * TURN, "{heard} were taken first");
}

/// Says something whenever it is listened to.
struct Chatter;

impl AsyncRead for Chatter {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        into.put_slice("{\"jsonrpc\":\"2.0\",\"method\":\"x\"}\n".repeat(TURN).as_bytes());
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_closed_its_stdin_is_lost_however_much_it_says() {
    let (stdin, closed) = duplex(64);
    drop(closed);
    let (wire, _incoming, mut lost) = start(Chatter, stdin, Arc::new(Ear::default()), &options());
    wire.notify(&Notification::bare("notifications/next")).unwrap();
    let cause = async {
        loop {
            if let Some(cause) = lost.already() {
                return cause;
            }
            advance(Duration::from_millis(100)).await;
        }
    };
    let cause = tokio::time::timeout(10 * LAST_WORDS, cause).await.expect("it is given up");
    assert_eq!(cause.kind, CauseKind::LinkLost);
}
