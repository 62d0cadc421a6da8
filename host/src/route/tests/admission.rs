//! Calls that are let in, that wait, and that are turned away.

use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;
use wharf_core::Code;
use wharf_core::manifest::{Dialect, Kind, Rate, Span};
use wharf_plugin_api::{CallErrorKind, Caller, Delivery};

use super::{answers, call, call_of, executions, made, narrow, routing};
use crate::near::Best;
use crate::plugin::testkit::{Answer, Kit, Script, manifest};
use crate::route::CallSpec;

const SECOND: Duration = Duration::from_secs(1);

fn of(session: &str) -> Caller {
    Caller { session: Some(session.into()), ..Caller::new("token") }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_begins_too_many_is_told_when_it_may_begin_the_next() {
    let mut limited = manifest("p");
    limited.limits.rate = Rate::parse("2/s");
    let kit = Kit::new(Script::default(), limited);
    kit.ready().await;
    for _ in 0..2 {
        call(&kit, None).await.unwrap();
    }
    let failure = call(&kit, None).await.unwrap_err();
    assert_eq!((failure.code, failure.delivery), (Code::RateLimited, Some(Delivery::Queued)));
    assert_eq!(failure.retry_after, Some(SECOND / 2));
    assert!(failure.detail.contains("2/s") && failure.detail.contains("limits.rate"), "{failure}");
    call_of(&kit, Caller::new("another"), None).await.unwrap();
    tokio::time::advance(SECOND / 2).await;
    call(&kit, None).await.unwrap();
    assert_eq!(executions(&kit), 4);
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_no_room_once_its_answer_is_read() {
    let kit = Kit::new(answers(&[Answer::IsRead]), narrow(1, 0));
    kit.ready().await;
    let load = |kit: &Kit| (kit.plugin.gate.crowd().running, kit.plugin.instances()[0].load.inflight());
    {
        let mut read = pin!(call(&kit, None));
        assert!(futures_util::poll!(&mut read).is_pending());
        assert_eq!(load(&kit), (1, 1));
        call(&kit, None).await.expect_err("there is room for one");
        assert!(futures_util::poll!(&mut read).is_pending());
        assert_eq!(load(&kit), (0, 0));
        call(&kit, None).await.expect("there is room again");
    }
    assert_eq!((load(&kit), executions(&kit)), ((0, 0), 2), "nothing is given back twice");
}

#[tokio::test(start_paused = true)]
async fn an_answer_over_http_steps_back_for_those_that_came_with_it_and_holds_no_place_meanwhile() {
    let mut over_http = narrow(1, 0);
    if let Kind::Command(command) = &mut over_http.kind {
        command.dialect = Dialect::Http;
    }
    let kit = Kit::new(Script::default(), over_http);
    kit.ready().await;
    let mut two = [call(&kit, None), call(&kit, None)].map(Box::pin);
    for call in &mut two {
        assert!(futures_util::poll!(call).is_pending());
    }
    assert_eq!(executions(&kit), 2);
    for call in two {
        call.await.unwrap();
    }
    assert_eq!((kit.plugin.gate.crowd().running, kit.plugin.instances()[0].load.inflight()), (0, 0));
    let by_pipe = Kit::new(Script::default(), narrow(1, 0));
    by_pipe.ready().await;
    let best = [&kit, &by_pipe].map(|kit| {
        let spec = CallSpec::tool(kit.plugin.core.id.clone(), "t", None, of("a"));
        made(kit, spec, None, &routing(kit, 1)).to.best
    });
    assert_eq!(best, [Some(Best::Any), Some(Best::Own)], "where their connections are served best");
    assert!(futures_util::poll!(pin!(call(&by_pipe, None))).is_ready(), "those of a pipe are read together");
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_time_passes_in_the_queue_is_late_and_was_not_delivered() {
    let kit = Kit::new(answers(&[Answer::Hangs]), narrow(1, 1));
    kit.ready().await;
    let mut hanging = pin!(call(&kit, None));
    assert!(futures_util::poll!(&mut hanging).is_pending());
    let failure = call(&kit, Some(SECOND)).await.unwrap_err();
    assert_eq!((failure.code, failure.delivery), (Code::Deadline, Some(Delivery::Queued)));
    assert_eq!(failure.kind, Some(CallErrorKind::Timeout));
    assert_eq!(executions(&kit), 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_turned_away_is_told_the_bound_and_a_time_that_is_reckoned() {
    let kit = Kit::new(answers(&[Answer::Hangs]), narrow(1, 0));
    kit.ready().await;
    let mut hanging = pin!(call(&kit, None));
    assert!(futures_util::poll!(&mut hanging).is_pending());
    let unknown = call(&kit, None).await.unwrap_err();
    assert_eq!(unknown.retry_after, Some(5 * SECOND), "nothing is known: the longest wait");
    kit.plugin.gate.pace.took(Duration::from_millis(250));
    let failure = call(&kit, None).await.unwrap_err();
    assert_eq!((failure.code, failure.retry_after), (Code::QueueFull, Some(SECOND / 4)));
    assert!(failure.detail.contains("limits.queue") && failure.detail.contains("1 calls run"), "{failure}");
    let counted = kit.plugin.gate.turned_away.queue_full.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(counted, 2);
}

#[tokio::test(start_paused = true)]
async fn one_session_of_a_token_does_not_keep_the_others_out() {
    let kit = Kit::new(answers(&[Answer::Hangs]), narrow(1, 8));
    kit.ready().await;
    let mut greedy: Vec<_> = (0..9).map(|_| Box::pin(call_of(&kit, of("greedy"), None))).collect();
    for call in &mut greedy {
        assert!(futures_util::poll!(call).is_pending());
    }
    let mut modest = pin!(call_of(&kit, of("modest"), None));
    assert!(futures_util::poll!(&mut modest).is_pending(), "the queue is full, and it has room");
    let sent_away = greedy.pop().unwrap().await.unwrap_err();
    assert_eq!(sent_away.code, Code::QueueFull);
    assert!(
        sent_away.detail.contains("others wait") && sent_away.detail.contains("limits.queue"),
        "{sent_away}"
    );
    // The first of the greedy ones hangs, and ends. Its second is next, then the other caller, and not its third.
    drop(greedy.remove(0));
    greedy.remove(0).await.unwrap();
    modest.await.unwrap();
    assert_eq!(executions(&kit), 3);
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_are_in_flight_than_the_host_allows() {
    let kit = Kit::new(answers(&[Answer::Hangs]), manifest("p"));
    kit.ready().await;
    let routing = routing(&kit, 1);
    let call = || {
        let spec = CallSpec::tool(kit.plugin.core.id.clone(), "t", None, Caller::new("test"));
        let mut call = made(&kit, spec, None, &routing);
        async move { call.run().await }
    };
    let mut hanging = Box::pin(call());
    assert!(futures_util::poll!(&mut hanging).is_pending());
    let failure = call().await.unwrap_err();
    assert_eq!((failure.code, failure.delivery), (Code::Overloaded, Some(Delivery::Queued)));
    assert!(failure.retry_after.is_some() && failure.plugin.is_some(), "{failure:?}");
    drop(hanging);
    call().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_over_when_it_was_said_to_be() {
    let mut patient = narrow(1, 4);
    patient.limits.queue_wait = Span::secs(2);
    let kit = Kit::new(answers(&[Answer::Hangs]), patient);
    kit.ready().await;
    let mut hanging = pin!(call(&kit, None));
    assert!(futures_util::poll!(&mut hanging).is_pending());
    let begun = Instant::now();
    let failure = call(&kit, None).await.unwrap_err();
    assert_eq!((failure.code, begun.elapsed()), (Code::QueueFull, 2 * SECOND));
    assert!(failure.detail.contains("limits.queue_wait") && failure.retry_after.is_some(), "{failure:?}");
}

/// The most that the future of a call takes, bytes; what it needs at its plugin is made when it has its turn.
const WAITS: usize = 640;

#[tokio::test(start_paused = true)]
async fn what_a_call_waits_in_for_its_turn_is_small() {
    let kit = Kit::new(Script::default(), manifest("p"));
    kit.ready().await;
    let spec = CallSpec::tool(kit.plugin.core.id.clone(), "t", None, of("a"));
    let mut call = made(&kit, spec, None, &routing(&kit, 1));
    let size = size_of_val(&call.run());
    assert!(size <= WAITS, "{size}");
}
