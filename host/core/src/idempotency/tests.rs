//! The table of keys, against what it promises.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Bounds, Claim, Key, Keys, Known, Name, What};
use crate::id::{CallId, PluginId};

const BOUNDS: Bounds = Bounds { keys: 4, bytes: 100, age: 1000 };

fn name(principal: &str, key: &str) -> Name {
    Name { principal: principal.into(), key: Key::new(key).unwrap() }
}

fn what(arguments: u8) -> What {
    What { plugin: PluginId::new("p").unwrap(), tool: "t".into(), digest: [arguments; 32] }
}

fn call(n: u64) -> CallId {
    CallId::new(1, n)
}

fn keys() -> Keys<Arc<str>> {
    Keys::new(BOUNDS)
}

#[test]
fn keys_are_checked() {
    for good in ["a", "!", "~", "8e03978e-40d5-43dd-bc93-6894a57f9324", "\"quoted\"", &"x".repeat(255)] {
        assert!(Key::new(good).is_ok(), "{good}");
    }
    for bad in ["", " ", "a b", "a\n", "\u{7f}", "ä", "a\0", &"x".repeat(256)] {
        assert_eq!(Key::new(bad), Err(super::BadKey), "{bad:?}");
    }
}

#[test]
fn a_key_is_taken_until_its_call_ends_and_stands_for_one_call() {
    let (mut keys, k) = (keys(), name("a", "k"));
    assert_eq!(keys.claim(&k, &what(1), &call(1), 0), Claim::New);
    assert_eq!(keys.claim(&k, &what(1), &call(2), 0), Claim::Same(call(1), Known::Running));
    assert_eq!(keys.claim(&k, &what(2), &call(2), 0), Claim::Other(call(1)));
    assert_eq!(keys.claim(&name("b", "k"), &what(2), &call(3), 0), Claim::New, "another caller's");
    keys.settle(&k, &call(1), Some(Known::Answered("yes".into())), 3);
    let answered = Claim::Same(call(1), Known::Answered("yes".into()));
    assert_eq!(keys.claim(&k, &what(1), &call(4), 999), answered);
    assert_eq!(keys.claim(&k, &what(2), &call(4), 999), Claim::Other(call(1)));
    assert_eq!(keys.claim(&k, &what(2), &call(5), 1000), Claim::New, "it is forgotten after its time");
}

#[test]
fn a_key_whose_call_did_not_run_is_free_and_one_that_may_have_run_is_not() {
    let (mut keys, k) = (keys(), name("a", "k"));
    keys.claim(&k, &what(1), &call(1), 0);
    keys.settle(&k, &call(1), None, 0);
    assert_eq!(keys.claim(&k, &what(2), &call(2), 0), Claim::New);
    // The word of the first comes late.
    keys.settle(&k, &call(1), None, 0);
    keys.settle(&k, &call(2), Some(Known::Unknown), 0);
    assert_eq!(keys.claim(&k, &what(2), &call(3), 0), Claim::Same(call(2), Known::Unknown));
}

#[test]
fn answers_make_room_before_keys_do() {
    let mut keys = keys();
    for n in 0..3 {
        let k = name("a", &format!("k{n}"));
        keys.claim(&k, &what(1), &call(n), 0);
        keys.settle(&k, &call(n), Some(Known::Answered("x".into())), 40);
    }
    assert_eq!((keys.len(), keys.bytes()), (3, 80));
    let known = |keys: &mut Keys<Arc<str>>, n| keys.claim(&name("a", n), &what(1), &call(9), 0);
    assert_eq!(known(&mut keys, "k0"), Claim::Same(call(0), Known::NotKept));
    assert_eq!(known(&mut keys, "k1"), Claim::Same(call(1), Known::Answered("x".into())));
    known(&mut keys, "k3");
    assert_eq!(known(&mut keys, "k4"), Claim::New);
    assert_eq!(keys.len(), 4);
    assert_eq!(known(&mut keys, "k0"), Claim::New, "the oldest made room");
    assert_eq!(known(&mut keys, "k3"), Claim::Same(call(9), Known::Running), "what runs does not");
}

proptest! {
    /// Nothing runs twice under a key, however calls and ends are mixed, as long as its time and room last.
    #[test]
    fn a_key_lets_one_call_through(steps in proptest::collection::vec((0u8..6, 0u8..2, 0u8..5, 0u64..50), 1..200)) {
        let mut keys = Keys::<Arc<str>>::new(Bounds { keys: 64, bytes: 100, age: 100_000 });
        let (mut now, mut model) = (0, HashMap::<u8, (u8, u64, &str)>::new());
        for (n, (key, arguments, act, pause)) in steps.into_iter().enumerate() {
            now += pause;
            let (n, k) = (n as u64, name("a", &format!("k{key}")));
            if act == 0 {
                let claim = keys.claim(&k, &what(arguments), &call(n), now);
                match model.get(&key) {
                    None => {
                        prop_assert_eq!(claim, Claim::New);
                        model.insert(key, (arguments, n, "runs"));
                    }
                    Some((first, by, state)) if *first == arguments => {
                        let Claim::Same(told, known) = claim else { return Err(TestCaseError::fail("not the same")) };
                        prop_assert_eq!(told, call(*by));
                        let expected = match known {
                            Known::Running => "runs",
                            Known::Answered(_) | Known::NotKept => "answered",
                            Known::Unknown => "unknown",
                        };
                        prop_assert_eq!(expected, *state);
                    }
                    Some((_, by, _)) => prop_assert_eq!(claim, Claim::Other(call(*by))),
                }
            } else if let Some((_, by, state)) = model.get_mut(&key).filter(|(_, _, state)| *state == "runs") {
                let (known, then) = match act {
                    1 => (Some(Known::Answered("x".into())), "answered"),
                    2 => (Some(Known::NotKept), "answered"),
                    3 => (Some(Known::Unknown), "unknown"),
                    _ => (None, "free"),
                };
                keys.settle(&k, &call(*by), known, 30);
                *state = then;
                if then == "free" {
                    model.remove(&key);
                }
            }
            prop_assert!(keys.bytes() <= 100 && keys.len() == model.len());
        }
    }
}
