//! Calls that wait, under a paused clock: who gets them back, and what ends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use wharf_core::catalog::Face;
use wharf_core::{CallId, Code, InstanceNo, PluginId};
use wharf_plugin_api::{Delivery, Era, Notification, Reply, Request};

use super::{EXPIRY, KEPT, Live, Origin, Park, Passed};
use crate::late;
use crate::route::{Ask, Asks, CallEvent, Settled, asks};
use crate::tasks::Tasks;

/// A plugin's side of one call.
struct Plugin {
    asks: Asks,
    end: oneshot::Sender<&'static str>,
}

/// Counts calls that were dropped before their end.
struct Running(Arc<AtomicUsize>, bool);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_add(usize::from(!self.1), Ordering::SeqCst);
    }
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn settled(result: &str) -> Settled {
    Settled {
        call_id: CallId::new(1, 1),
        instance: InstanceNo(0),
        duration: Duration::ZERO,
        reply: Reply::Result(raw(result)),
        era: Era::Legacy,
        undeclared: Vec::new(),
        replayed: false,
    }
}

type Called = (Box<Live>, Plugin, late::Sender<CallEvent>);

fn call(cancelled: &Arc<AtomicUsize>) -> Called {
    call_with(cancelled, None)
}

fn call_with(cancelled: &Arc<AtomicUsize>, early: Option<&str>) -> Called {
    let (asks, asked) = asks();
    let (end, ended) = oneshot::channel();
    let (events, heard) = late::queue(8);
    let running = Running(Arc::clone(cancelled), false);
    let call = Box::pin(async move {
        let mut running = running;
        let result = ended.await.unwrap();
        running.1 = true;
        Ok(settled(result))
    });
    (
        Live::new(PluginId::new("p").unwrap(), 2, call, asked, Some(heard), early.map(raw)),
        Plugin { asks, end },
        events,
    )
}

impl Plugin {
    fn ask(&self, message: &str) -> oneshot::Receiver<Reply> {
        let (reply, answered) = oneshot::channel();
        let params = json!({ "message": message }).to_string();
        let request = Request { method: "elicitation/create".into(), params: Some(raw(&params).into()) };
        assert_eq!(self.asks.put(Ask { request, reply }).now_or_never(), Some(true));
        answered
    }
}

