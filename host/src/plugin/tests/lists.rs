//! What is said of lists that are other than before, and the call that belongs to the proof.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use wharf_core::Generation;
use wharf_core::lifecycle::State;
use wharf_core::manifest::{Canary, Manifest};
use wharf_plugin_api::{CallErrorKind, CauseKind, Delivery, Notification};

use crate::plugin::testkit::{Answer, Kit, Script, manifest};

async fn restarted(kit: &Kit, generation: u64) {
    kit.script.crash();
    kit.until("back", |plugin| {
        let now = plugin.best().unwrap();
        now.generation == Generation(generation) && now.state == State::Ready
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_with_other_lists_is_said_and_one_with_the_same_is_not() {
    let kit = Kit::new(Script::default(), manifest("p"));
    kit.ready().await;
    let mut events = kit.services.events.subscribe(None).live;
    restarted(&kit, 2).await;
    assert!(kit.plugin.core.drift.load().is_none(), "the same again");
    *kit.script.tools.lock().unwrap() = Some(json!([]));
    restarted(&kit, 3).await;
    let told = async {
        loop {
            let event = events.recv().await.unwrap();
            if event.kind == "plugin.lists" {
                return event;
            }
        }
    };
    let event = tokio::time::timeout(Duration::from_secs(60), told).await.expect("an event");
    assert_eq!((&event.data["after"], &event.data["emptied"]), (&json!("start"), &json!(["tool"])));
    assert_eq!(event.data["lists"]["tool"]["removed"], json!(["t"]));
    assert_eq!(kit.plugin.core.drift.load().as_ref().unwrap().text, "tools: -t (none is left)");
    let log = kit.plugin.core.log.tail_of(0, 3, 20);
    assert!(log.iter().any(|line| line.text.contains("lists after start: tools: -t")), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn lists_that_change_while_it_runs_are_said_too() {
    let kit = Kit::new(Script::default(), manifest("p"));
    kit.ready().await;
    *kit.script.tools.lock().unwrap() = Some(json!([{"name": "t", "inputSchema": {}}, {"name": "u"}]));
    let inbox = kit.script.inboxes.lock().unwrap()[0].clone();
    inbox.event(Notification::bare("notifications/tools/list_changed"));
    kit.until("said", |plugin| plugin.core.drift.load().is_some()).await;
    let change = kit.plugin.core.drift.load_full().unwrap();
    assert_eq!((change.after, change.text.as_str()), ("relist", "tools: +u ~t"));
}

fn canary(tool: &str) -> Manifest {
    let mut of = manifest("p");
    let args = json!({"a": 1.5}).as_object().unwrap().clone();
    of.health.canary = Some(Canary { tool: tool.to_owned(), args });
    of
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_only_once_the_canary_has_answered() {
    let refused = Answer::Fails(CallErrorKind::Connection, Delivery::Unknown);
    let wrong = Answer::Is(r#"{"isError":true,"content":[{"type":"text","text":"no database"}]}"#);
    let asks = Answer::Is(r#"{"resultType":"input_required","requestState":"x"}"#);
    let all = [refused, wrong, asks, Answer::Hangs];
    let kit = Kit::new(Script { answers: Mutex::new(all.to_vec()), ..Script::default() }, canary("t"));
    for said in ["scripted", "no database", "asks for input", "no answer"] {
        let before = Instant::now();
        kit.until(said, |plugin| {
            let now = plugin.best().unwrap();
            assert_ne!(now.state, State::Ready);
            let cause = now.cause.as_ref();
            now.state == State::Backoff && cause.is_some_and(|cause| cause.detail.contains(said))
        })
        .await;
        let now = kit.plugin.best().unwrap();
        assert_eq!(now.cause.as_ref().unwrap().kind, CauseKind::CanaryFailed);
        assert!(before.elapsed() < Duration::from_secs(36));
    }
    kit.ready().await;
    assert_eq!(kit.script.executions.load(Ordering::SeqCst), 5);
    // At each start.
    restarted(&kit, 6).await;
    assert_eq!(kit.script.executions.load(Ordering::SeqCst), 6);
}

#[tokio::test(start_paused = true)]
async fn a_canary_of_a_tool_that_is_not_there_counts_as_a_failed_start() {
    let kit = Kit::new(Script::default(), canary("nope"));
    kit.until("quarantined", |plugin| plugin.state() == State::Quarantined).await;
    let now = kit.plugin.best().unwrap();
    let cause = now.cause.as_ref().unwrap();
    assert_eq!(cause.kind, CauseKind::CanaryFailed);
    assert!(cause.detail.contains("\"nope\"") && cause.detail.contains("it lists t"), "{cause}");
    assert_eq!(kit.script.executions.load(Ordering::SeqCst), 0);
}
