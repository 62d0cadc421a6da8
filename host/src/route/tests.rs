//! The path of a call under a paused clock, over a scripted plugin.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::Instant;
use wharf_core::catalog::Tool;
use wharf_core::hints::Hints;
use wharf_core::lifecycle::State;
use wharf_core::manifest::{Balance, Isolation, Manifest, Span};
use wharf_core::{CallId, Code};
use wharf_plugin_api::{CallErrorKind, Caller, CauseKind, Client, Delivery, Reply};

use super::book::Book;
use super::call::Call;
use super::resolved::Resolved;
use super::routing::Routing;
use super::{Asked, CallSpec, Failure, Settled, asks};
use crate::plugin::own::MOST;
use crate::plugin::testkit::{Answer, Kit, Opening, Script, manifest, raw};

mod admission;
mod breaker;
mod fate;
mod lazy;
mod places;
mod silence;

fn answers(answers: &[Answer]) -> Script {
    Script { answers: Mutex::new(answers.to_vec()), ..Script::default() }
}

fn call(kit: &Kit, timeout: Option<Duration>) -> impl Future<Output = Result<Settled, Failure>> + use<> {
    call_of(kit, Caller::new("test"), timeout)
}

fn call_of(
    kit: &Kit,
    caller: Caller,
    timeout: Option<Duration>,
) -> impl Future<Output = Result<Settled, Failure>> + use<> {
    run(kit, CallSpec { timeout, ..CallSpec::tool(kit.plugin.core.id.clone(), "t", None, caller) })
}

fn run(kit: &Kit, spec: CallSpec) -> impl Future<Output = Result<Settled, Failure>> + use<> {
    run_tool(kit, spec, None)
}

fn run_tool(
    kit: &Kit,
    spec: CallSpec,
    tool: Option<Arc<Tool>>,
) -> impl Future<Output = Result<Settled, Failure>> + use<> {
    let mut call = made(kit, spec, tool, &routing(kit, usize::MAX));
    async move { call.run().await }
}

/// What all calls share, of which so many may be in flight.
fn routing(kit: &Kit, most: usize) -> Arc<Routing> {
    Routing::new(&kit.services, Arc::new(Book::new(0, Vec::new())), most)
}

fn made(kit: &Kit, spec: CallSpec, tool: Option<Arc<Tool>>, routing: &Arc<Routing>) -> Call {
    Call {
        id: CallId::new(0, 1),
        spec,
        to: Arc::new(Resolved::new(&kit.plugin, &kit.plugin.manifest().unwrap(), tool.as_ref(), routing)),
    }
}

