//! The supervisor under a paused clock, over a scripted plugin: no process, no real time.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use wharf_core::Generation;
use wharf_core::lifecycle::{Event, State};
use wharf_core::manifest::{Manifest, Span, Way};
use wharf_plugin_api::CauseKind;

use super::testkit::{Kit, Opening, Script, manifest, setup};

mod listens;
mod lists;
mod own;
mod sleep;
mod starts;
mod watch;

fn openings(openings: &[Opening]) -> Script {
    Script { openings: Mutex::new(openings.to_vec()), ..Script::default() }
}

#[tokio::test(start_paused = true)]
async fn it_comes_back_after_a_crash_and_never_overlaps_itself() {
    let kit =
        Kit::new(Script { slow_close: Some(Duration::from_secs(3)), ..Script::default() }, manifest("p"));
    kit.ready().await;
    for generation in 2..5 {
        kit.script.crash();
        kit.until("the next generation", |plugin| {
            let now = plugin.best().unwrap();
            now.state == State::Ready && now.generation == Generation(generation)
        })
        .await;
    }
    assert_eq!(kit.script.most_alive.load(Ordering::SeqCst), 1, "two generations overlapped");
    assert_eq!(kit.plugin.best().unwrap().restarts, 3);
}

/// Its process may take long to end; until then it is not shown as if it served.
#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_shown_at_once_with_its_cause() {
    let slow = Script { slow_close: Some(Duration::from_secs(3)), ..Script::default() };
    let kit = Kit::new(slow, manifest("p"));
    kit.ready().await;
    let before = Instant::now();
    kit.script.crash();
    kit.until("no longer ready", |plugin| plugin.state() != State::Ready).await;
    assert!(before.elapsed() < Duration::from_millis(100), "{:?}", before.elapsed());
    let now = kit.plugin.best().unwrap();
    assert_eq!((now.state, now.cause.as_ref().unwrap().kind), (State::Stopping, CauseKind::Exited));
    assert!(now.link.is_none() && kit.plugin.is_listed(), "it is expected back");
    kit.ready().await;
    assert!(before.elapsed() >= Duration::from_secs(3), "the last one ends first");
}

