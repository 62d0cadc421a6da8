//! Bounds in bytes, told by the counters.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, advance, timeout};

use super::taker::{GRACE, STUCK};
use super::{Events, Held, Taker};
use crate::tasks::Tasks;

const KIB: usize = 1 << 10;

fn message(size: usize) -> Bytes {
    Bytes::from(vec![b'x'; size])
}

/// Time for nothing but what is due.
async fn is_cut(taker: &Taker) -> bool {
    timeout(Duration::ZERO, taker.must_go()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_message_counts_until_its_last_part_is_gone() {
    let held = Held::new(100, 100);
    let taker = held.taker("test");
    let whole = taker.hold(Bytes::from_static(b"0123456789"));
    assert_eq!(&whole[..], b"0123456789");
    let part = whole.slice(9..);
    drop(whole);
    assert_eq!((held.bytes(), taker.bytes()), (10, 10));
    drop(part);
    assert_eq!((held.bytes(), taker.bytes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_more_than_its_bound_waiting_has_a_moment_and_is_cut_off() {
    let held = Held::new(usize::MAX, 100);
    let taker = held.taker("test");
    let kept = taker.hold(message(101));
    assert!(!is_cut(&taker).await);
    advance(GRACE - Duration::from_millis(10)).await;
    drop(kept);
    advance(GRACE).await;
    assert!(!is_cut(&taker).await, "it took it in time");
    let _kept = taker.hold(message(101));
    let began = Instant::now();
    // A trickle does not help: it is what waits that counts.
    taker.took(Instant::now());
    taker.must_go().await;
    assert_eq!((began.elapsed(), held.cut_off()), (GRACE, 1));
}

#[tokio::test(start_paused = true)]
async fn a_bound_that_is_passed_while_it_is_watched_is_seen() {
    let held = Held::new(usize::MAX, 100);
    let taker = held.taker("test");
    let watched = {
        let taker = Arc::clone(&taker);
        Tasks::default().spawn(tracing::Span::none(), async move { taker.must_go().await })
    };
    tokio::task::yield_now().await;
    let _kept = taker.hold(message(200));
    watched.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_of_all_the_slowest_goes_and_who_holds_little_last() {
    let held = Held::new(1000 * KIB, 400 * KIB);
    let [small, slow, fast] = ["small", "slow", "fast"].map(|what| held.taker(what));
    let _small = small.hold(message(KIB));
    advance(Duration::from_secs(1)).await;
    let _slow = slow.hold(message(400 * KIB));
    advance(Duration::from_secs(1)).await;
    let _fast = fast.hold(message(400 * KIB));
    fast.took(Instant::now());
    assert_eq!(held.cut_off(), 0);
    let last = held.taker("last");
    let _last = last.hold(message(300 * KIB));
    assert_eq!([is_cut(&slow).await, is_cut(&fast).await, is_cut(&small).await], [true, false, false]);
    // What waits for one that is cut off is on its way out: nobody else goes for it.
    let _more = last.hold(message(100 * KIB));
    assert_eq!(held.cut_off(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_beyond_its_own_bound_goes_first_however_busy_it_looks() {
    let held = Held::new(1000 * KIB, 400 * KIB);
    let (stopped, greedy) = (held.taker("stopped"), held.taker("greedy"));
    let _stopped = stopped.hold(message(400 * KIB));
    advance(Duration::from_secs(60)).await;
    let _greedy = greedy.hold(message(601 * KIB));
    assert_eq!((is_cut(&greedy).await, is_cut(&stopped).await), (true, false));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_waits_is_stuck_after_a_while_and_one_that_goes_on_is_not() {
    let taker = Held::default().taker("test");
    assert!(timeout(STUCK * 10, taker.stuck(STUCK)).await.is_err(), "nothing waits");
    taker.waits();
    advance(STUCK / 2).await;
    taker.took(Instant::now());
    taker.waits();
    let began = Instant::now();
    taker.stuck(STUCK).await;
    assert!(began.elapsed() >= STUCK && began.elapsed() < STUCK * 2);
}

#[tokio::test]
async fn what_is_said_on_the_way_is_bounded_in_bytes_and_the_newest_is_what_is_lost() {
    let held = Held::new(3 << 20, 3 << 20);
    let (events, mut said) = Events::new(&held, 64);
    assert!(events.try_send(message(2 << 20)), "one of any size");
    assert!(!events.try_send(message(KIB)));
    assert_eq!(held.bytes(), 2 << 20);
    drop(said.recv().await);
    let sent = (0..64).filter(|_| events.try_send(message(100 * KIB))).count();
    assert_eq!(sent, 10);
    let (others, _waiting) = Events::new(&held, 64);
    assert!(!others.try_send(message(2100 * KIB)), "nor is there more room than for all");
    assert_eq!(held.bytes(), sent * 100 * KIB);
    drop(said);
    assert!(!events.try_send(message(1)));
}
