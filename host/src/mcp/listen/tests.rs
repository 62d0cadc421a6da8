//! Listens over a real host: the acknowledgement first, then what was asked for, then the end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use wharf_core::catalog::Face;

use super::MOST;
use crate::mcp::modern::testkit::{Kit, answered, call, envelope, only, read};
use crate::mcp::{AnswerKind, Exchange};

fn params(notifications: &Value) -> Value {
    json!({"notifications": notifications, "_meta": envelope(&json!({}))})
}

/// The next message of a listen that goes on.
async fn next(listen: &mut Exchange) -> Value {
    let next = async {
        tokio::select! {
            Some(message) = listen.events.recv() => read(&message),
            ended = &mut listen.answer => panic!("{ended:?}"),
        }
    };
    let message = tokio::time::timeout(Duration::from_secs(30), next).await.expect("a message");
    assert_eq!(message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], json!(7), "{message}");
    message
}

#[tokio::test]
async fn a_change_after_the_acknowledgement_is_told_and_nothing_else() {
    let kit = Kit::new().await;
    let wanted =
        json!({"toolsListChanged": true, "resourceSubscriptions": ["a://b", "no://where"], "taskIds": ["x"]});
    let mut listen = kit.exchange(Face::All, "subscriptions/listen", &params(&wanted));
    let mut deaf =
        kit.exchange(Face::All, "subscriptions/listen", &params(&json!({"promptsListChanged": true})));
    let acknowledged = next(&mut listen).await;
    assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(acknowledged["params"]["notifications"]["toolsListChanged"], true);
    assert!(acknowledged["params"]["notifications"].get("taskIds").is_none());
    let uris = acknowledged["params"]["notifications"]["resourceSubscriptions"].as_array().unwrap();
    assert!(uris.contains(&json!("a://b")), "{acknowledged}");
    next(&mut deaf).await;

    kit.legacy.more.store(true, Ordering::SeqCst);
    kit.legacy.says("notifications/tools/list_changed", &json!({}));
    assert_eq!(next(&mut listen).await["method"], "notifications/tools/list_changed");

    kit.legacy.says("notifications/resources/updated", &json!({"uri": "a://unasked"}));
    kit.legacy.says("notifications/resources/updated", &json!({"uri": "a://b", "x": 1}));
    let updated = next(&mut listen).await;
    assert_eq!(
        (&updated["method"], &updated["params"]["uri"], &updated["params"]["x"]),
        (&json!("notifications/resources/updated"), &json!("a://b"), &json!(1))
    );
    // The other one asked for prompts alone: theirs is the first change that it hears of.
    kit.legacy.more_prompts.store(true, Ordering::SeqCst);
    kit.legacy.says("notifications/prompts/list_changed", &json!({}));
    assert_eq!(next(&mut deaf).await["method"], "notifications/prompts/list_changed");
}

#[tokio::test]
async fn a_listen_ends_with_the_host_and_says_whose_end_it_is() {
    let kit = Kit::new().await;
    let mut listen =
        kit.exchange(only("old"), "subscriptions/listen", &params(&json!({"toolsListChanged": true})));
    next(&mut listen).await;
    kit.host.tasks().ending().cancel();
    let (answer, kind) = answered(listen).await;
    assert_eq!(kind, AnswerKind::Handled);
    let meta = json!({"io.modelcontextprotocol/subscriptionId": 7});
    assert_eq!(answer["result"], json!({"resultType": "complete", "_meta": meta}));
}

#[tokio::test]
async fn all_clients_have_so_many_listens_and_get_them_back() {
    let kit = Kit::new().await;
    let open = || kit.exchange(Face::All, "subscriptions/listen", &params(&json!({})));
    let mut listens: Vec<_> = (0..MOST).map(|_| open()).collect();
    let (answer, _) = answered(open()).await;
    assert_eq!(answer["error"]["code"], -32010);
    listens.pop();
    next(&mut open()).await;
    drop(listens);
    assert_eq!(kit.mcp.modern.listens.0.available_permits(), MOST, "nothing is kept of who is gone");
}

#[tokio::test]
async fn a_filter_that_cannot_be_read_is_refused() {
    let kit = Kit::new().await;
    let (answer, _) = kit.ask(Face::All, "subscriptions/listen", &params(&json!([]))).await;
    assert_eq!(answer["error"]["code"], -32602);
}

#[tokio::test]
async fn a_task_is_told_to_who_began_it() {
    let kit = Kit::new().await;
    let extension = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let (begun, _) = kit.ask(only("new"), "tools/call", &call("task", &extension)).await;
    assert_eq!(begun["result"]["taskId"], "task-1");
    let filter = json!({"taskIds": ["task-1", "of-somebody-else"]});
    let mut listen = kit.exchange(Face::All, "subscriptions/listen", &params(&filter));
    let acknowledged = next(&mut listen).await;
    assert_eq!(acknowledged["params"]["notifications"], json!({"taskIds": ["task-1"]}));
    assert_eq!(kit.modern.filters.lock().unwrap().last(), Some(&json!({"taskIds": ["task-1"]})));
    for (task, n) in [("of-somebody-else", 1), ("task-1", 2)] {
        let said = json!({"taskId": task, "status": "working", "n": n});
        kit.modern.says("notifications/tasks", &said);
    }
    let told = next(&mut listen).await;
    assert_eq!((&told["method"], &told["params"]["n"]), (&json!("notifications/tasks"), &json!(2)));
}
