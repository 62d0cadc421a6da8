//! What becomes of a call whose plugin dies, or that ends before its answer: what is tried again, how often, and what its
//! caller is told.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use wharf_core::Code;
use wharf_core::manifest::{Manifest, Span};
use wharf_plugin_api::{CallErrorKind, Caller, Client, Delivery, Reply};

use super::{answers, call, executions, made, routing, run, run_tool, tool};
use crate::plugin::testkit::{Answer, Kit, Opening, Script, manifest, raw};
use crate::route::{CallSpec, Failure, Settled, asks};

/// It was handed over, and the plugin died.
const DIED: Answer = Answer::Fails(CallErrorKind::Connection, Delivery::Unknown);
const REFUSED: Answer = Answer::Fails(CallErrorKind::Connection, Delivery::NotDelivered);
const READ_ONLY: &str = r#"{"readOnlyHint":true}"#;

fn trusting() -> Manifest {
    let mut trusting = manifest("p");
    trusting.retry.trust_hints = true;
    trusting
}

fn spec(kit: &Kit) -> CallSpec {
    CallSpec::tool(kit.plugin.core.id.clone(), "t", None, Caller::new("test"))
}

fn hinted(kit: &Kit, annotations: &str) -> impl Future<Output = Result<Settled, Failure>> + use<> {
    run_tool(kit, spec(kit), Some(tool(annotations)))
}

