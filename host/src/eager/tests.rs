use std::future::poll_fn;
use std::panic::catch_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::{Eager, eagerly};
use crate::near;
use crate::woken::Woken;

/// Counts its polls, and ends with the word that it is sent.
fn counted(polls: &Arc<AtomicUsize>) -> (oneshot::Sender<u8>, Eager<u8>) {
    let (sender, mut word) = oneshot::channel();
    let polls = Arc::clone(polls);
    let future = poll_fn(move |cx| {
        polls.fetch_add(1, Ordering::Relaxed);
        word.poll_unpin(cx).map(|word| word.unwrap_or(0))
    });
    (sender, Eager::new(Box::pin(future)))
}

/// What stands for the host's own runtime.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn poll<T: Send + 'static>(eager: &mut Eager<T>, waker: &Waker) -> Poll<T> {
    pin!(eager).poll(&mut Context::from_waker(waker))
}

#[test]
fn it_is_polled_where_it_is_woken_and_its_task_hears_of_the_end_alone() {
    let runtime = runtime();
    let _within = runtime.enter();
    let (task, waker) = Woken::task();
    let (first, turn) = oneshot::channel::<oneshot::Receiver<u8>>();
    let (word, told) = oneshot::channel();
    let mut eager = Eager::new(Box::pin(async move { turn.await.unwrap().await.unwrap() }));
    assert!(poll(&mut eager, &waker).is_pending());
    eagerly(|| first.send(told)).unwrap();
    assert_eq!(task.times(), 0, "it went on without it");
    eagerly(|| word.send(7)).unwrap();
    assert_eq!((task.times(), poll(&mut eager, &waker)), (1, Poll::Ready(7)));
}

#[test]
fn who_does_not_say_so_wakes_its_task() {
    let runtime = runtime();
    let _within = runtime.enter();
    let ((task, waker), polls) = (Woken::task(), Arc::default());
    let (word, mut eager) = counted(&polls);
    assert!(poll(&mut eager, &waker).is_pending());
    word.send(7).unwrap();
    assert_eq!((task.times(), polls.load(Ordering::Relaxed)), (1, 1));
    assert_eq!(poll(&mut eager, &waker), Poll::Ready(7));
}

#[test]
fn a_serving_thread_beside_the_hosts_own_polls_nobody_and_one_without_a_runtime_neither() {
    let runtime = runtime();
    for (number, is_within) in [(1, true), (0, false), (0, true)] {
        let ((task, waker), polls) = (Woken::task(), Arc::default());
        let (word, mut eager) = counted(&polls);
        assert!(poll(&mut eager, &waker).is_pending());
        let elsewhere = || {
            near::belongs_to(number);
            let _within = is_within.then(|| runtime.enter());
            eagerly(|| word.send(7)).unwrap();
        };
        std::thread::scope(|scope| scope.spawn(elsewhere).join().unwrap());
        let is_polled = number == 0 && is_within;
        assert_eq!((task.times(), polls.load(Ordering::Relaxed)), (1, 1 + usize::from(is_polled)));
    }
}

#[test]
fn one_that_is_polled_schedules_whom_it_wakes() {
    let runtime = runtime();
    let _within = runtime.enter();
    let ((task, waker), polls) = (Woken::task(), Arc::default());
    let (word, mut next) = counted(&polls);
    assert!(poll(&mut next, &waker).is_pending());
    let (begin, begun) = oneshot::channel::<()>();
    let mut first = Eager::new(Box::pin(async move {
        begun.await.unwrap();
        eagerly(|| word.send(7)).unwrap();
        std::future::pending::<()>().await;
    }));
    assert!(poll(&mut first, Waker::noop()).is_pending());
    eagerly(|| begin.send(())).unwrap();
    assert_eq!((task.times(), polls.load(Ordering::Relaxed)), (1, 1));
}

#[test]
fn one_that_waits_for_the_end_of_another_is_scheduled() {
    let runtime = runtime();
    let _within = runtime.enter();
    let ((task, waker), polls) = (Woken::task(), Arc::default());
    let (word, inner) = counted(&polls);
    let mut outer = Eager::new(Box::pin(inner));
    assert!(poll(&mut outer, &waker).is_pending());
    eagerly(|| word.send(7)).unwrap();
    assert_eq!((task.times(), polls.load(Ordering::Relaxed)), (1, 2), "the one that was woken, and no other");
    assert_eq!(poll(&mut outer, &waker), Poll::Ready(7));
}

