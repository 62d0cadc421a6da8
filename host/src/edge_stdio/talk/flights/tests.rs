//! Requests of a client that reads late, or not at all. The runtime has one thread and nothing waits for a clock, so that
//! all that can go on has gone on after enough turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use wharf_plugin_api::Id;

use super::{Flights, LISTENS, Lane, MODERN};
use crate::edge_stdio::out::Out;
use crate::held::Held;
use crate::late;
use crate::mcp::{AnswerKind, Answered, Exchange};
use crate::tasks::Tasks;

const QUEUE: usize = 4;

struct Kit {
    flights: Flights,
    answers: mpsc::Receiver<Bytes>,
    begun: Arc<AtomicUsize>,
}

fn kit() -> Kit {
    let (out, answers) = Out::new(Held::default().taker("test"), QUEUE);
    Kit { flights: Flights::new(Tasks::default(), out), answers, begun: Arc::default() }
}

fn text(bytes: Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Says these things and then answers, once it may.
fn exchange(id: &Id, said: &'static [&'static str], may: Option<Arc<Notify>>) -> Exchange {
    let (out, events) = late::queue(8);
    let message = Bytes::from(format!("answer {}", id.as_str()));
    let answer = async move {
        for event in said {
            out.made().send(Bytes::from_static(event.as_bytes())).await.unwrap();
        }
        if let Some(may) = may {
            may.notified().await;
        }
        Answered { message: Some(message), kind: AnswerKind::Handled }
    };
    Exchange { events, answer: Box::pin(answer) }
}

impl Kit {
    async fn take(&self, lane: Lane, n: u64, said: &'static [&'static str], may: Option<Arc<Notify>>) {
        let (id, begun) = (Id::number(n), Arc::clone(&self.begun));
        let begin = {
            let id = id.clone();
            move || {
                begun.fetch_add(1, Ordering::SeqCst);
                exchange(&id, said, may)
            }
        };
        self.flights.take(lane, id, 10, begin).await;
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }
}

/// Until nothing goes on any more.
async fn settle() {
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_gets_nothing_more_done_and_every_answer_in_the_end() {
    let mut kit = kit();
    for n in 0..300 {
        kit.take(Lane::Modern, n, &[], None).await;
    }
    settle().await;
    assert_eq!(kit.begun(), MODERN + QUEUE, "only what was taken made room");
    let mut all = Vec::new();
    for _ in 0..300 {
        all.push(text(kit.answers.recv().await.unwrap()));
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 300);
    assert_eq!(kit.begun(), 300);
}

#[tokio::test]
async fn what_waits_can_be_cancelled_and_its_id_used_again() {
    let mut kit = kit();
    let may = Arc::new(Notify::new());
    for n in 0..=MODERN as u64 {
        kit.take(Lane::Modern, n, &[], Some(Arc::clone(&may))).await;
    }
    settle().await;
    assert_eq!(kit.begun(), MODERN, "the last one waits");
    kit.take(Lane::Modern, MODERN as u64, &[], None).await;
    let refused = text(kit.answers.recv().await.unwrap());
    assert!(refused.contains("-32600"), "{refused}");
    assert!(kit.flights.cancel(&Id::number(MODERN as u64)) && !kit.flights.cancel(&Id::number(999)));
    settle().await;
    assert!(!kit.flights.cancel(&Id::number(MODERN as u64)), "it is forgotten");
    kit.take(Lane::Modern, MODERN as u64, &[], None).await;
    may.notify_one();
    let (one, two) = (kit.answers.recv().await.unwrap(), kit.answers.recv().await.unwrap());
    assert!([&one, &two].contains(&&Bytes::from(format!("answer {MODERN}"))), "{one:?} {two:?}");
    assert_eq!(kit.begun(), MODERN + 1);
}

#[tokio::test]
async fn a_slow_reader_keeps_no_call_from_going_on() {
    let mut kit = kit();
    const SAID: [&str; 8] = ["1", "2", "3", "4", "5", "6", "7", "8"];
    let ended = Arc::new(Notify::new());
    struct Ends(Arc<Notify>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (ends, may) = (Ends(Arc::clone(&ended)), Arc::new(Notify::new()));
    let goes_on = Arc::clone(&may);
    let begin = move || {
        let Exchange { events, answer } = exchange(&Id::number(1), &SAID, Some(goes_on));
        let answer = Box::pin(async move {
            let answered = answer.await;
            drop(ends);
            answered
        });
        Exchange { events, answer }
    };
    kit.flights.take(Lane::Modern, Id::number(1), 10, begin).await;
    settle().await;
    may.notify_one();
    settle().await;
    let now = tokio::time::timeout(std::time::Duration::ZERO, ended.notified()).await;
    assert!(now.is_ok(), "the call waits for its client");
    for expected in SAID.into_iter().chain(["answer 1"]) {
        assert_eq!(text(kit.answers.recv().await.unwrap()), expected);
    }
}

#[tokio::test]
async fn subscriptions_take_no_place_of_calls_and_are_bounded_by_themselves() {
    let mut kit = kit();
    for n in 0..LISTENS as u64 {
        kit.take(Lane::Listen, n, &[], Some(Arc::default())).await;
    }
    settle().await;
    kit.take(Lane::Listen, 1000, &[], Some(Arc::default())).await;
    let refused = text(kit.answers.recv().await.unwrap());
    assert!(refused.contains("-32010"), "{refused}");
    kit.take(Lane::Modern, 1001, &[], None).await;
    assert_eq!(text(kit.answers.recv().await.unwrap()), "answer 1001");
    kit.flights.cancel(&Id::number(0));
    settle().await;
    kit.take(Lane::Listen, 1002, &[], None).await;
    assert_eq!(text(kit.answers.recv().await.unwrap()), "answer 1002");
}

#[tokio::test(start_paused = true)]
async fn who_has_no_answer_when_time_is_over_is_told() {
    let mut kit = kit();
    kit.take(Lane::Legacy, 1, &[], Some(Arc::default())).await;
    kit.take(Lane::Listen, 2, &[], Some(Arc::default())).await;
    kit.flights.finish(std::time::Duration::from_secs(5)).await;
    let (closed, late) = (text(kit.answers.recv().await.unwrap()), text(kit.answers.recv().await.unwrap()));
    assert!(closed.contains(r#""id":2"#) && closed.contains("complete"), "{closed}");
    assert!(late.contains(r#""id":1"#) && late.contains("-32010"), "{late}");
}

#[tokio::test]
async fn refusals_wait_for_room_and_none_is_lost() {
    let mut kit = kit();
    for n in 0..100 {
        kit.flights.say(Bytes::from(n.to_string())).await;
    }
    let mut all = Vec::new();
    for _ in 0..100 {
        all.push(text(kit.answers.recv().await.unwrap()).parse::<u32>().unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
}
