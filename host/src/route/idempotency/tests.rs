//! Calls with keys, under a paused clock over a scripted plugin; and what a host that comes after this one knows of them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::value::RawValue;
use wharf_core::idempotency::Key;
use wharf_core::{CallId, Code};
use wharf_plugin_api::{CallErrorKind, Caller, Delivery, Reply};

use super::{Keys, LARGEST, digest};
use crate::journal::Journal;
use crate::plugin::testkit::{Answer, Kit, Script, manifest, raw};
use crate::route::book::Book;
use crate::route::call::Call;
use crate::route::calls::Calls;
use crate::route::resolved::Resolved;
use crate::route::routing::Routing;
use crate::route::{CallSpec, Failure, Payload, Settled};

const DIED: Answer = Answer::Fails(CallErrorKind::Connection, Delivery::Unknown);
const REFUSED: Answer = Answer::Fails(CallErrorKind::Connection, Delivery::NotDelivered);

/// A host's calls over one plugin.
struct Desk {
    kit: Kit,
    routing: Arc<Routing>,
    calls: std::cell::Cell<u64>,
}

impl Desk {
    async fn new(answers: &[Answer]) -> Self {
        Self::over(answers, Keys::new(&Journal::default())).await
    }

    /// One after the other over the same journal.
    async fn on(folder: &Path, answers: &[Answer]) -> Self {
        let (journal, recovery) = Journal::open(folder);
        let keys = Keys::new(&journal);
        keys.remember(recovery.keys);
        let desk = Self::over(answers, keys).await;
        desk.calls.set(100 * (desk.calls.get() + std::fs::read_dir(folder).unwrap().count() as u64));
        desk
    }

    async fn over(answers: &[Answer], keys: Keys) -> Self {
        let script = Script { answers: answers.to_vec().into(), ..Script::default() };
        let kit = Kit::new(script, manifest("p"));
        kit.ready().await;
        let book = Arc::new(Book::new(0, Vec::new()));
        let plain = Arc::into_inner(Routing::new(&kit.services, book, usize::MAX)).unwrap();
        let routing = Arc::new(Routing { keys: Arc::new(keys), ..plain });
        Self { kit, routing, calls: std::cell::Cell::new(0) }
    }

    fn call(&self, key: &str, arguments: &str) -> impl Future<Output = Result<Settled, Failure>> + use<> {
        self.call_by("me", key, arguments)
    }

    fn call_by(
        &self,
        who: &str,
        key: &str,
        arguments: &str,
    ) -> impl Future<Output = Result<Settled, Failure>> + use<> {
        self.calls.set(self.calls.get() + 1);
        let arguments: Arc<RawValue> = raw(arguments).into();
        let plugin = self.kit.plugin.core.id.clone();
        let mut spec = CallSpec::tool(plugin, "t", Some(arguments), Caller::new(who));
        spec.key = Some(Key::new(key).unwrap());
        let (plugin, manifest) = (&self.kit.plugin, self.kit.plugin.manifest().unwrap());
        let to = Arc::new(Resolved::new(plugin, &manifest, None, &self.routing));
        let mut call = Call { id: CallId::new(1, self.calls.get()), spec, to };
        async move { call.run().await }
    }

    fn executions(&self) -> usize {
        self.kit.script.executions.load(Ordering::SeqCst)
    }
}

fn text(settled: &Settled) -> &str {
    let Reply::Result(result) = &settled.reply else { panic!("no result") };
    result.get()
}

