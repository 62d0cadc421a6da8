use std::collections::HashMap;

use proptest::prelude::*;

use super::{FairQueue, Shed, share};

const A: u64 = 1;
const B: u64 = 2;
const C: u64 = 3;

fn of(callers: &[u64], bound: usize) -> FairQueue<u64> {
    let mut queue = FairQueue::default();
    for caller in callers {
        assert_eq!(queue.sheds(*caller, bound), None);
        queue.join(*caller, bound, *caller);
    }
    queue
}

#[test]
fn who_waits_alone_has_the_whole_queue_and_makes_room_for_the_next() {
    let mut queue = of(&[A; 8], 8);
    assert_eq!(queue.sheds(A, 8), Some(Shed::Full));
    assert_eq!(queue.sheds(B, 8), None);
    assert_eq!(queue.join(B, 8, B).1, Some(A));
    assert_eq!(queue.sheds(A, 8), Some(Shed::Share { most: 2 }));
    assert_eq!(queue.join(B, 8, B).1, Some(A));
    assert_eq!(queue.sheds(B, 8), Some(Shed::Share { most: 2 }));
    assert_eq!(queue.len(), 8);
}

#[test]
fn a_queue_of_nothing_takes_nobody() {
    assert_eq!(FairQueue::<()>::default().sheds(A, 0), Some(Shed::Full));
}

#[test]
fn callers_take_turns_and_within_one_the_first_comes_first() {
    let mut queue = FairQueue::default();
    for (caller, call) in [(A, "a1"), (A, "a2"), (A, "a3"), (B, "b1"), (B, "b2"), (C, "c1")] {
        queue.join(caller, 100, call);
    }
    let order: Vec<_> = std::iter::from_fn(|| queue.next(100, |_| 0)).collect();
    assert_eq!(order, ["a1", "b1", "c1", "a2", "b2", "a3"]);
}

#[test]
fn who_has_its_part_of_the_places_lets_others_go_first() {
    let mut queue = of(&[A, A, B, B], 100);
    let running = |caller| if caller == A { 6 } else { 2 };
    assert_eq!(queue.next(8, running), Some(B));
    assert_eq!(queue.next(8, running), Some(B));
    assert_eq!(queue.next(8, running), Some(A), "nobody else waits");
}

#[test]
fn who_has_waited_for_too_long_is_taken_out_and_the_others_keep_their_turns() {
    let mut queue = FairQueue::default();
    for (caller, call) in [(A, "a1"), (B, "b1 late"), (A, "a2 late"), (C, "c1"), (A, "a3")] {
        queue.join(caller, 100, call);
    }
    let mut late = queue.take_all(|call| call.ends_with("late"));
    late.sort_unstable();
    assert_eq!((late, queue.len()), (vec!["a2 late", "b1 late"], 3));
    queue.join(B, 100, "b2");
    let order: Vec<_> = std::iter::from_fn(|| queue.next(100, |_| 0)).collect();
    assert_eq!(order, ["a1", "c1", "b2", "a3"], "whoever had no call left comes last");
}

#[test]
fn a_call_leaves_once() {
    let mut queue = FairQueue::default();
    let (first, _) = queue.join(A, 9, "1");
    let (second, _) = queue.join(A, 9, "2");
    assert_eq!(queue.leave(A, first), Some("1"));
    assert_eq!(queue.leave(A, first), None);
    assert_eq!(queue.leave(B, second), None);
    assert_eq!(queue.next(1, |_| 0), Some("2"));
    assert_eq!((queue.leave(A, second), queue.len()), (None, 0));
}

/// What is done to a queue.
#[derive(Clone, Copy, Debug)]
enum Act {
    Join(u64),
    Next,
    Leave(usize),
    /// All of callers whose number, divided by this, leaves nothing.
    TakeAll(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0u64..6).prop_map(Act::Join),
        2 => Just(Act::Next),
        1 => (0usize..20).prop_map(Act::Leave),
        1 => (2u64..9).prop_map(Act::TakeAll),
    ];
    prop::collection::vec(act, 0..200)
}

/// Those that wait, told by the test: caller and number, in order of arrival.
type Waiting = Vec<(u64, u64)>;

fn count(waiting: &Waiting, caller: u64) -> usize {
    waiting.iter().filter(|(other, _)| *other == caller).count()
}

