//! Batches: who may send them.

use super::*;

/// A server that settles on `revision` and answers a call within a batch.
async fn batched(revision: &str) -> (Result<Reply, CallError>, Ear) {
    let (stdout, stdin, mut peer) = pipes();
    let ear = Ear::default();
    let greeting = async {
        let hello = peer.message().await;
        peer.settle(&hello, revision).await;
    };
    let connecting = connect(stdout, stdin, Arc::new(ear.clone()), options());
    let (connected, ()) = within(async { tokio::join!(connecting, greeting) }).await;
    let Connected { link, lost: _lost, .. } = connected.expect("connected");
    peer.message().await;
    let task = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    let id = peer.message().await["id"].clone();
    let note = json!({"jsonrpc": "2.0", "method": "notifications/x"});
    peer.tell(json!([note, 7, {"jsonrpc": "2.0", "id": id, "result": "batched"}])).await;
    let many = vec![note; 1025];
    peer.tell(json!(many)).await;
    peer.tell(json!([])).await;
    peer.answer(&id, json!("alone")).await;
    (within(task).await.expect("joined"), ear)
}

#[tokio::test]
async fn the_one_revision_with_batches_may_send_them() {
    let (answer, ear) = batched("2025-03-26").await;
    assert_eq!(result(answer), "batched");
    assert_eq!(ear.heard.all().len(), 1, "one that is too long is refused as a whole");
}

#[tokio::test]
async fn a_batch_of_any_other_revision_is_no_message() {
    for revision in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let (answer, ear) = batched(revision).await;
        assert_eq!(result(answer), "alone", "{revision}");
        assert!(ear.heard.all().is_empty());
    }
}