fn origin() -> Origin {
    Origin {
        principal: "one".into(),
        face: Face::All,
        method: "tools/call".into(),
        params: Some(raw(r#"{"name":"t","arguments":{"a":1}}"#).into()),
    }
}

async fn pass(park: &Park, live: Box<Live>) -> Passed {
    park.pass(live, origin, &mut |_| {}).await
}

/// What the client is asked, and the token.
fn asked(passed: Passed) -> (Value, String) {
    let Passed::Asked(result) = passed else { panic!("{passed:?}") };
    let result: Value = serde_json::from_str(result.get()).unwrap();
    assert_eq!(result["resultType"], "input_required");
    (result["inputRequests"].clone(), result["requestState"].as_str().unwrap().to_owned())
}

fn result(passed: Passed) -> String {
    match passed {
        Passed::Ended(Ok(Settled { reply: Reply::Result(result), .. })) => result.get().to_owned(),
        other @ (Passed::Ended(_) | Passed::Asked(_)) => panic!("{other:?}"),
    }
}

async fn text(answered: oneshot::Receiver<Reply>) -> String {
    match answered.await.unwrap() {
        Reply::Result(result) => result.get().to_owned(),
        Reply::Error(error) => error.to_string(),
    }
}

fn nothing_dropped() -> Arc<AtomicUsize> {
    Arc::default()
}

#[tokio::test(start_paused = true)]
async fn a_question_ends_the_request_and_its_answer_goes_on_with_the_call() {
    let (park, cancelled) = (Park::new(Tasks::default()), nothing_dropped());
    let (live, plugin, _events) = call(&cancelled);
    let answer = plugin.ask("who?");
    let (questions, token) = asked(pass(&park, live).await);
    assert_eq!(questions, json!({"1": {"method": "elicitation/create", "params": {"message": "who?"}}}));
    assert!(token.starts_with("w1.") && park.knows(&token));
    assert!(!plugin.asks.is_attended(), "its client left with the question");

    let mut live = park.resume(&token, &origin()).await.unwrap();
    live.answer(&raw(r#"{"1":{"action":"accept","content":{"x":1.0}},"other":{}}"#));
    assert_eq!(text(answer).await, r#"{"action":"accept","content":{"x":1.0}}"#);
    plugin.end.send("{\"done\" : 1}").unwrap();
    assert_eq!(result(pass(&park, live).await), "{\"done\" : 1}");
    assert!(plugin.asks.is_attended(), "it came back");
    assert_eq!(cancelled.load(Ordering::SeqCst), 0);
    assert!(park.0.seats().is_empty());
}

#[tokio::test(start_paused = true)]
async fn questions_that_come_together_are_asked_together_and_late_ones_with_the_next() {
    let (park, cancelled) = (Park::new(Tasks::default()), nothing_dropped());
    let (live, plugin, _events) = call(&cancelled);
    let mut answers = vec![plugin.ask("a"), plugin.ask("b")];
    let asks = plugin.asks.clone();
    let passing = pass(&park, live);
    let later = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        answers.push(Plugin { asks, end: oneshot::channel().0 }.ask("c"));
    };
    let (passed, ()) = tokio::join!(passing, later);
    let (questions, first) = asked(passed);
    assert_eq!(questions.as_object().unwrap().keys().collect::<Vec<_>>(), ["1", "2", "3"]);
    let fourth = plugin.ask("d");
    let mut live = park.resume(&first, &origin()).await.unwrap();
    live.answer(&raw(r#"{"1":{"action":"decline"},"2":7,"3":{"action":"decline"}}"#));
    // What did not fit is asked again, with what came while nobody was there, under another token.
    let (questions, second) = asked(pass(&park, live).await);
    assert_eq!(questions.as_object().unwrap().keys().collect::<Vec<_>>(), ["2", "4"]);
    assert_ne!(first, second);
    assert_eq!(park.resume(&first, &origin()).await.unwrap_err().code, -32602);
    let mut live = park.resume(&second, &origin()).await.unwrap();
    live.answer(&raw(r#"{"2":{"action":"cancel"},"4":{"action":"cancel"}}"#));
    assert_eq!(text(fourth).await, r#"{"action":"cancel"}"#);
    plugin.end.send("{}").unwrap();
    assert_eq!(result(pass(&park, live).await), "{}");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_never_stops_asking_is_heard_all_the_same() {
    let (park, cancelled) = (Park::new(Tasks::default()), nothing_dropped());
    let (live, plugin, _events) = call(&cancelled);
    let begun = tokio::time::Instant::now();
    let mut answers = Vec::new();
    let asking = async {
        loop {
            answers.push(plugin.ask("and?"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        passed = pass(&park, live) => drop(asked(passed)),
        () = asking => unreachable!(),
    }
    assert!(begun.elapsed() <= super::live::PATIENCE + Duration::from_millis(10), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_token_is_good_for_its_own_request_alone_and_trying_does_not_spend_it() {
    let (park, cancelled) = (Park::new(Tasks::default()), nothing_dropped());
    let (live, plugin, _events) = call(&cancelled);
    let _answer = plugin.ask("who?");
    let (_, token) = asked(pass(&park, live).await);
    let params = |json: &str| Some(Arc::from(raw(json)));
    let others = [
        Origin { principal: "two".into(), ..origin() },
        Origin { face: Face::Plugin(PluginId::new("p").unwrap()), ..origin() },
        Origin { method: "prompts/get".into(), ..origin() },
        Origin { params: params(r#"{"name":"u","arguments":{"a":1}}"#), ..origin() },
        Origin { params: params(r#"{"name":"t","arguments":{"a":2}}"#), ..origin() },
    ];
    for other in &others {
        assert_eq!(park.resume(&token, other).await.unwrap_err().code, -32602, "{other:?}");
    }
    for tampered in [format!("{token}-TAMPERED"), token.to_uppercase(), "w1.".to_owned(), String::new()] {
        assert_eq!(park.resume(&tampered, &origin()).await.unwrap_err().code, -32602, "{tampered}");
    }
    assert_eq!(cancelled.load(Ordering::SeqCst), 0);
    park.resume(&token, &origin()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_two_who_come_at_once_one_gets_the_call() {
    let (park, cancelled) = (Park::new(Tasks::default()), nothing_dropped());
    let (live, plugin, _events) = call(&cancelled);
    let _answer = plugin.ask("who?");
    let (_, token) = asked(pass(&park, live).await);
    let (right, wrong) = (origin(), origin());
    let (one, two) = tokio::join!(park.resume(&token, &right), park.resume(&token, &wrong));
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
    assert_eq!(cancelled.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_coming_cancels_the_call_once() {
    let (park, cancelled) = (Park::new(Tasks::default()), nothing_dropped());
    let (live, plugin, _events) = call(&cancelled);
    let answer = plugin.ask("who?");
    let (_, token) = asked(pass(&park, live).await);
    tokio::time::sleep(EXPIRY - Duration::from_secs(1)).await;
    assert_eq!(cancelled.load(Ordering::SeqCst), 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(cancelled.load(Ordering::SeqCst), 1);
    assert!(answer.await.is_err(), "the question was dropped, which refuses it");
    assert_eq!(park.resume(&token, &origin()).await.unwrap_err().code, -32602);
    assert!(park.0.seats().is_empty());
    assert_eq!(cancelled.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_on_with_a_call_and_leaves_cancels_it() {
    let (park, cancelled) = (Park::new(Tasks::default()), nothing_dropped());
    let (live, plugin, _events) = call(&cancelled);
    let _answer = plugin.ask("who?");
    let (_, token) = asked(pass(&park, live).await);
    let mut live = park.resume(&token, &origin()).await.unwrap();
    live.answer(&raw(r#"{"1":{"action":"cancel"}}"#));
    assert!(tokio::time::timeout(Duration::from_secs(1), pass(&park, live)).await.is_err());
    assert_eq!(cancelled.load(Ordering::SeqCst), 1);
    // Likewise one that leaves before it has the call in hand.
    let (live, plugin, _events) = call(&cancelled);
    let _answer = plugin.ask("who?");
    let (_, token) = asked(pass(&park, live).await);
    let (here, tasks) = (origin(), &park.0.tasks);
    let mut coming = Box::pin(park.resume(&token, &here));
    assert!(futures_util::poll!(&mut coming).is_pending());
    drop(coming);
    tasks.end(Duration::from_secs(1)).await;
    assert_eq!(cancelled.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_full_table_refuses_the_question_and_not_the_call() {
    let (park, cancelled) = (Park::bounded(Tasks::default(), 1), nothing_dropped());
    let (first, waiting, _events) = call(&cancelled);
    let _answer = waiting.ask("first");
    asked(pass(&park, first).await);
    let (second, plugin, _events) = call(&cancelled);
    let refused = plugin.ask("second");
    let ending = async {
        let refused = text(refused).await;
        plugin.end.send("{}").unwrap();
        refused
    };
    let (passed, refused) = tokio::join!(pass(&park, second), ending);
    assert!(refused.contains("too many calls wait"), "{refused}");
    assert_eq!(result(passed), "{}");
    assert_eq!(cancelled.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn of_too_many_calls_of_a_plugin_the_one_that_waited_longest_is_cancelled() {
    let (park, cancelled) = (Park::new(Tasks::default()), nothing_dropped());
    let (mut tokens, mut plugins) = (Vec::new(), Vec::new());
    for n in 0..3 {
        let (live, plugin, events) = call(&cancelled);
        let answer = plugin.ask("who?");
        plugins.push((plugin, events, answer));
        tokens.push(asked(pass(&park, live).await).1);
        tokio::task::yield_now().await;
        assert_eq!(
            (park.waiting(), cancelled.load(Ordering::SeqCst)),
            if n < 2 { (n + 1, 0) } else { (2, 1) }
        );
    }
    assert_eq!(park.resume(&tokens[0], &origin()).await.unwrap_err().code, -32602);
    for token in &tokens[1..] {
        park.resume(token, &origin()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ends_while_its_client_is_away_is_told_when_it_comes() {
    let (park, cancelled) = (Park::new(Tasks::default()), nothing_dropped());
    let (live, plugin, events) = call(&cancelled);
    let _answer = plugin.ask("who?");
    let (_, token) = asked(pass(&park, live).await);
    let progress = Notification { method: "notifications/progress".into(), params: None };
    events.try_send(CallEvent::Notification(progress)).unwrap();
    assert_eq!(park.waiting(), 1);
    plugin.end.send("{\"gave\":\"up\"}").unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(park.waiting(), 0, "what the host still waits for at its end");
    let live = park.resume(&token, &origin()).await.unwrap();
    let mut heard = 0;
    let passed = park.pass(live, origin, &mut |_| heard += 1).await;
    assert_eq!((result(passed), heard), ("{\"gave\":\"up\"}".to_owned(), 0));
}

#[tokio::test(start_paused = true)]
async fn a_question_that_was_taken_back_is_not_asked() {
    let (park, cancelled) = (Park::new(Tasks::default()), nothing_dropped());
    let (live, plugin, _events) = call(&cancelled);
    drop(plugin.ask("never mind"));
    plugin.end.send("{}").unwrap();
    assert_eq!(result(pass(&park, live).await), "{}");
}

#[tokio::test(start_paused = true)]
async fn answers_that_came_first_spare_the_question() {
    let (park, cancelled) = (Park::new(Tasks::default()), nothing_dropped());
    let early = r#"{"1":{"action":"accept"},"2":12345,"unknown":{}}"#;
    let (live, plugin, _events) = call_with(&cancelled, Some(early));
    let (first, _second) = (plugin.ask("one"), plugin.ask("two"));
    let (questions, _) = asked(pass(&park, live).await);
    assert_eq!(questions.as_object().unwrap().keys().collect::<Vec<_>>(), ["2"]);
    assert_eq!(text(first).await, r#"{"action":"accept"}"#);
}

#[tokio::test(start_paused = true)]
async fn what_is_said_before_the_end_is_heard_before_it() {
    let (park, cancelled) = (Park::new(Tasks::default()), nothing_dropped());
    let (live, plugin, events) = call(&cancelled);
    for _ in 0..5 {
        let progress = Notification { method: "notifications/progress".into(), params: None };
        events.try_send(CallEvent::Notification(progress)).unwrap();
    }
    plugin.end.send("{}").unwrap();
    let mut heard = 0;
    result(park.pass(live, origin, &mut |_| heard += 1).await);
    assert_eq!(heard, 5);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_host_cancels_what_waits() {
    let tasks = Tasks::default();
    let (park, cancelled) = (Park::new(tasks.clone()), nothing_dropped());
    let (live, plugin, _events) = call(&cancelled);
    let _answer = plugin.ask("who?");
    asked(pass(&park, live).await);
    assert_eq!(tasks.end(Duration::from_secs(1)).await, 0);
    assert_eq!(cancelled.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_is_there_for_are_kept_as_far_as_there_is_room() {
    let (park, cancelled) = (Park::new(Tasks::default()), nothing_dropped());
    let most = u32::try_from(KEPT - 60).unwrap();
    let full = Arc::clone(&park.0.room).try_acquire_many_owned(most).unwrap();
    let mut outcomes = Vec::new();
    for answer in ["{\"n\":\"0123456789012345678901234567890123456789\"}"; 2] {
        let (live, plugin, _events) = call(&cancelled);
        let question = plugin.ask("who?");
        let (_, token) = asked(pass(&park, live).await);
        plugin.end.send(answer).unwrap();
        // Taken back: it has ended.
        assert!(question.await.is_err());
        // The first is there until its client comes; for the second there is no room.
        assert_eq!(park.0.room.available_permits(), 60 - answer.len());
        outcomes.push(token);
    }
    let mut passed = Vec::new();
    for token in outcomes {
        let live = park.resume(&token, &origin()).await.unwrap();
        passed.push(pass(&park, live).await);
    }
    let Some(Passed::Ended(Err(failure))) = passed.pop() else { panic!("{passed:?}") };
    assert_eq!((failure.code, failure.delivery), (Code::OutcomeUnknown, Some(Delivery::Answered)));
    assert!(failure.detail.contains("48 bytes"), "{}", failure.detail);
    assert!(passed.into_iter().all(|passed| result(passed).contains("0123")));
    drop(full);
    assert_eq!(park.0.room.available_permits(), KEPT);
}
