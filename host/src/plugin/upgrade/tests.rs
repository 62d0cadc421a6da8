//! Upgrades over scripted plugins, under a paused clock: each version has a script of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use wharf_core::Revision;
use wharf_core::lifecycle::{Event, State};
use wharf_core::manifest::{Lists, Manifest, Span, Way};
use wharf_core::upgrade::Step;
use wharf_plugin_api::{CallError, CallErrorKind, CauseKind, Delivery};

use crate::plugin::fuse::{Door, Pass};
use crate::plugin::instance::InstanceHandle;
use crate::plugin::testkit::{Kit, Opening, Script, manifest, setup};
use crate::plugin::{PluginHandle, UpgradeView};

/// A version that is launched otherwise than the `n - 1` before it.
fn version(n: u64) -> Manifest {
    let mut manifest = manifest("p");
    manifest.stop.term = Span::secs(10 + n);
    manifest
}

fn scripted(openings: &[Opening]) -> Arc<Script> {
    Arc::new(Script { openings: openings.to_vec().into(), ..Script::default() })
}

fn listing(tools: Value) -> Arc<Script> {
    Arc::new(Script { tools: Some(tools).into(), ..Script::default() })
}

fn tool(name: &str) -> Value {
    json!({ "name": name, "inputSchema": { "type": "object" } })
}

impl Kit {
    fn change(&self, script: &Arc<Script>, manifest: Manifest) {
        self.plugin.configure(&setup(script, manifest), true, &[]);
    }

    async fn step(&self, step: Step) -> UpgradeView {
        self.until(step.as_str(), |plugin| is(plugin, step)).await;
        self.plugin.upgrade().unwrap()
    }

    /// Until no process of this script lives.
    async fn gone(&self, script: &Arc<Script>) {
        self.until("gone", |plugin| script.alive.load(Ordering::SeqCst) == 0 && plugin.beside().is_empty())
            .await;
    }

    fn revision(&self) -> Revision {
        self.pick().expect("somebody takes calls").instance.now().revision
    }
}

fn is(plugin: &PluginHandle, step: Step) -> bool {
    plugin.upgrade().is_some_and(|upgrade| upgrade.state == step)
}

fn alive(script: &Arc<Script>) -> usize {
    script.alive.load(Ordering::SeqCst)
}

async fn serving() -> Kit {
    let kit = Kit::new(Script::default(), version(0));
    kit.ready().await;
    kit
}