#[tokio::test(start_paused = true)]
async fn who_comes_again_gets_the_answer_of_the_first() {
    let desk = Desk::new(&[Answer::Is(r#"{"n":1.0}"#), Answer::Is(r#"{"n":2.0}"#)]).await;
    let first = desk.call("k", "{}").await.unwrap();
    let again = desk.call("k", "{}").await.unwrap();
    assert_eq!((text(&first), text(&again)), (r#"{"n":1.0}"#, r#"{"n":1.0}"#));
    assert_eq!((first.replayed, again.replayed), (false, true));
    assert_eq!((&again.call_id, desk.executions()), (&first.call_id, 1));
    // Other arguments are another call, and so are those of another caller.
    let other = desk.call("k", r#"{"a":1}"#).await.unwrap_err();
    assert_eq!((other.code, other.errors.len()), (Code::IdempotencyConflict, 1));
    assert!(other.detail.contains(&first.call_id.to_string()), "{}", other.detail);
    assert!(!desk.call_by("you", "k", "{}").await.unwrap().replayed);
    assert_eq!(desk.executions(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_comes_too_early_is_told_to_come_back() {
    let desk = Desk::new(&[Answer::Hangs]).await;
    let running = desk.call("k", "{}");
    tokio::pin!(running);
    assert!(futures_util::poll!(&mut running).is_pending());
    let failure = desk.call("k", "{}").await.unwrap_err();
    assert_eq!((failure.code, failure.errors.len()), (Code::IdempotencyConflict, 0));
    assert!(failure.retry_after.is_some());
    assert_eq!((failure.call_id, desk.executions()), (Some(CallId::new(1, 1)), 1));
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_call_did_not_run_is_free_again() {
    let desk = Desk::new(&[REFUSED, REFUSED, REFUSED]).await;
    assert_eq!(desk.call("k", "{}").await.unwrap_err().code, Code::NotDelivered);
    assert!(!desk.call("k", r#"{"other":1}"#).await.unwrap().replayed);
    // A question is no end: whoever brings the answers runs it to one.
    let asks = Answer::Is(r#"{"resultType":"input_required","inputRequests":{},"requestState":"s"}"#);
    *desk.kit.script.answers.lock().unwrap() = vec![asks];
    for replayed in [false, false, true] {
        assert_eq!(desk.call("q", "{}").await.unwrap().replayed, replayed);
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_run_is_unknown_for_good() {
    let desk = Desk::new(&[DIED, Answer::Is("[]"), Answer::Hangs]).await;
    let first = desk.call("a", "{}").await.unwrap_err();
    let again = desk.call("a", "{}").await.unwrap_err();
    assert_eq!((again.code, again.delivery), (Code::OutcomeUnknown, Some(Delivery::Unknown)));
    assert_eq!((again.call_id, desk.executions()), (first.call_id, 1));
    // It ran, and what it said is no answer.
    assert_eq!(desk.call("b", "{}").await.unwrap_err().code, Code::ProtocolError);
    assert_eq!(desk.call("b", "{}").await.unwrap_err().code, Code::OutcomeUnknown);
    // Its caller left.
    assert!(tokio::time::timeout(Duration::from_secs(1), desk.call("c", "{}")).await.is_err());
    assert_eq!(desk.call("c", "{}").await.unwrap_err().code, Code::OutcomeUnknown);
    assert_eq!(desk.executions(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_before_its_turn_leaves_the_key_free() {
    let desk = Desk::new(&[]).await;
    drop(desk.call("k", "{}"));
    desk.kit.script.crash();
    let waiting = desk.call("k", "{}");
    let gone = async {
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
    };
    desk.kit.until("down", |plugin| plugin.best().is_some_and(|best| best.link.is_none())).await;
    gone.await;
    desk.kit.ready().await;
    assert!(!desk.call("k", "{}").await.unwrap().replayed);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_large_fails_the_replay_and_not_the_call() {
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(LARGEST));
    let desk = Desk::new(&[Answer::Is(large.leak())]).await;
    let first = desk.call("k", "{}").await.unwrap();
    let again = desk.call("k", "{}").await.unwrap_err();
    assert_eq!((again.code, again.delivery), (Code::IdempotencyConflict, Some(Delivery::Answered)));
    assert_eq!((again.call_id, again.retry_after, desk.executions()), (Some(first.call_id), None, 1));
}

#[tokio::test(start_paused = true)]
async fn the_next_host_knows_what_became_of_the_calls() {
    let folder = tempfile::tempdir().unwrap();
    let before =
        Desk::on(folder.path(), &[Answer::Is(r#"{"n":1.0}"#), DIED, REFUSED, REFUSED, REFUSED]).await;
    let first = before.call("answered", "{}").await.unwrap();
    let lost = before.call("lost", "{}").await.unwrap_err();
    before.call("free", "{}").await.unwrap_err();
    before.kit.script.answers.lock().unwrap().push(Answer::Hangs);
    let running = before.call("running", "{}");
    tokio::pin!(running);
    assert!(futures_util::poll!(&mut running).is_pending());

    let after = Desk::on(folder.path(), &[]).await;
    let again = after.call("answered", "{}").await.unwrap();
    assert_eq!((text(&again), again.replayed, &again.call_id), (r#"{"n":1.0}"#, true, &first.call_id));
    assert_eq!(after.call("answered", "[1]").await.unwrap_err().code, Code::IdempotencyConflict);
    let unknown = after.call("lost", "{}").await.unwrap_err();
    assert_eq!((unknown.code, unknown.call_id), (Code::OutcomeUnknown, lost.call_id));
    assert_eq!(after.call("running", "{}").await.unwrap_err().code, Code::OutcomeUnknown);
    assert_eq!(after.executions(), 0);
    assert!(!after.call("free", "{}").await.unwrap().replayed);
    // And the one after that.
    let last = Desk::on(folder.path(), &[]).await;
    assert!(last.call("free", "{}").await.unwrap().replayed);
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_call_found_no_room_in_the_host_is_free_again() {
    let mut desk = Desk::new(&[]).await;
    Arc::get_mut(&mut desk.routing).unwrap().calls = Calls::new(1);
    let other = desk.routing.calls.enter().unwrap();
    assert_eq!(desk.call("k", "{}").await.unwrap_err().code, Code::Overloaded);
    drop(other);
    assert!(!desk.call("k", r#"{"other":1}"#).await.unwrap().replayed);
    assert_eq!((desk.executions(), desk.routing.calls.in_flight()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_would_be_forgotten_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journal");
    std::fs::write(&file, "no folder").unwrap();
    let keys = Keys::new(&Journal::open(&file).0);
    let desk = Desk::over(&[], keys).await;
    let failure = desk.call("k", "{}").await.unwrap_err();
    assert_eq!((failure.code, failure.delivery), (Code::Overloaded, Some(Delivery::Queued)));
    assert!(failure.detail.contains("journal"), "{}", failure.detail);
    assert_eq!(desk.executions(), 0);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "there is no host whose tasks these could be")]
fn large_arguments_are_read_beside_the_worker() {
    let large = RawValue::from_string(format!("\"{}\"", "x".repeat(3 << 20))).unwrap();
    let payload = Payload::Call { arguments: Some(large.into()), meta: None };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let told = runtime.block_on(async {
        tokio::spawn(async move {
            let (tell, told) = std::sync::mpsc::channel();
            tokio::spawn(async move { tell.send(()) });
            // The only worker is free for the other task.
            digest(&payload, |_| {
                told.recv_timeout(Duration::from_secs(20)).expect("it holds up the others");
                [7; 32]
            })
        })
        .await
    });
    assert_eq!(told.unwrap(), [7; 32]);
}