/// A tool with these annotations.
pub(super) fn tool(annotations: &str) -> Arc<Tool> {
    let definition: Arc<RawValue> = raw(&format!(r#"{{"name":"t","annotations":{annotations}}}"#)).into();
    let hints = Hints::of(&definition);
    let [name, upstream, exposed] = ["t", "t", "p__t"].map(ToOwned::to_owned);
    let plugin = manifest("p").id;
    Arc::new(Tool {
        plugin,
        name,
        upstream,
        exposed,
        description: None,
        definition,
        hints,
        made: wharf_core::catalog::Made::default(),
        meter: Arc::default(),
    })
}

fn executions(kit: &Kit) -> usize {
    kit.script.executions.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn what_was_not_delivered_is_tried_again_and_runs_once() {
    let refused = Answer::Fails(CallErrorKind::Connection, Delivery::NotDelivered);
    let kit = Kit::new(answers(&[refused, refused]), manifest("p"));
    kit.ready().await;
    call(&kit, None).await.unwrap();
    assert_eq!(executions(&kit), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_handed_over_is_never_tried_again() {
    let kit =
        Kit::new(answers(&[Answer::Fails(CallErrorKind::Connection, Delivery::Unknown)]), manifest("p"));
    kit.ready().await;
    let failure = call(&kit, None).await.unwrap_err();
    assert_eq!((failure.code, failure.delivery), (Code::OutcomeUnknown, Some(Delivery::Unknown)));
    assert_eq!(executions(&kit), 1);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_bounded() {
    let refused = Answer::Fails(CallErrorKind::Connection, Delivery::NotDelivered);
    let kit = Kit::new(answers(&[refused; 9]), manifest("p"));
    kit.ready().await;
    let failure = call(&kit, None).await.unwrap_err();
    assert_eq!((failure.code, failure.kind), (Code::NotDelivered, Some(CallErrorKind::Connection)));
    assert_eq!(kit.script.answers.lock().unwrap().len(), 9 - 3, "one attempt and two more");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_call_and_cancels_it_at_the_plugin() {
    let kit = Kit::new(answers(&[Answer::Hangs]), manifest("p"));
    kit.ready().await;
    let before = Instant::now();
    let failure = call(&kit, Some(Duration::from_secs(7))).await.unwrap_err();
    assert_eq!((failure.code, failure.delivery), (Code::Deadline, Some(Delivery::Unknown)));
    assert_eq!(before.elapsed().as_secs(), 7);
    assert_eq!(kit.script.cancelled.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_not_ask_for_more_than_the_manifest_allows() {
    let kit = Kit::new(answers(&[Answer::Hangs]), manifest("p"));
    kit.ready().await;
    let before = Instant::now();
    call(&kit, Some(Duration::from_secs(86_400))).await.unwrap_err();
    assert_eq!(before.elapsed().as_secs(), 600);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_cancels_and_frees_its_place() {
    let kit = Kit::new(answers(&[Answer::Hangs]), manifest("p"));
    kit.ready().await;
    let abandoned = tokio::time::timeout(Duration::from_secs(1), call(&kit, None)).await;
    assert!(abandoned.is_err());
    assert_eq!(kit.script.cancelled.load(Ordering::SeqCst), 1);
    assert!(kit.plugin.instances().iter().all(|instance| instance.load.inflight() == 0));
}

fn narrow(concurrency: u32, queue: u32) -> Manifest {
    let mut narrow = manifest("p");
    narrow.limits.concurrency = concurrency;
    narrow.limits.queue = queue;
    narrow
}

#[tokio::test(start_paused = true)]
async fn one_runs_one_waits_and_the_next_is_turned_away_at_once() {
    let kit = Kit::new(answers(&[Answer::Hangs]), narrow(1, 1));
    kit.ready().await;
    let hanging = call(&kit, None);
    let waiting = call(&kit, None);
    tokio::pin!(hanging, waiting);
    assert!(futures_util::poll!(&mut hanging).is_pending());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let before = Instant::now();
    let failure = call(&kit, None).await.unwrap_err();
    assert_eq!(failure.code, Code::QueueFull);
    assert!(failure.retry_after.is_some());
    assert!(before.elapsed().is_zero());
    // The one that waits is let go when its time is over, not later.
    let failure = waiting.await.unwrap_err();
    assert_eq!((failure.code, failure.delivery), (Code::QueueFull, Some(Delivery::Queued)));
    assert_eq!(before.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_plugin_that_is_about_to_be_ready() {
    let kit = Kit::new(Script::default(), manifest("p"));
    // Not ready yet: the first opening has not even begun.
    call(&kit, None).await.unwrap();
    kit.script.crash();
    call(&kit, None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_instance_gets_more_than_its_share() {
    let two = Manifest { replicas: 2, balance: Balance::RoundRobin, ..narrow(1, 10) };
    let kit = Kit::new(answers(&[Answer::Hangs, Answer::Hangs]), two);
    kit.until("both", |plugin| plugin.instances().iter().all(|i| i.now().state == State::Ready)).await;
    kit.script.crash();
    kit.until("one down", |plugin| plugin.instances().iter().any(|i| i.now().state != State::Ready)).await;
    let (first, second) = (call(&kit, None), call(&kit, None));
    tokio::pin!(first, second);
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    assert!(kit.plugin.instances().iter().all(|i| i.load.inflight() <= 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_to_what_stays_away_fails_at_once_and_says_when_to_come_back() {
    let script =
        Script { openings: Mutex::new(vec![Opening::Fails(CauseKind::Exited); 5]), ..Script::default() };
    let kit = Kit::new(script, manifest("p"));
    kit.until("quarantined", |plugin| plugin.state().as_str() == "quarantined").await;
    let before = Instant::now();
    let failure = call(&kit, None).await.unwrap_err();
    assert_eq!(failure.code, Code::PluginUnavailable);
    assert!(
        failure.detail.contains("quarantined") && failure.detail.contains("Remedy"),
        "{}",
        failure.detail
    );
    assert!(failure.retry_after.unwrap() > Duration::from_secs(200));
    assert!(before.elapsed().is_zero());
}

#[tokio::test(start_paused = true)]
async fn a_start_that_takes_longer_than_the_queue_allows_fails_the_call() {
    let mut patient = manifest("p");
    patient.limits.queue_wait = Span::secs(3);
    let script = Script { openings: Mutex::new(vec![Opening::Hangs]), ..Script::default() };
    let kit = Kit::new(script, patient);
    let before = Instant::now();
    let failure = call(&kit, None).await.unwrap_err();
    assert_eq!(failure.code, Code::PluginUnavailable);
    assert_eq!(before.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_of_a_session_waits_for_its_own_instance_and_is_not_held_up_by_others() {
    let apart = Manifest { isolation: Isolation::Session, ..narrow(1, 0) };
    let kit = Kit::new(answers(&[Answer::Hangs]), apart);
    kit.ready().await;
    let (asks, _asked) = mpsc::channel(1);
    let _visit = kit.services.visits.join("s".into(), Arc::default(), asks);
    let shared = call(&kit, None);
    tokio::pin!(shared);
    assert!(futures_util::poll!(&mut shared).is_pending());
    let own = || call_of(&kit, Caller { session: Some("s".into()), ..Caller::new("test") }, None);
    assert_eq!(own().await.unwrap().instance.0, 1000);
    // Two at once find the same one; the second is refused by that one's own bounds.
    kit.script.answers.lock().unwrap().push(Answer::Hangs);
    let first = own();
    tokio::pin!(first);
    assert!(futures_util::poll!(&mut first).is_pending());
    assert_eq!(own().await.unwrap_err().code, Code::QueueFull);
    assert_eq!(kit.openings(), 2);
}

/// A call whose client can be asked, and where its questions arrive.
fn asking(kit: &Kit) -> (impl Future<Output = Result<Settled, Failure>> + use<>, Asked) {
    let capabilities = RawValue::from_string(r#"{"elicitation":{}}"#.to_owned()).unwrap().into();
    let client = Arc::new(Client { capabilities, ..Client::default() });
    let (asks, asked) = asks();
    let caller = Caller { client, ..Caller::new("test") };
    let spec = CallSpec { asks: Some(asks), ..CallSpec::tool(kit.plugin.core.id.clone(), "t", None, caller) };
    (run(kit, spec), asked)
}

#[tokio::test(start_paused = true)]
async fn a_question_that_nobody_answers_makes_way_for_a_call_that_gets_no_turn() {
    for queue in [1, 0] {
        let kit = Kit::new(answers(&[Answer::Asks]), narrow(1, queue));
        kit.ready().await;
        let (abandoned, mut asked) = asking(&kit);
        let abandoned = kit.services.tasks.spawn(tracing::Span::none(), abandoned);
        let question = asked.next().await;
        if queue == 0 {
            // Nobody waits for its turn: a client has its time all the same.
            assert_eq!(call(&kit, None).await.unwrap_err().code, Code::QueueFull);
            assert!(!question.reply.is_closed());
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(call(&kit, None).await.unwrap_err().code, Code::QueueFull);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        call(&kit, None).await.unwrap();
        let failure = abandoned.await.unwrap().unwrap_err();
        assert_eq!((failure.code, failure.delivery), (Code::Cancelled, Some(Delivery::Unknown)));
        assert!(failure.detail.contains("did not answer"), "{}", failure.detail);
        assert!(question.reply.is_closed(), "and the plugin is told");
    }
}

#[tokio::test(start_paused = true)]
async fn half_of_the_calls_may_ask_and_the_next_one_is_told_so() {
    let kit = Kit::new(answers(&[Answer::Asks; 3]), narrow(4, 0));
    kit.ready().await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let (calling, mut asked) = asking(&kit);
        let calling = kit.services.tasks.spawn(tracing::Span::none(), calling);
        let question = asked.next().await;
        waiting.push((calling, asked, question));
    }
    let (third, _asked) = asking(&kit);
    let Reply::Error(refused) = third.await.unwrap().reply else { panic!("it was asked") };
    assert!(refused.message.contains("2 calls of this plugin wait"), "{refused}");
    // There is room for those that ask nothing, and an answer makes room for a question.
    call(&kit, None).await.unwrap();
    for (calling, _asked, question) in waiting {
        question.reply.send(Reply::Result(RawValue::from_string("{}".to_owned()).unwrap())).unwrap();
        assert!(calling.await.unwrap().is_ok());
    }
    kit.script.answers.lock().unwrap().push(Answer::Asks);
    let (fourth, mut asked) = asking(&kit);
    tokio::pin!(fourth);
    tokio::select! {
        ended = &mut fourth => panic!("{ended:?}"),
        _ = asked.next() => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_none_fails_the_call_and_nothing_is_tried_again() {
    let kit = Kit::new(answers(&[Answer::Asks]), manifest("p"));
    kit.ready().await;
    // What the client says is what this plugin answers.
    let (calling, mut asked) = asking(&kit);
    let calling = kit.services.tasks.spawn(tracing::Span::none(), calling);
    let question = asked.next().await;
    question.reply.send(Reply::Result(RawValue::from_string("[1]".to_owned()).unwrap())).unwrap();
    let failure = calling.await.unwrap().unwrap_err();
    assert_eq!((failure.code, failure.delivery), (Code::ProtocolError, Some(Delivery::Answered)));
    assert_eq!(executions(&kit), 1);
}

#[tokio::test(start_paused = true)]
async fn one_session_too_many_is_told_so() {
    let kit = Kit::new(Script::default(), Manifest { isolation: Isolation::Session, ..manifest("p") });
    kit.ready().await;
    let caller = |n: usize| Caller { session: Some(format!("s{n}").into()), ..Caller::new("test") };
    let mut visits = Vec::new();
    for n in 0..=MOST {
        let (asks, _) = mpsc::channel(1);
        visits.push(kit.services.visits.join(format!("s{n}").into(), Arc::default(), asks));
    }
    for n in 0..MOST {
        call_of(&kit, caller(n), None).await.unwrap();
    }
    let failure = call_of(&kit, caller(MOST), None).await.unwrap_err();
    assert_eq!((failure.code, failure.delivery), (Code::Overloaded, Some(Delivery::Queued)));
    assert!(failure.detail.contains("64 sessions"), "{}", failure.detail);
}
