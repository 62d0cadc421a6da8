//! Calls to a plugin that runs only while it is used.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use wharf_core::Code;
use wharf_core::lifecycle::State;
use wharf_core::manifest::{Manifest, Span, Start};
use wharf_plugin_api::CauseKind;

use super::{call, executions};
use crate::plugin::testkit::{Kit, Opening, Script, manifest};

fn lazy() -> Manifest {
    Manifest { start: Start::Lazy, idle_stop: Some(Span::secs(60)), ..manifest("p") }
}

async fn asleep(script: Script, manifest: Manifest) -> Kit {
    let kit = Kit::new(script, manifest);
    kit.ready().await;
    kit.until("asleep", |plugin| plugin.state() == State::Stopped).await;
    kit
}

/// Each start but the first takes so long.
fn slow(by: Duration) -> Script {
    Script { slow_open: by, ..Script::default() }
}

#[tokio::test(start_paused = true)]
async fn the_first_calls_wait_for_the_start_until_their_own_deadlines() {
    let mut few = lazy();
    (few.limits.concurrency, few.limits.queue) = (2, 100);
    let kit = asleep(slow(Duration::from_secs(20)), few).await;
    let before = Instant::now();
    let outcomes = join_all((0..50).map(|_| call(&kit, Some(Duration::from_secs(25))))).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!((before.elapsed().as_secs(), executions(&kit), kit.openings()), (20, 50, 2));

    let kit = asleep(slow(Duration::from_secs(20)), lazy()).await;
    let before = Instant::now();
    let failure = call(&kit, Some(Duration::from_secs(12))).await.unwrap_err();
    assert_eq!((failure.code, before.elapsed().as_secs()), (Code::PluginUnavailable, 12));
    assert!(failure.detail.contains("starting"), "{}", failure.detail);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_is_told_and_not_waited_for() {
    let mut patient = lazy();
    patient.restart.initial = Span::secs(20);
    let kit = asleep(Script::default(), patient).await;
    kit.script.openings.lock().unwrap().push(Opening::Fails(CauseKind::Exited));
    let before = Instant::now();
    let failure = call(&kit, None).await.unwrap_err();
    assert_eq!(failure.code, Code::PluginUnavailable);
    assert!(failure.detail.contains("exited") && failure.retry_after.is_some(), "{failure:?}");
    assert!(before.elapsed() < Duration::from_secs(5));
}

/// Calls that come just when it falls asleep, at each moment around it, with an end that takes its time.
#[tokio::test(start_paused = true)]
async fn no_call_fails_because_of_a_sleep() {
    let script = Script { slow_close: Some(Duration::from_millis(30)), ..Script::default() };
    let kit = asleep(script, lazy()).await;
    for millis in (59_900..60_100).step_by(2) {
        call(&kit, None).await.unwrap();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let outcomes = join_all((0..3).map(|_| call(&kit, None))).await;
        assert!(outcomes.iter().all(Result::is_ok), "{millis}: {outcomes:?}");
    }
    assert!(kit.openings() > 20, "it slept in between: {}", kit.openings());
    assert_eq!(kit.script.cancelled.load(Ordering::SeqCst), 0);
    assert_eq!(kit.script.most_alive.load(Ordering::SeqCst), 1);
}
