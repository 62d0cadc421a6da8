//! What happens between the messages of one read.

use tokio::task::JoinSet;

use super::super::TURN;
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
