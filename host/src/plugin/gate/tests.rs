use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance};
use wharf_plugin_api::Caller;

use super::{CallerKey, Crowd, Gate, Pass, Refused};
use crate::alarm::Alarm;
use crate::plugin::asks::{Asks, asks};
use crate::tasks::Tasks;

const A: CallerKey = CallerKey((1 << 32) | 1);
const B: CallerKey = CallerKey((2 << 32) | 2);
const SECOND: Duration = Duration::from_secs(1);

fn gate(concurrency: u32, queue: u32) -> Arc<Gate> {
    let gate = Gate::new(&Alarm::new(&Tasks::default()));
    gate.configure(concurrency, queue);
    gate
}

fn enter(gate: &Gate, caller: CallerKey) -> impl Future<Output = Result<Pass<'_>, Refused>> + Unpin {
    Box::pin(gate.enter(caller, Instant::now(), Instant::now() + 5 * SECOND, SECOND))
}

/// Begins to wait.
fn waits<'a>(gate: &'a Gate, caller: CallerKey) -> impl Future<Output = Result<Pass<'a>, Refused>> + Unpin {
    let mut entering = enter(gate, caller);
    assert!((&mut entering).now_or_never().is_none(), "it has to wait");
    entering
}

fn crowd(gate: &Gate) -> (u32, u32) {
    let Crowd { waiting, running, .. } = gate.crowd();
    (running, waiting)
}

#[tokio::test(start_paused = true)]
async fn so_many_run_so_many_wait_and_the_next_is_turned_away_at_once() {
    let gate = gate(2, 1);
    let (first, _second) = (enter(&gate, A).await.unwrap(), enter(&gate, A).await.unwrap());
    assert!(gate.try_enter(A).is_none());
    let third = waits(&gate, A);
    assert_eq!(crowd(&gate), (2, 1));
    assert_eq!(enter(&gate, A).await.unwrap_err(), Refused::Full { queue: 1 });
    drop(first);
    assert!(gate.try_enter(A).is_none(), "nobody overtakes");
    let third = third.await.unwrap();
    assert_eq!(crowd(&gate), (2, 0));
    drop(third);
    assert_eq!(crowd(&gate), (1, 0));
    assert!(gate.try_enter(A).is_some());
}