#[tokio::test(start_paused = true)]
async fn five_failed_starts_end_in_quarantine_with_a_cause_and_a_time() {
    let kit = Kit::new(openings(&[Opening::Fails(CauseKind::Exited); 5]), manifest("p"));
    kit.until("quarantined", |plugin| plugin.state() == State::Quarantined).await;
    let now = kit.plugin.best().unwrap();
    assert_eq!(now.cause.as_ref().unwrap().kind, CauseKind::Exited);
    assert!(now.next_attempt.is_some());
    assert_eq!(kit.openings(), 5);
    // It goes on trying, and heals.
    kit.ready().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_heal_is_fatal_and_an_operator_tries_again() {
    let kit = Kit::new(openings(&[Opening::Fails(CauseKind::NotFound)]), manifest("p"));
    kit.until("fatal", |plugin| plugin.state() == State::Fatal).await;
    assert!(!kit.plugin.is_listed());
    kit.plugin.operate(&Event::Start).await;
    kit.ready().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_start_is_cancelled_at_its_deadline() {
    let kit = Kit::new(openings(&[Opening::Hangs]), manifest("p"));
    let before = Instant::now();
    kit.until("given up", |plugin| plugin.state() == State::Backoff).await;
    assert_eq!(before.elapsed().as_secs(), 30);
    assert_eq!(kit.plugin.best().unwrap().cause.as_ref().unwrap().kind, CauseKind::StartTimeout);
    kit.ready().await;
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_ignores_its_cancellation_is_dropped_in_the_end() {
    let kit = Kit::new(openings(&[Opening::Ignores]), manifest("p"));
    kit.until("given up", |plugin| plugin.state() == State::Backoff).await;
    kit.ready().await;
}

/// A manifest that is launched otherwise, and not beside.
fn otherwise() -> Manifest {
    let mut other = manifest("p");
    other.stop.term = Span::secs(6);
    other.upgrade.way = Way::InPlace;
    other
}

#[tokio::test(start_paused = true)]
async fn a_changed_launch_ends_the_old_before_the_new_begins() {
    let kit =
        Kit::new(Script { slow_close: Some(Duration::from_secs(2)), ..Script::default() }, manifest("p"));
    kit.ready().await;
    kit.plugin.configure(&setup(&kit.script, otherwise()), true, &[]);
    kit.until("restarted", |plugin| {
        plugin.best().is_some_and(|now| now.generation == Generation(2) && now.state == State::Ready)
    })
    .await;
    assert_eq!(kit.script.most_alive.load(Ordering::SeqCst), 1);
    assert_eq!(kit.plugin.best().unwrap().restarts, 0, "nobody crashed");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_needs_no_launch_takes_effect_in_place() {
    let kit = Kit::new(Script::default(), manifest("p"));
    kit.ready().await;
    let mut changed = manifest("p");
    changed.description = Some("changed".to_owned());
    changed.health.failures = 1;
    kit.plugin.configure(&setup(&kit.script, changed), true, &[]);
    kit.script.pings_fail.store(true, Ordering::SeqCst);
    kit.until("ended by the first bad probe", |plugin| plugin.best().unwrap().generation == Generation(2))
        .await;
    assert_eq!(kit.plugin.best().unwrap().restarts, 1, "it was not restarted before");
}

#[tokio::test(start_paused = true)]
async fn what_was_stopped_stays_stopped_when_its_manifest_changes() {
    let kit = Kit::new(Script::default(), manifest("p"));
    kit.ready().await;
    kit.plugin.operate(&Event::Stop).await;
    kit.until("stopped", |plugin| plugin.state() == State::Stopped).await;
    let mut more = otherwise();
    more.replicas = 3;
    kit.plugin.configure(&setup(&kit.script, more), true, &[]);
    kit.plugin.operate(&Event::Stop).await;
    assert!(kit.plugin.instances().iter().all(|instance| instance.now().state == State::Stopped));
    assert_eq!(kit.openings(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_place_is_taken_again_only_when_it_is_free() {
    let script = Script { slow_close: Some(Duration::from_secs(30)), ..Script::default() };
    let of = |replicas| Manifest { replicas, ..manifest("p") };
    let kit = Kit::new(script, of(3));
    let all_ready =
        |plugin: &super::PluginHandle| plugin.instances().iter().all(|i| i.now().state == State::Ready);
    kit.until("three", all_ready).await;
    kit.plugin.configure(&setup(&kit.script, of(1)), true, &[]);
    kit.plugin.configure(&setup(&kit.script, of(3)), true, &[]);
    kit.until("three again", |plugin| plugin.instances().len() == 3 && all_ready(plugin)).await;
    assert_eq!(kit.script.most_alive.load(Ordering::SeqCst), 3, "a place was taken twice");
    let generations: Vec<u64> = kit.plugin.instances().iter().map(|i| i.now().generation.0).collect();
    assert_eq!(generations, [1, 2, 2], "generations go on");
}

#[tokio::test(start_paused = true)]
async fn lists_are_read_again_when_their_time_is_over_and_no_change_would_be_told() {
    const TOLD: &str = r#"{"tools":{"listChanged":true}}"#;
    const NOT: &str = r#"{"tools":{}}"#;
    let modern = Some("2026-07-28");
    let (hour, day) = (3_600_000, 86_400_000);
    // Within one hour and a moment, beside the first one.
    for (revision, capabilities, ttl_ms, readings) in [
        (modern, NOT, 600_000, 6),
        (modern, NOT, 1, 720),
        (modern, NOT, hour, 1),
        (modern, NOT, day, 1),
        (modern, NOT, 0, 0),
        (None, NOT, 600_000, 0),
        // Once, for what may have changed before the subscription.
        (modern, TOLD, 600_000, 1),
    ] {
        let script = Script { revision, capabilities: Some(capabilities), ttl_ms, ..Script::default() };
        let kit = Kit::new(script, manifest("p"));
        kit.ready().await;
        tokio::time::sleep(Duration::from_millis(hour + 500)).await;
        let read = kit.script.listings.load(Ordering::SeqCst) - 1;
        assert_eq!(read, readings, "{revision:?} {capabilities} {ttl_ms}");
    }
}

#[tokio::test(start_paused = true)]
async fn lists_that_change_while_they_are_read_are_read_again() {
    let script = Script { lists_change_at_once: true.into(), ..Script::default() };
    let kit = Kit::new(script, manifest("p"));
    kit.ready().await;
    let read_again = async {
        while kit.script.listings.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read_again).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn starts_that_are_restarted_give_their_leave_back() {
    let many = Manifest { replicas: 40, ..manifest("p") };
    let kit = Kit::new(openings(&[Opening::Hangs; 40]), many);
    kit.until("some start", |plugin| plugin.instances().iter().any(|i| i.now().state == State::Starting))
        .await;
    kit.plugin.operate(&Event::Restart).await;
    kit.until("all ready", |plugin| plugin.instances().iter().all(|i| i.now().state == State::Ready)).await;
}

#[tokio::test(start_paused = true)]
async fn replicas_come_and_go_with_the_manifest() {
    let mut three = manifest("p");
    three.replicas = 3;
    let kit = Kit::new(Script::default(), three);
    let ready = |n: usize| {
        move |plugin: &super::PluginHandle| {
            let all = plugin.instances();
            all.len() == n && all.iter().all(|i| i.now().state == State::Ready)
        }
    };
    kit.until("three", ready(3)).await;
    kit.plugin.configure(&setup(&kit.script, manifest("p")), true, &[]);
    kit.until("one", ready(1)).await;
    let left = async {
        while kit.script.alive.load(Ordering::SeqCst) != 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), left).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_stops_answering_pings_is_restarted() {
    let kit =
        Kit::new(Script { slow_close: Some(Duration::from_secs(1)), ..Script::default() }, manifest("p"));
    kit.ready().await;
    kit.script.pings_fail.store(true, Ordering::SeqCst);
    kit.until("degraded", |plugin| plugin.state() == State::Degraded).await;
    kit.until("ended", |plugin| plugin.state() == State::Stopping).await;
    assert_eq!(kit.plugin.best().unwrap().cause.as_ref().unwrap().kind, CauseKind::Unhealthy);
    kit.script.pings_fail.store(false, Ordering::SeqCst);
    kit.ready().await;
}

#[tokio::test(start_paused = true)]
async fn stop_start_disable_and_enable_do_as_they_say() {
    let kit = Kit::new(Script::default(), manifest("p"));
    kit.ready().await;
    kit.plugin.operate(&Event::Stop).await;
    kit.until("stopped", |plugin| plugin.state() == State::Stopped).await;
    assert!(!kit.plugin.is_listed());
    kit.plugin.operate(&Event::Start).await;
    kit.ready().await;
    kit.plugin.operate(&Event::Disable).await;
    kit.until("disabled", |plugin| plugin.state() == State::Disabled).await;
    kit.plugin.operate(&Event::Start).await;
    assert_eq!(kit.plugin.state(), State::Disabled, "a start does not switch it on");
    kit.plugin.operate(&Event::Enable).await;
    kit.ready().await;
}

#[tokio::test(start_paused = true)]
async fn many_that_die_together_do_not_start_together() {
    let mut many = manifest("p");
    many.replicas = 50;
    many.restart.initial = Span::millis(1);
    let kit = Kit::new(Script::default(), many);
    let all_ready =
        |plugin: &super::PluginHandle| plugin.instances().iter().all(|i| i.now().state == State::Ready);
    kit.until("all ready", all_ready).await;
    let before = Instant::now();
    for _ in 0..50 {
        kit.script.crash();
    }
    kit.until("down", |plugin| !all_ready(plugin)).await;
    kit.until("all back", all_ready).await;
    // 10 at once, then one each second.
    assert!((38..=60).contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_retired_plugin_tells_when_nothing_is_left() {
    let kit =
        Kit::new(Script { slow_close: Some(Duration::from_secs(5)), ..Script::default() }, manifest("p"));
    kit.ready().await;
    kit.plugin.retire("its manifest was removed");
    kit.plugin.gone().wait_for(|gone| *gone).await.unwrap();
    assert_eq!(kit.script.alive.load(Ordering::SeqCst), 0);
    assert_eq!(kit.services.tasks.end(Duration::from_secs(60)).await, 0, "a task is left");
}