proptest! {
    /// Whatever comes: nothing is lost or doubled, the bound holds, a caller is let in beyond its share only where it is
    /// alone, and one that has less than another is never refused for want of room.
    #[test]
    fn a_queue_is_bounded_and_shared(acts in acts(), bound in 0usize..12) {
        let (mut queue, mut waiting) = (FairQueue::default(), Waiting::new());
        for act in acts {
            match act {
                Act::Join(caller) => {
                    let (own, others) = (count(&waiting, caller), waiting.len() - count(&waiting, caller));
                    let longest = (0..6).map(|other| count(&waiting, other)).max().unwrap_or(0);
                    match queue.sheds(caller, bound) {
                        Some(Shed::Share { most }) => prop_assert!(others > 0 && own >= most && most == share(bound)),
                        Some(Shed::Full) => prop_assert!(waiting.len() >= bound && longest <= own + 1),
                        None => {
                            prop_assert!(others == 0 || own < share(bound));
                            let (number, sent_away) = queue.join(caller, bound, caller);
                            if let Some(victim) = sent_away {
                                prop_assert!(count(&waiting, victim) == longest && longest > own + 1);
                                let last = waiting.iter().rposition(|(other, _)| *other == victim).unwrap();
                                waiting.remove(last);
                            }
                            waiting.push((caller, number));
                        }
                    }
                }
                Act::Next => {
                    let next = queue.next(4, |_| 0);
                    let first = next.map(|caller| waiting.iter().position(|(other, _)| *other == caller).unwrap());
                    prop_assert_eq!(first.is_none(), waiting.is_empty());
                    first.map(|first| waiting.remove(first));
                }
                Act::Leave(n) => {
                    if let Some((caller, number)) = waiting.get(n).copied() {
                        prop_assert_eq!(queue.leave(caller, number), Some(caller));
                        waiting.remove(n);
                    }
                }
                Act::TakeAll(of) => {
                    let mut seen = 0;
                    let taken = queue.take_all(|caller| {
                        seen += 1;
                        *caller % of == 0
                    });
                    prop_assert_eq!(seen, waiting.len());
                    prop_assert_eq!(taken.len(), waiting.extract_if(.., |(caller, _)| *caller % of == 0).count());
                    prop_assert!(taken.iter().all(|caller| caller % of == 0));
                }
            }
            prop_assert_eq!(queue.len(), waiting.len());
            prop_assert!(waiting.len() <= bound);
        }
    }

    /// Between two turns of a caller everybody who waited all the time had one.
    #[test]
    fn turns_go_round(lines in prop::collection::vec(0usize..9, 1..7), places in 1usize..9) {
        let mut queue = FairQueue::default();
        for (caller, calls) in lines.iter().enumerate() {
            for _ in 0..*calls {
                queue.join(caller as u64, usize::MAX, caller as u64);
            }
        }
        let mut turns = HashMap::<u64, usize>::new();
        while let Some(caller) = queue.next(places, |_| 0) {
            *turns.entry(caller).or_default() += 1;
            let had = turns[&caller];
            for (other, calls) in lines.iter().enumerate().filter(|(_, calls)| **calls > 0) {
                let other = turns.get(&(other as u64)).copied().unwrap_or(0);
                prop_assert!(other + 1 >= had.min(*calls), "{turns:?} of {lines:?}");
            }
        }
        prop_assert_eq!(turns.values().sum::<usize>(), lines.iter().sum::<usize>());
    }

    /// Nobody who has its part of the places gets another one while somebody waits who has less.
    #[test]
    fn no_place_goes_beyond_a_part_while_another_waits(running in prop::collection::vec(0usize..9, 2..7), places in 1usize..20) {
        let mut queue = FairQueue::default();
        for caller in 0..running.len() {
            queue.join(caller as u64, usize::MAX, caller);
        }
        let part = (places / running.len()).max(1);
        let next = queue.next(places, |caller| running[usize::try_from(caller).unwrap()]).unwrap();
        prop_assert!(running[next] < part || running.iter().all(|running| *running >= part));
    }

    /// Calls of equal length, callers that always have another one: in the end each has had the same number of places,
    /// however many each of them wants and whoever was there first.
    #[test]
    fn greed_wins_nothing(greed in 1usize..64, callers in 2u64..6, places in 1usize..8) {
        let mut queue = FairQueue::default();
        // The greedy one holds every place and fills the queue.
        let mut running: Vec<u64> = vec![0; places];
        for _ in 0..greed + 200 {
            queue.join(0, usize::MAX, 0u64);
        }
        for caller in 1..callers {
            for _ in 0..200 {
                queue.join(caller, usize::MAX, caller);
            }
        }
        let mut had = HashMap::<u64, usize>::new();
        for _ in 0..callers as usize * 60 {
            running.remove(0);
            let counts = running.clone();
            let of = |caller| counts.iter().filter(|other| **other == caller).count();
            let next = queue.next(places, of).unwrap();
            *had.entry(next).or_default() += 1;
            running.push(next);
        }
        let (least, most) = (had.values().min().unwrap(), had.values().max().unwrap());
        prop_assert!(had.len() == callers as usize && most - least <= places + 1, "{had:?}");
    }
}
