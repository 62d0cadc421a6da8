//! Which of several instances a call goes to, and where it goes when that one is gone.

use std::collections::BTreeSet;

use wharf_core::lifecycle::State;
use wharf_core::manifest::{Balance, Manifest, Span};
use wharf_core::{InstanceNo, Role};
use wharf_plugin_api::{CallErrorKind, Caller, Cause, CauseKind, Delivery};

use super::{answers, call, call_of};
use crate::plugin::testkit::{Answer, Kit, Script, manifest};

fn several(replicas: u32, standby: u32, balance: Balance) -> Manifest {
    let mut several = Manifest { replicas, standby, balance, ..manifest("p") };
    several.restart.initial = Span::secs(30);
    several.restart.jitter = 0.0;
    several
}

async fn all_up(kit: &Kit) {
    let up = |plugin: &crate::plugin::PluginHandle| {
        plugin.instances().iter().all(|one| one.now().state == State::Ready)
    };
    kit.until("up", up).await;
}

fn of(session: &str) -> Caller {
    Caller { session: Some(session.into()), ..Caller::new("test") }
}

/// Ends the connection of an instance; those were opened in any order.
async fn crash(kit: &Kit, n: InstanceNo) {
    let at = kit.script.launches.lock().unwrap().iter().rposition(|launch| launch.instance == n.0).unwrap();
    let kill = kit.script.kill.lock().unwrap().remove(at);
    kill.send(Cause::new(CauseKind::Exited, "scripted crash")).ok();
    let at = |plugin: &crate::plugin::PluginHandle| {
        plugin.instances().iter().any(|one| one.n == n && one.now().link.is_none())
    };
    kit.until("down", at).await;
}

#[tokio::test(start_paused = true)]
async fn a_legacy_session_stays_as_long_as_its_instance_serves() {
    let kit = Kit::new(Script::default(), several(3, 0, Balance::RoundRobin));
    all_up(&kit).await;
    let mut firsts = BTreeSet::new();
    for session in ["a", "b", "c"] {
        let first = call_of(&kit, of(session), None).await.unwrap().instance;
        firsts.insert(first);
        for _ in 0..5 {
            assert_eq!(call_of(&kit, of(session), None).await.unwrap().instance, first);
        }
    }
    assert_eq!(firsts.len(), 3, "a first call goes by the balance");
    let home = call_of(&kit, of("a"), None).await.unwrap().instance;
    crash(&kit, home).await;
    let next = call_of(&kit, of("a"), None).await.unwrap().instance;
    assert_ne!(next, home);
    all_up(&kit).await;
    for _ in 0..5 {
        assert_eq!(call_of(&kit, of("a"), None).await.unwrap().instance, next, "it does not move back");
    }
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_modern_plugin_and_without_a_session_are_free() {
    let modern = Script { revision: Some("2026-07-28"), ..Script::default() };
    for (script, caller) in [(modern, of("a")), (Script::default(), Caller::new("test"))] {
        let kit = Kit::new(script, several(2, 0, Balance::RoundRobin));
        all_up(&kit).await;
        let mut seen = BTreeSet::new();
        for _ in 0..2 {
            seen.insert(call_of(&kit, caller.clone(), None).await.unwrap().instance);
        }
        assert_eq!(seen.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn who_sticks_comes_back_to_where_it_was() {
    let kit = Kit::new(Script::default(), several(3, 0, Balance::Sticky));
    all_up(&kit).await;
    let home = call(&kit, None).await.unwrap().instance;
    for _ in 0..5 {
        assert_eq!(call(&kit, None).await.unwrap().instance, home);
    }
    crash(&kit, home).await;
    assert_ne!(call(&kit, None).await.unwrap().instance, home);
    all_up(&kit).await;
    assert_eq!(call(&kit, None).await.unwrap().instance, home);
}

#[tokio::test(start_paused = true)]
async fn one_that_stands_by_takes_the_next_call_of_one_that_is_gone_and_gives_it_back() {
    let kit = Kit::new(Script::default(), several(1, 1, Balance::RoundRobin));
    all_up(&kit).await;
    let [active, standby] = [Role::Active, Role::Standby]
        .map(|role| kit.plugin.instances().iter().find(|one| one.slot.role == role).unwrap().n);
    for _ in 0..5 {
        assert_eq!(call(&kit, None).await.unwrap().instance, active);
    }
    crash(&kit, active).await;
    for _ in 0..5 {
        assert_eq!(call(&kit, None).await.unwrap().instance, standby);
    }
    all_up(&kit).await;
    assert_eq!(call(&kit, None).await.unwrap().instance, active);
}

#[tokio::test(start_paused = true)]
async fn another_attempt_goes_to_another_instance() {
    let refused = Answer::Fails(CallErrorKind::Connection, Delivery::NotDelivered);
    let kit = Kit::new(answers(&[refused]), several(2, 0, Balance::Sticky));
    all_up(&kit).await;
    let second = call(&kit, None).await.unwrap().instance;
    let home = call(&kit, None).await.unwrap().instance;
    assert_ne!(second, home, "the first attempt was at home");
}