#[tokio::test(start_paused = true)]
async fn a_version_that_works_takes_over_and_the_old_one_stays_warm_for_the_trial() {
    let (kit, new) = (serving().await, listing(json!([tool("t"), tool("more")])));
    let old = kit.plugin.instances()[0].n;
    kit.change(&new, version(1));
    assert_eq!(kit.revision(), Revision(1), "the new one has proven nothing yet");
    let trial = kit.step(Step::Trial).await;
    assert_eq!((kit.revision(), alive(&kit.script), alive(&new)), (Revision(2), 1, 1));
    assert_ne!(kit.plugin.instances()[0].n, old, "both live, so their numbers differ");
    assert_eq!(trial.difference.unwrap().text, "tools: +more");
    assert_eq!(kit.plugin.proof().unwrap().tools.len(), 2);
    assert_eq!(kit.plugin.core.drift.load_full().unwrap().after, "upgrade");
    assert_eq!(kit.plugin.manifest().unwrap().stop.term, Span::secs(11));
    assert_eq!(kit.plugin.beside().len(), 1, "the warm one is shown");
    let before = Instant::now();
    kit.step(Step::Done).await;
    assert!((59..=61).contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
    kit.gone(&kit.script).await;
    assert_eq!((kit.revision(), alive(&new)), (Revision(2), 1));
    // The next one has the number of the first again.
    kit.change(&kit.script, version(2));
    kit.step(Step::Trial).await;
    let now = kit.plugin.instances()[0].clone();
    assert_eq!((now.n, now.now().generation.0), (old, 2), "generations go on");
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_end_on_the_old_version() {
    let (kit, new) = (serving().await, scripted(&[]));
    let call = kit.pick().unwrap();
    let mut slow = version(1);
    slow.upgrade.trial = Span::secs(1);
    kit.change(&new, slow);
    kit.step(Step::Done).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(alive(&kit.script), 1, "its call has not ended");
    assert!(kit.plugin.beside()[0].now().link.is_none(), "it takes no other");
    drop(call);
    kit.gone(&kit.script).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_never_ready_is_given_up_and_the_old_one_never_noticed() {
    let (kit, new) = (serving().await, scripted(&[Opening::Hangs; 3]));
    let before = Instant::now();
    kit.change(&new, version(1));
    let view = kit.step(Step::RolledBack).await;
    assert_eq!(view.cause.unwrap().kind, CauseKind::StartTimeout);
    assert!(before.elapsed() <= Duration::from_secs(31), "{:?}", before.elapsed());
    kit.gone(&new).await;
    let now = kit.plugin.best().unwrap();
    assert_eq!((now.generation.0, now.state, kit.openings()), (1, State::Ready, 1));
    assert_eq!(kit.plugin.manifest().unwrap().stop.term, Span::secs(10));
    // It is not tried again by itself; a restart takes it, proven or not.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(new.opened.load(Ordering::SeqCst), 1);
    new.openings.lock().unwrap().clear();
    kit.plugin.operate(&Event::Restart).await;
    kit.until("the new one", |_| alive(&new) == 1 && alive(&kit.script) == 0).await;
    kit.ready().await;
    assert_eq!((kit.revision(), kit.plugin.upgrade().unwrap().state), (Revision(2), Step::Done));
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_heal_is_given_up_at_once_and_a_crash_loop_when_its_time_is_over() {
    let kit = serving().await;
    let before = Instant::now();
    kit.change(&scripted(&[Opening::Fails(CauseKind::NotFound)]), version(1));
    let view = kit.step(Step::RolledBack).await;
    assert_eq!((view.cause.unwrap().kind, before.elapsed().as_secs()), (CauseKind::NotFound, 0));
    kit.change(&scripted(&[Opening::Fails(CauseKind::Exited); 50]), version(2));
    kit.step(Step::Proving).await;
    let view = kit.step(Step::RolledBack).await;
    assert_eq!(view.cause.unwrap().kind, CauseKind::Exited);
    assert_eq!((kit.revision(), kit.openings()), (Revision(1), 1));
    // One that fails once and then works is taken.
    let heals = scripted(&[Opening::Fails(CauseKind::Exited)]);
    kit.change(&heals, version(3));
    kit.step(Step::Trial).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(is(&kit.plugin, Step::Trial), "that it failed before is no crash in the trial");
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_the_trial_gives_the_calls_back_to_the_old_version() {
    let (kit, new) = (serving().await, listing(json!([tool("other")])));
    kit.change(&new, version(1));
    kit.step(Step::Trial).await;
    assert_eq!(kit.plugin.proof().unwrap().tools[0].name, "other");
    new.crash();
    let view = kit.step(Step::RolledBack).await;
    assert_eq!((view.cause.unwrap().kind, view.from), (CauseKind::Exited, Revision(1)));
    assert_eq!((kit.revision(), kit.openings()), (Revision(1), 1), "it was warm");
    assert_eq!(kit.plugin.proof().unwrap().tools[0].name, "t");
    assert_eq!(kit.plugin.manifest().unwrap().stop.term, Span::secs(10));
    kit.gone(&new).await;
    // What it says from now on is heard: it publishes what it lists.
    *kit.script.tools.lock().unwrap() = Some(json!([tool("later")]));
    kit.script.crash();
    kit.until("restarted", |plugin| plugin.proof().unwrap().tools[0].name == "later").await;
}

/// Its calls fail until its breaker opens.
fn break_down(one: &InstanceHandle) {
    let error = CallError::new(CallErrorKind::Connection, Delivery::Unknown, "scripted");
    for _ in 0..manifest("p").breaker.consecutive {
        let pass = Pass::through(one).expect("it is closed until then");
        pass.failed(one, &error, Duration::from_secs(60), Duration::from_secs(60));
    }
    assert_eq!(one.fuse.door(), Door::Shut);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_ends_no_trial_while_another_instance_works_or_the_old_version_fails_too() {
    let two = |n| Manifest { replicas: 2, ..version(n) };
    let kit = Kit::new(Script::default(), two(0));
    kit.until("two", |plugin| plugin.instances().iter().all(|one| one.now().state == State::Ready)).await;
    let new = scripted(&[]);
    kit.change(&new, two(1));
    kit.step(Step::Trial).await;
    let (on_trial, warm) = (kit.plugin.instances(), kit.plugin.beside());
    // One of two takes what comes; and where the old one fails as well, it is not the version.
    break_down(&on_trial[0]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(is(&kit.plugin, Step::Trial));
    warm.iter().for_each(break_down);
    break_down(&on_trial[1]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(is(&kit.plugin, Step::Trial));
}

#[tokio::test(start_paused = true)]
async fn what_works_is_not_ended_for_what_answers_no_call() {
    let (kit, new) = (serving().await, scripted(&[]));
    kit.change(&new, version(1));
    kit.step(Step::Trial).await;
    break_down(&kit.plugin.instances()[0]);
    let cause = kit.step(Step::RolledBack).await.cause.unwrap();
    assert_eq!((cause.kind, kit.revision(), kit.openings()), (CauseKind::Failing, Revision(1), 1));
    assert!(cause.detail.contains("scripted"), "{}", cause.detail);
    kit.gone(&new).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_the_trial_is_a_crash_like_any_other() {
    let (kit, new) = (serving().await, scripted(&[]));
    kit.change(&new, version(1));
    kit.step(Step::Done).await;
    new.crash();
    kit.until("back", |plugin| plugin.best().is_some_and(|now| now.generation.0 == 2)).await;
    kit.ready().await;
    assert_eq!((kit.revision(), kit.plugin.upgrade().unwrap().state), (Revision(2), Step::Done));
}

#[tokio::test(start_paused = true)]
async fn lists_decide_as_the_manifest_says() {
    let of = |lists, n| {
        let mut manifest = version(n);
        manifest.upgrade.lists = lists;
        manifest
    };
    for (n, (lists, tools, taken)) in [
        (Lists::Any, json!([tool("other")]), true),
        (Lists::Any, json!([]), false),
        (Lists::More, json!([tool("t"), tool("more")]), true),
        (Lists::More, json!([tool("more")]), false),
        (Lists::Same, json!([tool("t"), tool("more")]), false),
        (Lists::Same, json!([tool("t")]), true),
    ]
    .into_iter()
    .enumerate()
    {
        let kit = serving().await;
        kit.change(&listing(tools.clone()), of(lists, 1 + n as u64));
        let view = kit.step(if taken { Step::Trial } else { Step::RolledBack }).await;
        let kind = view.cause.as_ref().map(|cause| cause.kind);
        assert_eq!(kind, (!taken).then_some(CauseKind::OtherLists), "{lists:?} {tools}");
        assert_eq!(kit.plugin.proof().unwrap().tools[0].name == "t", !taken || lists != Lists::Any);
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_changes_the_newest_wins_and_nothing_piles_up() {
    let (kit, new) = (serving().await, scripted(&[Opening::Hangs; 50]));
    for n in 1..=20 {
        if n == 20 {
            new.openings.lock().unwrap().clear();
        }
        kit.change(&new, version(n));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(kit.plugin.beside().len() <= 1, "one place proves itself, whatever comes");
    }
    kit.step(Step::Trial).await;
    assert_eq!((kit.revision(), alive(&new), kit.openings()), (Revision(21), 1, 1));
    assert!(new.most_alive.load(Ordering::SeqCst) <= 1);
    // Another change ends the trial: two versions at most.
    let third = scripted(&[]);
    kit.change(&third, version(30));
    kit.until("the third", |plugin| plugin.upgrade().is_some_and(|upgrade| upgrade.to == Revision(22))).await;
    kit.step(Step::Trial).await;
    kit.until("two", |_| alive(&kit.script) == 0).await;
    assert_eq!((kit.revision(), alive(&new), alive(&third)), (Revision(22), 1, 1));
    // What was is again: nothing is started.
    kit.change(&scripted(&[Opening::Hangs]), version(31));
    kit.change(&third, version(30));
    kit.step(Step::RolledBack).await;
    kit.gone(&new).await;
    assert_eq!((kit.revision(), third.opened.load(Ordering::SeqCst)), (Revision(22), 1));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_serve_or_must_not_run_twice_is_replaced_where_it_stands() {
    let kit = Kit::new(
        Script { openings: vec![Opening::Fails(CauseKind::NotFound)].into(), ..Script::default() },
        version(0),
    );
    kit.until("fatal", |plugin| plugin.state() == State::Fatal).await;
    let (n, new) = (kit.plugin.instances()[0].n, scripted(&[]));
    kit.change(&new, version(1));
    kit.ready().await;
    assert_eq!((kit.plugin.instances()[0].n, kit.revision()), (n, Revision(2)));
    assert_eq!(kit.plugin.upgrade().unwrap().state, Step::Done);
    let mut alone = version(2);
    alone.upgrade.way = Way::InPlace;
    kit.change(&new, alone);
    kit.until("the third", |plugin| plugin.best().is_some_and(|now| now.revision == Revision(3))).await;
    kit.ready().await;
    assert_eq!((kit.plugin.instances()[0].n, new.most_alive.load(Ordering::SeqCst)), (n, 1));
}

#[tokio::test(start_paused = true)]
async fn replicas_switch_together_when_as_many_serve_as_did() {
    let three = |n| Manifest { replicas: 3, ..version(n) };
    let kit = Kit::new(Script::default(), three(0));
    let all = |plugin: &PluginHandle| plugin.instances().iter().all(|one| one.now().state == State::Ready);
    kit.until("three", all).await;
    let new = Arc::new(Script { slow_open: Duration::from_secs(3), ..Script::default() });
    kit.change(&new, three(1));
    kit.until("one of the new", |_| alive(&new) == 1).await;
    assert_eq!(kit.revision(), Revision(1), "one is not enough for the load of three");
    kit.step(Step::Trial).await;
    assert_eq!((alive(&new), alive(&kit.script)), (3, 3));
    let mut numbers: Vec<u32> =
        kit.plugin.instances().iter().chain(&kit.plugin.beside()).map(|one| one.n.0).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    let replicas: Vec<u32> = kit.plugin.instances().iter().map(|one| one.slot.replica).collect();
    assert_eq!(replicas, [0, 1, 2], "each has a place of its own among its like");
}

#[tokio::test(start_paused = true)]
async fn an_operators_stop_ends_it_and_the_next_start_is_the_newest() {
    let (kit, new) = (serving().await, scripted(&[Opening::Hangs]));
    kit.change(&new, version(1));
    kit.until("under way", |_| new.opened.load(Ordering::SeqCst) == 1).await;
    kit.plugin.operate(&Event::Stop).await;
    kit.until("stopped", |plugin| plugin.state() == State::Stopped).await;
    kit.gone(&new).await;
    assert_eq!((alive(&kit.script), kit.plugin.upgrade().unwrap().state), (0, Step::Done));
    kit.plugin.operate(&Event::Start).await;
    kit.ready().await;
    assert_eq!((kit.revision(), alive(&new)), (Revision(2), 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_when_the_plugin_goes_in_the_middle() {
    for trial in [false, true] {
        let kit = serving().await;
        let new = if trial { scripted(&[]) } else { scripted(&[Opening::Hangs]) };
        kit.change(&new, version(1));
        kit.step(if trial { Step::Trial } else { Step::Proving }).await;
        kit.plugin.retire("its manifest was removed");
        kit.plugin.gone().wait_for(|gone| *gone).await.unwrap();
        assert_eq!((alive(&kit.script), alive(&new)), (0, 0));
        assert_eq!(kit.services.tasks.end(Duration::from_secs(60)).await, 0, "a task is left");
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_program_is_launched_beside_the_old_one() {
    let kit = serving().await;
    kit.plugin.renewed();
    kit.step(Step::Trial).await;
    assert_eq!((kit.revision(), alive(&kit.script)), (Revision(2), 2));
    kit.plugin.operate(&Event::Stop).await;
    kit.until("stopped", |_| alive(&kit.script) == 0).await;
    kit.plugin.renewed();
    assert_eq!(kit.plugin.state(), State::Stopped, "what is stopped stays so");
}
