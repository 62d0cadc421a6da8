//! The one listen of a modern plugin: what it asks for, and what its end or its refusal does to others.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::watch::{MINUTE, kit, modern, said};
use crate::plugin::testkit::{Script, notification};
use crate::plugin::watch::{Want, Wanted};

#[tokio::test(start_paused = true)]
async fn a_modern_plugin_is_asked_for_tasks_if_it_has_any() {
    let extension = r#"{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
    let kit = kit(Script { capabilities: Some(extension), ..modern() }).await;
    let task = kit.want(Wanted::Task("t".to_owned()));
    assert!(kit.told().await);
    let filter = json!({"notifications": {"taskIds": ["t"]}});
    assert_eq!(kit.wants(), [said("subscriptions/listen", filter)]);
    drop(task);
    assert!(kit.told().await);
    kit.comes("nothing is listened for", |kit| kit.listening() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_the_plugin_forgot_ends_nothing_that_others_are_told() {
    let extension = r#"{"resources":{"subscribe":true},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
    let script = Script { capabilities: Some(extension), ..modern() };
    script.refused.lock().unwrap().push("forgotten");
    let kit = kit(script).await;
    let (resource, _task) = (kit.resource("u://1"), kit.want(Wanted::Task("forgotten".to_owned())));
    assert!(kit.told().await);
    let filter = json!({"notifications": {"resourceSubscriptions": ["u://1"]}});
    assert_eq!(kit.wants().last(), Some(&said("subscriptions/listen", filter)));
    assert!(resource.refusal().is_none() && kit.listening() == 1);
}

#[tokio::test(start_paused = true)]
async fn a_modern_plugin_is_listened_to_without_wants_and_its_lists_are_read_again() {
    let kit = kit(modern()).await;
    assert!(kit.told().await);
    let filter = json!({"notifications": {"toolsListChanged": true}});
    assert_eq!(kit.wants(), [said("subscriptions/listen", filter)]);
    let before = kit.read_twice().await;
    let scope = Arc::clone(&kit.script.listens.lock().unwrap()[0].scope);
    assert!(!scope.is_call());
    scope.event(notification("notifications/tools/list_changed", &json!({})));
    kit.comes("read again", |kit| kit.script.listings.load(Ordering::SeqCst) > before).await;
}

#[tokio::test(start_paused = true)]
async fn another_listen_is_acknowledged_before_the_last_one_ends() {
    let kit = kit(modern()).await;
    assert!(kit.told().await);
    kit.script.silent.store(true, Ordering::SeqCst);
    let want = kit.resource("u://1");
    kit.comes("opened", |kit| kit.script.listens.lock().unwrap().len() == 2).await;
    assert_eq!(kit.listening(), 2, "the last one is open as long as the next is not acknowledged");
    kit.script.silent.store(false, Ordering::SeqCst);
    assert!(kit.told().await, "one that was not acknowledged is opened anew");
    kit.comes("one left", |kit| kit.listening() == 1).await;
    let last = kit.wants().pop().unwrap();
    let both = json!({"notifications": {"toolsListChanged": true, "resourceSubscriptions": ["u://1"]}});
    assert_eq!(last, said("subscriptions/listen", both));
    drop(want);
    assert!(kit.told().await);
    kit.comes("one left", |kit| kit.listening() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_listen_that_ends_is_opened_anew_and_what_was_missed_is_read() {
    let kit = kit(modern()).await;
    assert!(kit.told().await);
    let before = kit.read_twice().await;
    let end = kit.script.listens.lock().unwrap()[0].end.take().unwrap();
    end.send(()).unwrap();
    kit.comes("opened anew", |kit| kit.script.listens.lock().unwrap().len() == 2).await;
    kit.comes("read again", |kit| kit.script.listings.load(Ordering::SeqCst) > before).await;
}

#[tokio::test(start_paused = true)]
async fn one_bad_resource_does_not_end_what_others_are_told() {
    let script = modern();
    script.refused.lock().unwrap().push("u://bad");
    let kit = kit(script).await;
    let good = kit.resource("u://good");
    assert!(kit.told().await);
    let bad = kit.resource("u://bad");
    assert!(kit.told().await);
    assert!(good.refusal().is_none() && bad.refusal().is_some());
    assert_eq!(kit.listening(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_several_new_resources_the_bad_ones_are_found() {
    let script = modern();
    script.refused.lock().unwrap().extend(["u://33", "u://66"]);
    let kit = kit(script).await;
    let wants: Vec<Want> = (10..90).map(|n| kit.resource(&format!("u://{n}"))).collect();
    assert!(kit.told().await);
    let refused: Vec<usize> = (10..90).filter(|n| wants[*n - 10].refusal().is_some()).collect();
    assert_eq!(refused, [33, 66]);
    kit.comes("one left", |kit| kit.listening() == 1).await;
    assert!(kit.wants().len() < 40, "each is not tried alone");
    // One that was taken once is refused as the next listen is opened: the others go on.
    kit.script.refused.lock().unwrap().push("u://77");
    let end = kit.script.listens.lock().unwrap().last_mut().unwrap().end.take().unwrap();
    end.send(()).unwrap();
    kit.comes("refused", |_| wants[67].refusal().is_some()).await;
    kit.comes("listened to again", |kit| kit.listening() == 1).await;
    let refused: Vec<usize> = (10..90).filter(|n| wants[*n - 10].refusal().is_some()).collect();
    assert_eq!(refused, [33, 66, 77]);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_may_pass_refuses_nothing() {
    let kit = kit(modern()).await;
    assert!(kit.told().await);
    kit.script.replies.lock().unwrap().insert("subscriptions/listen", Err(-32603));
    let want = kit.resource("u://1");
    kit.comes("tried", |kit| kit.script.wants.lock().unwrap().len() > 3).await;
    assert!(want.refusal().is_none() && kit.listening() == 1);
    kit.script.replies.lock().unwrap().remove("subscriptions/listen");
    assert!(kit.told().await);
    assert!(want.refusal().is_none());
    assert_eq!(kit.wants().pop().unwrap().1["notifications"]["resourceSubscriptions"], json!(["u://1"]));
}

#[tokio::test(start_paused = true)]
async fn a_listen_that_is_open_goes_on_when_resources_are_no_method() {
    let kit = kit(modern()).await;
    assert!(kit.told().await);
    let before = kit.read_twice().await;
    kit.script.replies.lock().unwrap().insert("subscriptions/listen", Err(-32601));
    let want = kit.resource("u://1");
    assert!(kit.told().await);
    assert!(want.refusal().is_some() && kit.listening() == 1);
    let scope = Arc::clone(&kit.script.listens.lock().unwrap()[0].scope);
    scope.event(notification("notifications/tools/list_changed", &json!({})));
    kit.comes("read again", |kit| kit.script.listings.load(Ordering::SeqCst) > before).await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_without_subscriptions_is_asked_once() {
    let script = modern();
    script.replies.lock().unwrap().insert("subscriptions/listen", Err(-32601));
    let kit = kit(script).await;
    let want = kit.resource("u://1");
    assert!(kit.told().await);
    assert!(want.refusal().is_some());
    tokio::time::sleep(60 * MINUTE).await;
    assert!(kit.wants().len() <= 2);
}