#[tokio::test(start_paused = true)]
async fn what_only_reads_is_tried_again_where_the_plugin_is_trusted() {
    for annotations in [READ_ONLY, r#"{"idempotentHint":true}"#] {
        let kit = Kit::new(answers(&[DIED, DIED]), trusting());
        kit.ready().await;
        hinted(&kit, annotations).await.unwrap();
        assert_eq!(executions(&kit), 3, "{annotations}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_change_something_runs_once_whatever_comes() {
    let contradictory = r#"{"readOnlyHint":true,"destructiveHint":true}"#;
    for (manifest, annotations) in
        [(manifest("p"), READ_ONLY), (trusting(), "{}"), (trusting(), contradictory)]
    {
        let kit = Kit::new(answers(&[DIED]), manifest);
        kit.ready().await;
        let failure = hinted(&kit, annotations).await.unwrap_err();
        assert_eq!((failure.code, failure.delivery), (Code::OutcomeUnknown, Some(Delivery::Unknown)));
        assert!(failure.call_id.is_some());
        assert_eq!(executions(&kit), 1, "{annotations}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_the_answer_whatever_it_says() {
    let refuses = r#"{"isError":true,"content":[]}"#;
    let kit = Kit::new(answers(&[Answer::Is(refuses)]), trusting());
    kit.ready().await;
    let Reply::Result(result) = hinted(&kit, READ_ONLY).await.unwrap().reply else { panic!("no result") };
    assert_eq!((result.get(), executions(&kit)), (refuses, 1));
    kit.script.answers.lock().unwrap().push(Answer::Is("[]"));
    assert_eq!(hinted(&kit, READ_ONLY).await.unwrap_err().code, Code::ProtocolError);
    assert_eq!(executions(&kit), 2);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_tries_again_by_itself_is_not_helped_with_what_may_have_run() {
    let kit = Kit::new(answers(&[DIED]), trusting());
    kit.ready().await;
    let again = CallSpec { repeated: true, ..spec(&kit) };
    let failure = run_tool(&kit, again, Some(tool(READ_ONLY))).await.unwrap_err();
    assert_eq!((failure.code, executions(&kit)), (Code::OutcomeUnknown, 1));
    // What did not run is another matter.
    kit.script.answers.lock().unwrap().push(REFUSED);
    run_tool(&kit, CallSpec { repeated: true, ..spec(&kit) }, Some(tool("{}"))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn methods_that_read_take_the_same_trust() {
    for (method, trusted, runs) in [
        ("prompts/get", true, 2),
        ("resources/read", true, 2),
        ("resources/read", false, 1),
        ("vendor/x", true, 1),
    ] {
        let kit = Kit::new(answers(&[DIED]), if trusted { trusting() } else { manifest("p") });
        kit.ready().await;
        let spec = CallSpec::new(kit.plugin.core.id.clone(), method, None, Caller::new("test"));
        assert_eq!(run(&kit, spec).await.is_ok(), runs == 2, "{method}");
        assert_eq!(executions(&kit), runs, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_run_is_never_said_not_to_have_been_delivered() {
    // The next attempts are refused.
    let kit = Kit::new(answers(&[DIED, REFUSED, REFUSED]), trusting());
    kit.ready().await;
    let failure = hinted(&kit, READ_ONLY).await.unwrap_err();
    assert_eq!((failure.code, failure.delivery), (Code::OutcomeUnknown, Some(Delivery::Unknown)));
    // There is none: the plugin does not come back in time.
    let script = Script { openings: vec![Opening::Works, Opening::Hangs].into(), ..answers(&[Answer::Dies]) };
    let kit = Kit::new(script, trusting());
    kit.ready().await;
    let before = Instant::now();
    let failure = hinted(&kit, READ_ONLY).await.unwrap_err();
    assert_eq!((failure.code, failure.delivery), (Code::OutcomeUnknown, Some(Delivery::Unknown)));
    assert!(failure.detail.contains("Another attempt failed"), "{}", failure.detail);
    assert_eq!(before.elapsed().as_secs(), 5, "it waits as long as any call for its turn");
}

#[tokio::test(start_paused = true)]
async fn all_attempts_have_one_deadline() {
    let kit = Kit::new(answers(&[DIED, Answer::Hangs]), trusting());
    kit.ready().await;
    let before = Instant::now();
    let spec = CallSpec { timeout: Some(Duration::from_secs(7)), ..spec(&kit) };
    let failure = run_tool(&kit, spec, Some(tool(READ_ONLY))).await.unwrap_err();
    assert_eq!((failure.code, failure.delivery), (Code::Deadline, Some(Delivery::Unknown)));
    assert_eq!(before.elapsed().as_secs(), 7);
    assert_eq!((executions(&kit), kit.script.cancelled.load(Ordering::SeqCst)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn attempts_are_a_share_of_the_calls() {
    let mut eager = trusting();
    eager.retry.initial = Span::millis(0);
    // Here it is not left alone.
    (eager.breaker.consecutive, eager.breaker.calls) = (10_000, 10_000);
    let kit = Kit::new(answers(&[DIED; 3000]), eager);
    kit.ready().await;
    let before = Instant::now();
    for _ in 0..500 {
        hinted(&kit, READ_ONLY).await.unwrap_err();
    }
    let more = executions(&kit) - 500;
    let seconds = usize::try_from(before.elapsed().as_secs()).unwrap() + 1;
    // A fifth of them, what was saved at the beginning, and three a second.
    assert!((100..=100 + 10 + 3 + 3 * seconds).contains(&more), "{more} in {seconds} s");
}

#[tokio::test(start_paused = true)]
async fn a_person_is_not_asked_twice() {
    let kit = Kit::new(answers(&[Answer::AsksAndFails]), trusting());
    kit.ready().await;
    let client = Arc::new(Client { capabilities: raw(r#"{"elicitation":{}}"#).into(), ..Client::default() });
    let (asks, mut asked) = asks();
    let caller = Caller { client, ..Caller::new("test") };
    let spec = CallSpec { asks: Some(asks), caller, ..spec(&kit) };
    let calling =
        kit.services.tasks.spawn(tracing::Span::none(), run_tool(&kit, spec, Some(tool(READ_ONLY))));
    drop(asked.next().await);
    assert_eq!(calling.await.unwrap().unwrap_err().code, Code::OutcomeUnknown);
    assert_eq!(executions(&kit), 1);
    call(&kit, None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_handed_over_as_its_time_ends_is_not_said_to_be_undelivered() {
    let kit = Kit::new(answers(&[Answer::HandedOverLate]), manifest("p"));
    kit.ready().await;
    let failure = call(&kit, Some(Duration::from_secs(1))).await.unwrap_err();
    assert_eq!((failure.code, failure.delivery), (Code::Deadline, Some(Delivery::Unknown)));
    assert_eq!(executions(&kit), 1);
}

#[tokio::test(start_paused = true)]
async fn nor_is_what_is_handed_over_as_it_is_taken_back() {
    let kit = Kit::new(answers(&[Answer::HandedOverLate]), manifest("p"));
    kit.ready().await;
    let routing = routing(&kit, usize::MAX);
    let mut call = made(&kit, spec(&kit), None, &routing);
    let call_id = call.id;
    let failure = {
        let mut running = pin!(call.run());
        assert!(futures_util::poll!(&mut running).is_pending());
        assert!(routing.book.find(&call_id).unwrap().take_back());
        running.await.unwrap_err()
    };
    assert_eq!((failure.code, failure.delivery), (Code::Cancelled, Some(Delivery::Unknown)));
    assert_eq!(executions(&kit), 1);
}
