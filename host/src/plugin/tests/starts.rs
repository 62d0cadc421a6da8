//! Who may start when: no plugin waits for another one's silence.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use wharf_core::lifecycle::{Event, State};
use wharf_core::manifest::{Kind, Manifest, Template};
use wharf_plugin_api::CauseKind;

use super::openings;
use crate::plugin::PluginHandle;
use crate::plugin::testkit::{Kit, Opening, Script, manifest, setup};
use crate::process::logs::LogBook;
use crate::route::refusal::unavailable;

/// One more plugin of the kit's host.
fn beside(kit: &Kit, script: &Arc<Script>, manifest: Manifest) -> Arc<PluginHandle> {
    let log =
        LogBook::new(std::env::temp_dir().join("wharf-never-written"), manifest.id.as_str(), Vec::new());
    let id = manifest.id.clone();
    let plugin = Arc::new(PluginHandle::new(&kit.services, id, manifest.path.clone(), Arc::new(log)));
    plugin.configure(&setup(script, manifest), true, &[]);
    plugin
}

async fn until(plugin: &PluginHandle, state: State) -> Duration {
    let (before, mut changes) = (Instant::now(), plugin.changes());
    while plugin.state() != state {
        tokio::time::timeout(Duration::from_secs(3600), changes.changed()).await.unwrap().unwrap();
    }
    before.elapsed()
}

fn npx(id: &str) -> Manifest {
    let mut npx = manifest(id);
    let Kind::Command(command) = &mut npx.kind else { unreachable!() };
    command.argv = ["npx", "-y", "pkg"].map(Template::text).to_vec();
    npx
}

#[tokio::test(start_paused = true)]
async fn a_good_one_does_not_wait_for_forty_that_say_nothing() {
    let kit = Kit::new(openings(&[Opening::Hangs; 100]), manifest("p0"));
    let silent: Vec<_> = (1..40).map(|n| beside(&kit, &kit.script, manifest(&format!("p{n}")))).collect();
    // As many as may start at once are on their way.
    while kit.openings() < 32 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let good = beside(&kit, &Arc::default(), manifest("good"));
    let waited = until(&good, State::Ready).await;
    assert!(waited <= Duration::from_secs(6), "{waited:?}");
    assert_eq!(kit.openings(), 40, "all of them got their turn");
    assert!(silent.iter().all(|plugin| plugin.state() == State::Starting));
    // They have their whole time all the same.
    let left = until(&kit.plugin, State::Backoff).await;
    assert!((20..30).contains(&(waited + left).as_secs()), "{:?}", waited + left);
}

#[tokio::test(start_paused = true)]
async fn two_fetch_at_a_time_and_what_hangs_makes_room() {
    let kit = Kit::new(openings(&[Opening::Hangs; 4]), npx("n0"));
    while kit.openings() < 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let others: Vec<_> = (1..4).map(|n| beside(&kit, &kit.script, npx(&format!("n{n}")))).collect();
    let works = beside(&kit, &Arc::default(), npx("works"));
    let good = beside(&kit, &Arc::default(), manifest("good"));
    let begun = Instant::now();
    assert!(until(&good, State::Ready).await < Duration::from_secs(1));
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(kit.openings(), 2);
    assert!(others.iter().all(|plugin| plugin.state() == State::Preparing));
    until(&works, State::Ready).await;
    assert!(begun.elapsed() < Duration::from_secs(62), "behind two pairs: {:?}", begun.elapsed());
    // Those that hang have their whole budget all the same.
    until(&kit.plugin, State::Starting).await;
    assert!((299..301).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    until(&kit.plugin, State::Backoff).await;
    let now = kit.plugin.best().unwrap();
    assert_eq!(now.cause.as_ref().unwrap().kind, CauseKind::PrepareFailed);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_its_turn_to_fetch_says_behind_whom() {
    let kit = Kit::new(openings(&[Opening::Hangs; 3]), npx("a1"));
    while kit.openings() < 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(kit.plugin.best().unwrap().cause.is_none(), "it has its turn");
    let _a2 = beside(&kit, &kit.script, npx("a2"));
    while kit.openings() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let third = beside(&kit, &kit.script, npx("a3"));
    let cause = |plugin: &PluginHandle| plugin.best().unwrap().cause.clone();
    let mut changes = third.changes();
    while cause(&third).is_none() {
        tokio::time::timeout(Duration::from_secs(1), changes.changed()).await.unwrap().unwrap();
    }
    let told = cause(&third).unwrap();
    assert_eq!((told.kind, third.state()), (CauseKind::Queued, State::Preparing));
    assert!(told.detail.ends_with("behind a1, a2"), "{told}");
    // A call that does not wait so long is told the same.
    let failure = unavailable(&third, kit.services.clock);
    assert!(failure.detail.contains("preparing") && failure.detail.contains("behind a1, a2"), "{failure}");
    // Its turn has come.
    while cause(&third).is_some() {
        tokio::time::timeout(Duration::from_secs(31), changes.changed()).await.unwrap().unwrap();
    }
    assert_eq!(third.state(), State::Preparing);
}

#[tokio::test(start_paused = true)]
async fn the_first_word_frees_the_place_and_begins_the_start() {
    let script = Script { slow_open: Duration::from_secs(200), ..Script::default() };
    script.opened.store(1, Ordering::SeqCst);
    // Fetches for 200 s, says something then, and hangs.
    script.openings.lock().unwrap().push(Opening::SpeaksAndHangs);
    let kit = Kit::new(script, npx("n"));
    let fetched = until(&kit.plugin, State::Starting).await;
    assert_eq!(fetched.as_secs(), 200);
    assert_eq!(until(&kit.plugin, State::Backoff).await.as_secs(), 30);
    assert_eq!(kit.plugin.best().unwrap().cause.as_ref().unwrap().kind, CauseKind::StartTimeout);
    // The next one fetches as long, and works.
    assert!(until(&kit.plugin, State::Ready).await.as_secs() >= 200);
}

#[tokio::test(start_paused = true)]
async fn fetches_that_fail_are_tried_for_ever_and_never_quarantined() {
    let kit = Kit::new(openings(&[Opening::Fails(CauseKind::Exited); 40]), npx("n"));
    while kit.openings() < 40 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_ne!(kit.plugin.state(), State::Quarantined);
    }
    until(&kit.plugin, State::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_start_delays_no_stop_and_no_change_of_another() {
    let kit = Kit::new(openings(&[Opening::Hangs; 50]), manifest("p0"));
    let silent: Vec<_> = (1..40).map(|n| beside(&kit, &kit.script, manifest(&format!("p{n}")))).collect();
    let script = Arc::default();
    let good = beside(&kit, &script, manifest("good"));
    until(&good, State::Ready).await;
    let before = Instant::now();
    good.operate(&Event::Stop).await;
    until(&good, State::Stopped).await;
    good.operate(&Event::Start).await;
    until(&good, State::Ready).await;
    good.retire("its manifest was removed");
    good.gone().wait_for(|gone| *gone).await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(6), "{:?}", before.elapsed());
    assert!(silent.iter().any(|plugin| plugin.state() == State::Starting));
}
