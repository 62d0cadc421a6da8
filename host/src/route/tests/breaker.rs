//! What failures of calls lead to: an instance that fails is left alone for a while, tried with care, and at last started anew.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use wharf_core::breaker::State as Breaker;
use wharf_core::lifecycle::State;
use wharf_core::{Code, InstanceNo};
use wharf_plugin_api::{CallErrorKind, CauseKind, Delivery};

use super::{answers, call, executions, narrow};
use crate::plugin::testkit::{Answer, Kit, Opening, Script, manifest};
use crate::plugin::view::BreakerView;

const BROKEN: Answer = Answer::Fails(CallErrorKind::Connection, Delivery::Unknown);

fn breaker(kit: &Kit, n: usize) -> BreakerView {
    kit.plugin.instances()[n].fuse.view()
}

async fn until(kit: &Kit, state: Breaker) {
    kit.until("as the breaker should be", |plugin| plugin.instances()[0].fuse.view().state == state).await;
}

#[tokio::test(start_paused = true)]
async fn who_fails_is_left_alone_tried_and_taken_back() {
    let kit = Kit::new(answers(&[BROKEN; 5]), manifest("p"));
    kit.ready().await;
    for _ in 0..5 {
        assert_eq!(call(&kit, None).await.unwrap_err().code, Code::OutcomeUnknown);
    }
    let before = Instant::now();
    let failure = call(&kit, None).await.unwrap_err();
    assert_eq!((failure.code, failure.delivery), (Code::PluginUnavailable, Some(Delivery::Queued)));
    assert!(failure.detail.contains("scripted"), "{}", failure.detail);
    assert_eq!((before.elapsed(), executions(&kit)), (Duration::ZERO, 5), "at once, and nothing ran");
    let wait = failure.retry_after.unwrap();
    assert!((Duration::from_millis(400)..=Duration::from_millis(1500)).contains(&wait), "{wait:?}");
    let view = breaker(&kit, 0);
    assert_eq!((view.state, view.opened), (Breaker::Open, 1));
    assert!(view.cause.is_some() && view.next_try_at.is_some());
    until(&kit, Breaker::HalfOpen).await;
    let off = before.elapsed().abs_diff(wait);
    assert!(off < Duration::from_millis(5), "it is tried when it was said to be: {off:?} off");
    assert_eq!(kit.plugin.best().unwrap().state, State::Ready);
    call(&kit, None).await.unwrap();
    let view = breaker(&kit, 0);
    assert_eq!((view.state, view.opened, view.cause), (Breaker::Closed, 1, None));
    assert_eq!(kit.plugin.best().unwrap().restarts, 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_behind_a_trial_waits_until_it_is_known_how_that_ended() {
    let script = [BROKEN, BROKEN, BROKEN, BROKEN, BROKEN, Answer::IsRead];
    let kit = Kit::new(answers(&script), narrow(1, 9));
    kit.ready().await;
    for _ in 0..5 {
        call(&kit, None).await.unwrap_err();
    }
    until(&kit, Breaker::HalfOpen).await;
    let (mut trial, mut next) = (Box::pin(call(&kit, None)), pin!(call(&kit, None)));
    assert!(futures_util::poll!(&mut trial).is_pending() && futures_util::poll!(&mut next).is_pending());
    // Its answer is read; what it says of the plugin is for its caller to tell.
    assert!(futures_util::poll!(&mut trial).is_pending() && futures_util::poll!(&mut next).is_pending());
    drop(trial);
    assert!(matches!(futures_util::poll!(&mut next), Poll::Ready(Ok(_))), "it is the next trial");
    assert_eq!(breaker(&kit, 0).state, Breaker::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_of_the_plugin_is_not_held_against_it() {
    let refused = Answer::Fails(CallErrorKind::Refused, Delivery::Answered);
    let lost = Answer::Fails(CallErrorKind::Session, Delivery::NotDelivered);
    let kit = Kit::new(answers(&[refused, lost, refused, lost, refused, lost, refused]), manifest("p"));
    kit.ready().await;
    for _ in 0..7 {
        call(&kit, None).await.unwrap_err();
    }
    kit.script.answers.lock().unwrap().extend([Answer::Hangs; 40]);
    for _ in 0..20 {
        let failure = call(&kit, Some(Duration::from_millis(100))).await.unwrap_err();
        assert_eq!(failure.code, Code::Deadline, "whoever is in a hurry takes it away from nobody");
    }
    for _ in 0..20 {
        let gone = tokio::time::timeout(Duration::from_secs(20), call(&kit, None)).await;
        assert!(gone.is_err(), "nor does whoever goes away");
    }
    assert_eq!(breaker(&kit, 0).opened, 0);
    call(&kit, None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_call_goes_where_the_probe_is_not_answered_and_three_openings_start_it_anew() {
    let kit = Kit::new(answers(&[Answer::Hangs; 5]), manifest("p"));
    kit.ready().await;
    kit.script.pings_fail.store(true, std::sync::atomic::Ordering::SeqCst);
    for _ in 0..5 {
        let failure = call(&kit, Some(Duration::from_secs(1))).await.unwrap_err();
        assert_eq!(failure.code, Code::Deadline);
    }
    until(&kit, Breaker::HalfOpen).await;
    assert_eq!(call(&kit, None).await.unwrap_err().code, Code::PluginUnavailable, "it is being probed");
    kit.until("started anew", |plugin| plugin.best().unwrap().restarts == 1).await;
    assert_eq!((executions(&kit), breaker(&kit, 0).opened), (5, 3));
    kit.script.pings_fail.store(false, std::sync::atomic::Ordering::SeqCst);
    kit.ready().await;
    assert_eq!(breaker(&kit, 0).state, Breaker::Closed, "a new generation is nobody's fault");
    call(&kit, None).await.unwrap();
    let exits = kit.plugin.core.log.tail(20);
    let told = exits.iter().any(|line| line.text.contains("its breaker opened three times"));
    assert!(told, "{exits:?}");
}

#[tokio::test(start_paused = true)]
async fn the_only_one_that_is_up_is_not_started_anew() {
    let mut two = manifest("p");
    two.replicas = 2;
    two.health.start_timeout = wharf_core::manifest::Span::secs(3600);
    let script = Script {
        openings: std::sync::Mutex::new(vec![Opening::Works, Opening::Hangs]),
        ..answers(&[BROKEN; 500])
    };
    let kit = Kit::new(script, two);
    kit.ready().await;
    let up = (0..2).find(|n| kit.plugin.instances()[*n].now().state == State::Ready).unwrap();
    while breaker(&kit, up).opened < 5 {
        if breaker(&kit, up).state == Breaker::Open {
            tokio::time::sleep(Duration::from_millis(200)).await;
        } else {
            // The other one may still come up: a call waits for it where this one is shut.
            tokio::time::timeout(Duration::from_millis(200), call(&kit, None)).await.ok();
        }
    }
    assert_eq!(kit.plugin.instances()[up].now().restarts, 0);
    assert_eq!(kit.plugin.instances()[up].now().state, State::Ready);
}

#[tokio::test(start_paused = true)]
async fn who_works_takes_the_calls_of_one_that_is_left_alone() {
    let mut two = manifest("p");
    two.replicas = 2;
    two.balance = wharf_core::manifest::Balance::RoundRobin;
    two.breaker.consecutive = 1;
    let kit = Kit::new(answers(&[BROKEN]), two);
    kit.until("both ready", |plugin| plugin.instances().iter().all(|one| one.now().link.is_some())).await;
    call(&kit, None).await.unwrap_err();
    let shut = (0..2).find(|n| breaker(&kit, *n).state == Breaker::Open).unwrap();
    let other = InstanceNo(u32::try_from(1 - shut).unwrap());
    for _ in 0..10 {
        assert_eq!(call(&kit, None).await.unwrap().instance, other);
    }
    kit.until("tried", |plugin| plugin.instances()[shut].fuse.view().state == Breaker::HalfOpen).await;
    tokio::task::yield_now().await;
    for _ in 0..4 {
        call(&kit, None).await.unwrap();
    }
    assert_eq!(breaker(&kit, shut).state, Breaker::Closed, "it is taken back though another one works");
    assert_eq!(kit.plugin.best().unwrap().cause.as_ref().map(|cause| cause.kind), None::<CauseKind>);
}
