//! Lazy plugins under a paused clock.

use std::time::Duration;

use tokio::time::Instant;
use wharf_core::Generation;
use wharf_core::lifecycle::{Event, State};
use wharf_core::manifest::{Manifest, Span, Start};
use wharf_plugin_api::CauseKind;

use super::openings;
use crate::plugin::own::Lane;
use crate::plugin::testkit::{Kit, Opening, Script, manifest, raw, setup};
use crate::plugin::watch::Wanted;

const IDLE: u64 = 60;

fn lazy() -> Manifest {
    Manifest { start: Start::Lazy, idle_stop: Some(Span::secs(IDLE)), ..manifest("p") }
}

/// One that was started to learn what it offers, and sleeps since.
async fn asleep(script: Script) -> Kit {
    let kit = Kit::new(script, lazy());
    kit.ready().await;
    stopped(&kit).await;
    kit
}

async fn stopped(kit: &Kit) {
    kit.until("asleep", |plugin| plugin.state() == State::Stopped).await;
}

async fn woken(kit: &Kit) {
    kit.plugin.wake(&Lane::Shared);
    kit.ready().await;
}

#[tokio::test(start_paused = true)]
async fn it_is_started_once_to_learn_what_it_offers_and_then_by_calls() {
    let before = Instant::now();
    let kit = asleep(Script::default()).await;
    assert_eq!((before.elapsed().as_secs(), kit.openings()), (5, 1));
    assert!(kit.plugin.is_listed() && kit.plugin.is_ready(), "its tools stay");
    assert_eq!(kit.plugin.best().unwrap().cause.as_ref().unwrap().kind, CauseKind::Lazy);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(kit.openings(), 1);
    woken(&kit).await;
    let before = Instant::now();
    drop(kit.pick().unwrap());
    stopped(&kit).await;
    assert_eq!((before.elapsed().as_secs(), kit.plugin.best().unwrap().restarts), (IDLE, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_in_use_does_not_sleep() {
    let kit = asleep(Script::default()).await;
    let hour = Duration::from_secs(3600);
    // A call.
    woken(&kit).await;
    let call = kit.pick().unwrap();
    tokio::time::sleep(hour).await;
    assert_eq!(kit.plugin.state(), State::Ready);
    drop(call);
    stopped(&kit).await;
    // A task, until it is told to have ended.
    woken(&kit).await;
    let told = |status: &str| raw(&format!(r#"{{"taskId":"1","status":"{status}","ttl":7200000}}"#));
    kit.plugin.core.tasks.note(&told("working"));
    tokio::time::sleep(hour).await;
    assert_eq!(kit.plugin.state(), State::Ready);
    kit.plugin.core.tasks.note(&told("completed"));
    stopped(&kit).await;
    // A subscription, which also starts it.
    let want = kit.plugin.core.watch.want(Wanted::Resource("a://b".to_owned()));
    kit.ready().await;
    tokio::time::sleep(hour).await;
    assert_eq!(kit.plugin.state(), State::Ready);
    drop(want);
    stopped(&kit).await;
    // Log messages are heard by the way.
    let _logs = kit.plugin.core.watch.want(Wanted::Logs(0));
    tokio::time::sleep(hour).await;
    assert_eq!((kit.plugin.state(), kit.openings()), (State::Stopped, 4));
}

#[tokio::test(start_paused = true)]
async fn without_a_time_it_stays_once_it_was_called() {
    let kit = Kit::new(Script::default(), Manifest { idle_stop: None, ..lazy() });
    kit.ready().await;
    stopped(&kit).await;
    woken(&kit).await;
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    assert_eq!(kit.plugin.state(), State::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_it_is_used_is_healed_as_ever() {
    let kit = asleep(Script::default()).await;
    woken(&kit).await;
    kit.script.crash();
    kit.until("back", |plugin| plugin.best().unwrap().generation == Generation(3)).await;
    kit.ready().await;
    stopped(&kit).await;
    assert_eq!(kit.plugin.best().unwrap().restarts, 1);
}

#[tokio::test(start_paused = true)]
async fn an_operators_stop_is_no_sleep() {
    let kit = asleep(Script::default()).await;
    kit.plugin.operate(&Event::Stop).await;
    kit.plugin.wake(&Lane::Shared);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((kit.plugin.state(), kit.openings()), (State::Stopped, 1));
    assert!(!kit.plugin.is_listed() && !kit.plugin.is_ready());
    assert_eq!(kit.plugin.best().unwrap().cause.as_ref().unwrap().kind, CauseKind::Requested);
    kit.plugin.operate(&Event::Start).await;
    kit.ready().await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_launch_is_learned_and_a_changed_rule_taken() {
    let kit = asleep(Script::default()).await;
    let mut other = lazy();
    other.stop.term = Span::secs(6);
    kit.plugin.configure(&setup(&kit.script, other.clone()), true, &[]);
    kit.until("started", |plugin| plugin.best().unwrap().generation == Generation(2)).await;
    stopped(&kit).await;
    other.description = Some("the same".to_owned());
    kit.plugin.configure(&setup(&kit.script, other.clone()), true, &[]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(kit.openings(), 2);
    kit.plugin.configure(&setup(&kit.script, Manifest { start: Start::Eager, ..other }), true, &[]);
    kit.ready().await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((kit.plugin.state(), kit.openings()), (State::Ready, 3));
}

#[tokio::test(start_paused = true)]
async fn of_several_only_as_many_are_started_as_are_needed() {
    let kit = Kit::new(openings(&[Opening::Works; 9]), Manifest { replicas: 3, ..lazy() });
    kit.ready().await;
    assert_eq!(kit.openings(), 1, "one knows what all offer");
    stopped(&kit).await;
    for _ in 0..5 {
        kit.plugin.wake(&Lane::Shared);
    }
    kit.ready().await;
    assert_eq!(kit.openings(), 2);
}