#[test]
fn one_that_is_being_polled_is_polled_again_by_its_task() {
    let runtime = runtime();
    let _within = runtime.enter();
    let (task, waker) = Woken::task();
    let mut eager = Eager::new(Box::pin(poll_fn(|cx| {
        eagerly(|| cx.waker().wake_by_ref());
        Poll::<()>::Pending
    })));
    assert!(poll(&mut eager, &waker).is_pending());
    assert_eq!(task.times(), 1);
}

#[test]
fn a_panic_is_its_tasks_own() {
    let runtime = runtime();
    let _within = runtime.enter();
    let (task, waker) = Woken::task();
    let (word, told) = oneshot::channel::<()>();
    let mut eager = Eager::<u8>::new(Box::pin(async move {
        told.await.unwrap();
        panic!("on purpose")
    }));
    assert!(poll(&mut eager, &waker).is_pending());
    eagerly(|| word.send(())).unwrap();
    assert_eq!(task.times(), 1);
    assert!(catch_unwind(std::panic::AssertUnwindSafe(|| poll(&mut eager, &waker))).is_err());
    assert!(poll(&mut eager, &waker).is_pending(), "once");
}

#[test]
fn dropped_it_lets_go_of_all_that_it_holds() {
    let runtime = runtime();
    let _within = runtime.enter();
    let held = Arc::new(());
    let (word, told) = oneshot::channel::<()>();
    let kept = Arc::clone(&held);
    let mut eager = Eager::new(Box::pin(async move {
        told.await.ok();
        drop(kept);
    }));
    assert!(poll(&mut eager, Waker::noop()).is_pending());
    assert_eq!(Arc::strong_count(&held), 2);
    drop(eager);
    assert_eq!(Arc::strong_count(&held), 1);
    assert!(eagerly(|| word.send(())).is_err());
}

/// Two threads, one that wakes it and one whose task it is, at the same time, many times over.
#[test]
fn no_word_is_lost_between_two_threads() {
    let runtime = runtime();
    for _ in 0..2000 {
        let polls = Arc::default();
        let (word, eager) = counted(&polls);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _within = runtime.enter();
                eagerly(|| word.send(7)).unwrap();
            });
            let ended = async { tokio::time::timeout(Duration::from_secs(30), eager).await };
            assert_eq!(runtime.block_on(ended), Ok(7));
        });
    }
}

/// Spins, so that both go on in the same moment.
fn until(flag: &AtomicBool) {
    let begun = Instant::now();
    while !flag.load(Ordering::Acquire) {
        assert!(begun.elapsed() < Duration::from_secs(30), "the other one never came");
        std::hint::spin_loop();
    }
}

/// One thread is in the middle of a poll when another drops it, many times over.
#[test]
fn dropped_while_it_is_polled_elsewhere_it_lets_go_of_all_that_it_holds() {
    let runtime = runtime();
    for _ in 0..500 {
        let (held, flags) = (Arc::new(()), Arc::new([AtomicBool::new(false), AtomicBool::new(false)]));
        let ((word, told), (_never, more)) = (oneshot::channel::<()>(), oneshot::channel::<()>());
        let (kept, theirs) = (Arc::clone(&held), Arc::clone(&flags));
        let mut eager = Eager::new(Box::pin(async move {
            let _kept = kept;
            told.await.unwrap();
            let [is_polled, is_dropped] = &*theirs;
            is_polled.store(true, Ordering::Release);
            until(is_dropped);
            more.await.ok();
        }));
        assert!(poll(&mut eager, Waker::noop()).is_pending());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _within = runtime.enter();
                eagerly(|| word.send(())).unwrap();
            });
            let [is_polled, is_dropped] = &*flags;
            until(is_polled);
            is_dropped.store(true, Ordering::Release);
            drop(eager);
        });
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

/// As calls do that fail as soon as they have their turn, which goes to the next by that.
#[test]
fn a_long_row_of_those_that_end_where_they_are_woken_goes_no_deeper() {
    let runtime = runtime();
    let _within = runtime.enter();
    let (first, mut turn) = oneshot::channel::<()>();
    let mut calls: Vec<_> = (0..50_000)
        .map(|_| {
            let (next, after) = oneshot::channel();
            let turn = std::mem::replace(&mut turn, after);
            Eager::new(Box::pin(async move {
                turn.await.unwrap();
                eagerly(|| next.send(())).unwrap();
            }))
        })
        .collect();
    for call in &mut calls {
        assert!(poll(call, Waker::noop()).is_pending());
    }
    eagerly(|| first.send(())).unwrap();
    for call in &mut calls {
        assert_eq!(poll(call, Waker::noop()), Poll::Ready(()));
    }
}