#[tokio::test(start_paused = true)]
async fn callers_take_turns() {
    let gate = gate(1, 10);
    let held = enter(&gate, A).await.unwrap();
    let (mut a1, mut a2, mut b) = (waits(&gate, A), waits(&gate, A), waits(&gate, B));
    drop(held);
    drop((&mut a1).now_or_never().expect("who came first").unwrap());
    assert!((&mut a2).now_or_never().is_none());
    drop((&mut b).now_or_never().expect("the other caller").unwrap());
    drop((&mut a2).now_or_never().unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn who_has_half_of_the_places_lets_the_other_one_go_first() {
    let gate = gate(4, 100);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(enter(&gate, A).await.unwrap());
    }
    let (mut a, mut b1, mut b2, mut b3) =
        (waits(&gate, A), waits(&gate, B), waits(&gate, B), waits(&gate, B));
    drop(held.pop());
    let _b1 = (&mut b1).now_or_never().expect("A has its part").unwrap();
    // Now each has its part, or more: by turns.
    drop(held.pop());
    let b2 = (&mut b2).now_or_never().expect("B has one of two").unwrap();
    drop(held.pop());
    let _a = (&mut a).now_or_never().expect("A has one of two").unwrap();
    assert!((&mut b3).now_or_never().is_none());
    drop(b2);
    (&mut b3).now_or_never().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_of_one_makes_room_for_another_up_to_its_share() {
    let gate = gate(1, 8);
    let _held = enter(&gate, A).await.unwrap();
    let mut all: Vec<_> = (0..8).map(|_| waits(&gate, A)).collect();
    assert_eq!(enter(&gate, A).await.unwrap_err(), Refused::Full { queue: 8 });
    let _b = (waits(&gate, B), waits(&gate, B));
    let away = Refused::Share { most: 2, queue: 8 };
    assert_eq!(enter(&gate, B).await.unwrap_err(), away);
    let sent_away = all.iter_mut().map(|a| a.now_or_never().map(Result::unwrap_err));
    assert_eq!(sent_away.collect::<Vec<_>>()[4..], [None, None, Some(away), Some(away)], "the last two");
    assert_eq!(crowd(&gate), (1, 8));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_served_late() {
    let gate = gate(1, 9);
    let held = enter(&gate, A).await.unwrap();
    let mut late = waits(&gate, A);
    advance(4 * SECOND).await;
    let mut next = waits(&gate, A);
    // Its time is over, and it has not looked at the clock yet.
    advance(SECOND).await;
    drop(held);
    assert_eq!((&mut late).now_or_never().unwrap().unwrap_err(), Refused::Waited);
    let pass = (&mut next).now_or_never().expect("it goes to the next").unwrap();
    assert_eq!(pass.waited(), SECOND);
    drop(pass);
    assert_eq!(crowd(&gate), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_does_not_come_is_given_up_in_time() {
    let gate = gate(1, 9);
    let _held = enter(&gate, A).await.unwrap();
    let begun = Instant::now();
    assert_eq!(enter(&gate, B).await.unwrap_err(), Refused::Waited);
    assert_eq!((begun.elapsed(), crowd(&gate)), (5 * SECOND, (1, 0)));
}

#[tokio::test(start_paused = true)]
async fn each_waits_its_own_time_whatever_that_of_the_others_is() {
    let gate = gate(1, 9);
    let _held = enter(&gate, A).await.unwrap();
    let begun = Instant::now();
    let given_up = |caller, after: u32, patience: u32| {
        let entering = gate.enter(caller, begun, begun + after * SECOND, patience * SECOND);
        async move { (entering.await.unwrap_err(), begun.elapsed().as_secs()) }
    };
    let (long, short, past, late) =
        tokio::join!(given_up(A, 9, 1), given_up(B, 3, 90), given_up(A, 0, 90), async {
            tokio::time::sleep(2 * SECOND).await;
            given_up(B, 5, 1).await
        },);
    assert_eq!([long.1, short.1, past.1, late.1], [9, 3, 0, 5]);
    assert!([long.0, short.0, past.0, late.0].iter().all(|refused| *refused == Refused::Waited));
    assert_eq!(crowd(&gate), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn who_gets_no_turn_in_time_has_the_call_sent_away_that_has_asked_longest_and_each_only_one() {
    let gate = gate(2, 9);
    let _held = (enter(&gate, A).await.unwrap(), enter(&gate, A).await.unwrap());
    let [one, two, three] = [(); 3].map(|()| asks().0);
    let ask = |asks| gate.asking().ask(asks, 3, SECOND).unwrap();
    let _asked = (ask(&one), ask(&two));
    let gone = |asks: &Asks| asks.sent_away().now_or_never().is_some();
    let _first = waits(&gate, A);
    tokio::time::sleep(SECOND / 2).await;
    let _second = waits(&gate, B);
    let _third = ask(&three);
    tokio::time::sleep(SECOND / 4).await;
    assert!(!gone(&one), "it is left in peace");
    tokio::time::sleep(SECOND / 2).await;
    assert!(gone(&one) && !gone(&two), "by the first that waits");
    tokio::time::sleep(SECOND / 2).await;
    assert!(gone(&two) && !gone(&three), "by the second");
    tokio::time::sleep(2 * SECOND).await;
    assert!(!gone(&three), "each has sent one away");
}

#[tokio::test(start_paused = true)]
async fn who_asks_later_is_left_in_peace_for_as_long() {
    let gate = gate(1, 9);
    let _held = enter(&gate, A).await.unwrap();
    let asks = asks().0;
    let _waits = waits(&gate, A);
    tokio::time::sleep(3 * SECOND / 2).await;
    let _asked = gate.asking().ask(&asks, 3, SECOND).unwrap();
    tokio::time::sleep(SECOND / 2).await;
    assert!(asks.sent_away().now_or_never().is_none());
    tokio::time::sleep(SECOND).await;
    assert!(asks.sent_away().now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_leaves_no_gap() {
    let gate = gate(1, 9);
    let held = enter(&gate, A).await.unwrap();
    let (gone, in_the_moment, mut last) = (waits(&gate, A), waits(&gate, A), waits(&gate, A));
    drop(gone);
    assert_eq!(crowd(&gate), (1, 2));
    drop(held);
    // Its turn has come, and it has not noticed.
    drop(in_the_moment);
    drop((&mut last).now_or_never().expect("the place is handed on").unwrap());
    assert_eq!(crowd(&gate), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn new_bounds_hold_from_the_next_call_on() {
    let gate = gate(1, 9);
    let mut held = vec![enter(&gate, A).await.unwrap()];
    let mut waiting: Vec<_> = (0..4).map(|_| waits(&gate, A)).collect();
    gate.configure(3, 9);
    for entering in waiting.drain(..2) {
        held.push(entering.now_or_never().expect("there are places now").unwrap());
    }
    assert_eq!(crowd(&gate), (3, 2));
    gate.configure(1, 0);
    held.truncate(1);
    assert_eq!(crowd(&gate), (1, 2), "two places are gone");
    assert_eq!(enter(&gate, A).await.unwrap_err(), Refused::Full { queue: 0 });
    held.clear();
    for entering in waiting {
        drop(entering.now_or_never().expect("one after the other").unwrap());
    }
    assert_eq!(crowd(&gate), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_time_until_a_place_is_free_is_reckoned_from_what_calls_took() {
    let gate = gate(2, 9);
    assert_eq!(gate.likely_free_in(), None);
    gate.pace.took(Duration::from_millis(300));
    assert_eq!(gate.likely_free_in(), Some(Duration::from_millis(300)));
    let _held = (enter(&gate, A).await.unwrap(), enter(&gate, A).await.unwrap());
    let _waiting: Vec<_> = (0..5).map(|_| waits(&gate, A)).collect();
    assert_eq!(gate.likely_free_in(), Some(Duration::from_millis(900)), "two rounds go first");
}

/// Threads that come, wait, go away and leave, at random: never more run than may, and nothing is left in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_place_is_lost_or_doubled() {
    const PLACES: u32 = 3;
    let (gate, inside) = (gate(PLACES, 6), Arc::new(AtomicU32::new(0)));
    let (served, refused) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut tasks = JoinSet::new();
    for caller in 0..12u64 {
        let (gate, inside) = (Arc::clone(&gate), Arc::clone(&inside));
        let (served, refused) = (Arc::clone(&served), Arc::clone(&refused));
        tasks.spawn(async move {
            for round in 0..500u64 {
                let patience = Duration::from_micros(caller * round % 700);
                let caller = CallerKey(((caller % 4 + 1) << 32) | (caller % 4));
                let (now, until) = (Instant::now(), Instant::now() + SECOND);
                match tokio::time::timeout(patience, gate.enter(caller, now, until, SECOND)).await {
                    Ok(Ok(_pass)) => {
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < PLACES);
                        tokio::task::yield_now().await;
                        inside.fetch_sub(1, Ordering::SeqCst);
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(Err(_)) | Err(_) => {
                        refused.fetch_add(1, Ordering::Relaxed);
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert_eq!(crowd(&gate), (0, 0));
    assert_eq!((gate.shares.of(A), gate.shares.of(B)), (0, 0));
    assert!(served.load(Ordering::Relaxed) > 0 && refused.load(Ordering::Relaxed) > 0);
}

/// A bound that goes down and up while threads come and leave: in the end as many run as may.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_place_is_lost_when_the_bound_changes() {
    const CALLS: u32 = 16;
    for round in 0..300 {
        let (gate, mut threads, mut waits) = (gate(4, 64), JoinSet::new(), JoinSet::new());
        for _ in 0..4 {
            let (gate, held) = (Arc::clone(&gate), gate.try_enter(A).unwrap().into_held());
            threads.spawn(async move { gate.leave(held.unwrap()) });
        }
        let (entered, comes) = mpsc::channel(1);
        for caller in 1..=CALLS {
            let (gate, entered) = (Arc::clone(&gate), entered.clone());
            waits.spawn(async move {
                let caller = CallerKey(u64::from(caller) << 32);
                let entering = gate.enter(caller, Instant::now(), Instant::now() + 60 * SECOND, SECOND);
                drop(entered);
                entering.await.unwrap().into_held().unwrap()
            });
        }
        drop(entered);
        let (changes, bound) = (Arc::clone(&gate), 4 + round % 3);
        threads.spawn(async move {
            for bound in [1, 4, 2, bound] {
                changes.configure(bound, 64);
            }
        });
        threads.join_all().await;
        all(comes).await;
        assert_eq!(crowd(&gate), (bound, CALLS - bound), "round {round}");
        gate.configure(CALLS, 64);
        while let Some(held) = waits.join_next().await {
            gate.leave(held.unwrap());
        }
        assert_eq!(crowd(&gate), (0, 0));
    }
}

/// Waits until nobody says anything any more.
async fn all(mut words: mpsc::Receiver<()>) {
    let ended = async { while words.recv().await.is_some() {} };
    tokio::time::timeout(30 * SECOND, ended).await.expect("all have come");
}

#[tokio::test(start_paused = true)]
async fn who_is_dropped_before_it_was_looked_at_gives_back_what_it_had() {
    let gate = gate(1, 9);
    drop(enter(&gate, A));
    assert_eq!(crowd(&gate), (0, 0));
    let held = enter(&gate, A).await.unwrap();
    let (left, mut next) = (enter(&gate, A), waits(&gate, B));
    assert_eq!(crowd(&gate), (1, 2));
    drop(left);
    assert_eq!(crowd(&gate), (1, 1));
    drop(held);
    drop((&mut next).now_or_never().expect("the next one").unwrap());
    assert_eq!(crowd(&gate), (0, 0));
}

#[test]
fn a_caller_is_its_principal_and_its_session() {
    let of = |principal: &str, session: Option<&str>| {
        CallerKey::of(&Caller { session: session.map(Into::into), ..Caller::new(principal) })
    };
    assert_eq!(of("token", Some("s")), of("token", Some("s")));
    let all = [of("token", None), of("token", Some("")), of("token", Some("s")), of("local", Some("s"))];
    for (n, one) in all.iter().enumerate() {
        assert!(all[..n].iter().all(|other| other != one));
    }
}
