use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wharf_core::CallId;
use wharf_core::journal::{Answer, Entry, KeyState, Outcome};

use super::segment::Found;
use super::testkit::{keyed_at, now, sent, settled};
use super::writer::Writer;
use super::{Inner, Journal};
use crate::events::EventBus;
use crate::tasks::Tasks;

/// Waits until it holds; the tasks of the journal have a bounded time for all they do.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    let wait = async {
        while !holds() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap_or_else(|_| panic!("not within 20 s: {what}"));
}

/// What a host that starts now would know: how each call ended.
fn outcomes(folder: &Path) -> Vec<(u64, Outcome)> {
    let (recovery, _) = super::recover::recover(folder);
    recovery.calls.iter().map(|call| (call.call.n(), call.outcome)).collect()
}

#[tokio::test]
async fn what_was_sent_is_there_at_once_and_what_was_settled_soon() {
    let home = tempfile::tempdir().unwrap();
    let (journal, recovery) = Journal::open(home.path());
    assert!(recovery.calls.is_empty() && journal.view().state == "ok");
    let (tasks, events) = (Tasks::default(), Arc::new(EventBus::default()));
    journal.keep(&tasks, &events, |_| false);
    let calls = [CallId::new(7, 1), CallId::new(7, 2)];
    for call in &calls {
        journal.write(&sent(call)).unwrap();
    }
    assert_eq!(outcomes(home.path()), [(1, Outcome::Unknown), (2, Outcome::Unknown)]);
    journal.settled(settled(&calls[0]));
    until("the end is written", || outcomes(home.path()) == [(1, Outcome::Answered), (2, Outcome::Unknown)])
        .await;
    // What is gathered when the host ends is written as well.
    journal.settled(settled(&calls[1]));
    tasks.end(Duration::from_secs(5)).await;
    assert_eq!(outcomes(home.path()), [(1, Outcome::Answered), (2, Outcome::Answered)]);
}

#[tokio::test]
async fn what_was_gathered_goes_with_the_next_record() {
    let home = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(home.path());
    let (one, two) = (CallId::new(7, 1), CallId::new(7, 2));
    journal.write(&sent(&one)).unwrap();
    journal.settled(settled(&one));
    // Nobody keeps this journal: no task writes.
    assert_eq!(outcomes(home.path()), [(1, Outcome::Unknown)]);
    journal.write(&sent(&two)).unwrap();
    assert_eq!(outcomes(home.path()), [(1, Outcome::Answered), (2, Outcome::Unknown)]);
}

#[tokio::test]
async fn the_folder_is_bounded_and_what_must_be_kept_is_carried() {
    let home = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(home.path());
    let (tasks, events) = (Tasks::default(), Arc::new(EventBus::default()));
    let open = CallId::new(7, 1);
    let runs = open;
    journal.keep(&tasks, &events, move |call| *call == runs);
    journal.write(&sent(&open)).unwrap();
    let keyed = CallId::new(7, 2);
    journal.write(&keyed_at(&keyed, now())).unwrap();
    let answer = Answer { call: keyed, at: now(), result: b"{\"content\":[]}" };
    journal.write(&Entry::Answer(answer)).unwrap();
    // Many segments of calls that have ended.
    let mut batch = Vec::new();
    for n in 0..1500_u64 {
        batch.clear();
        for m in 0..400 {
            let call = CallId::new(8, n * 1000 + m);
            sent(&call).put(&mut batch);
            Entry::Settled(settled(&call)).put(&mut batch);
        }
        journal.append(&batch).unwrap();
        if n % 50 == 0 {
            // The keeper has the time that it has in a host: until it has kept up.
            until("the keeper keeps up", || Found::all(home.path()).unwrap().len() <= 9).await;
        }
    }
    let files = || Found::all(home.path()).unwrap();
    until("eight segments are left", || files().len() <= 8).await;
    assert!(files()[0].number > 1, "the first is gone");
    let bytes: u64 = files().iter().map(|file| std::fs::metadata(&file.path).unwrap().len()).sum();
    assert!(bytes <= 40 << 20, "{bytes} bytes");
    assert!(
        files().iter().all(|file| std::fs::metadata(&file.path).unwrap().mode() & 0o077 == 0),
        "ours alone"
    );
    tasks.end(Duration::from_secs(5)).await;
    let (_, recovery) = Journal::open(home.path());
    let unknown: Vec<_> = recovery.calls.iter().filter(|call| call.outcome == Outcome::Unknown).collect();
    assert_eq!(unknown.iter().map(|call| &call.call).collect::<Vec<_>>(), [&open], "it still ran");
    assert_eq!(recovery.keys.len(), 1);
    assert_eq!(recovery.keys[0].state, KeyState::Answered(b"{\"content\":[]}".as_slice().into()));
    assert_eq!(recovery.scanned, wharf_core::journal::Scanned::default());
}

#[tokio::test]
async fn who_asks_for_it_waits_for_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(home.path());
    let (tasks, events) = (Tasks::default(), Arc::new(EventBus::default()));
    journal.keep(&tasks, &events, |_| false);
    let mut all = Vec::new();
    for n in 0..32 {
        let journal = journal.clone();
        all.push(tasks.spawn(tracing::Span::none(), async move {
            let mut bytes = Vec::new();
            sent(&CallId::new(7, n)).put(&mut bytes);
            journal.durably(&bytes).await
        }));
    }
    for one in all {
        one.await.unwrap().unwrap();
    }
    assert_eq!(outcomes(home.path()).len(), 32);
    tasks.end(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_folder_that_takes_nothing_is_told_once_and_tried_again() {
    let home = tempfile::tempdir().unwrap();
    // A file where the folder should be: root may write anywhere, but not there.
    let folder = home.path().join("journal");
    std::fs::write(&folder, "").unwrap();
    let (journal, _) = Journal::open(&folder);
    assert_eq!(journal.view().state, "failing");
    let (tasks, events) = (Tasks::default(), Arc::new(EventBus::default()));
    journal.keep(&tasks, &events, |_| false);
    let call = CallId::new(7, 1);
    assert!(journal.write(&sent(&call)).is_err());
    let mut bytes = Vec::new();
    sent(&call).put(&mut bytes);
    assert!(journal.durably(&bytes).await.is_err());
    journal.settled(settled(&call));
    let view = journal.view();
    assert!(view.detail.is_some_and(|detail| detail.contains("make room")), "it says what helps");
    std::fs::remove_file(&folder).unwrap();
    until("it is written again", || journal.is_well()).await;
    journal.durably(&bytes).await.unwrap();
    assert_eq!(told(&events), ["failing", "ok"]);
    assert_eq!(outcomes(&folder), [(1, Outcome::Unknown)]);
    tasks.end(Duration::from_secs(5)).await;
}

/// The states that were told, in order.
fn told(events: &EventBus) -> Vec<String> {
    let missed = events.subscribe(Some(0)).missed;
    missed.iter().map(|event| event.data["state"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_disk_that_breaks_is_told_once_and_what_comes_later_goes_to_another_file() {
    let home = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(home.path());
    let (tasks, events) = (Tasks::default(), Arc::new(EventBus::default()));
    journal.keep(&tasks, &events, |_| false);
    let mut bytes = Vec::new();
    sent(&CallId::new(7, 1)).put(&mut bytes);
    journal.durably(&bytes).await.unwrap();
    journal.breaks();
    assert!(journal.write(&sent(&CallId::new(7, 2))).is_err());
    let view = journal.view();
    let detail = view.detail.unwrap();
    assert!(
        view.state == "failing" && detail.contains("os error 5") && detail.contains("the disk"),
        "{detail}"
    );
    assert!(journal.durably(&bytes).await.is_err(), "refused, and not waited for");
    until("it is written again", || journal.is_well()).await;
    bytes.clear();
    sent(&CallId::new(7, 3)).put(&mut bytes);
    journal.durably(&bytes).await.unwrap();
    assert_eq!(told(&events), ["failing", "ok"]);
    let known = outcomes(home.path());
    assert_eq!(known, [(1, Outcome::Unknown), (3, Outcome::Unknown)], "what was written before and after");
    tasks.end(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_segment_that_cannot_be_begun_is_told_and_tried_again() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("journal");
    let (journal, _) = Journal::open(&folder);
    let (tasks, events) = (Tasks::default(), Arc::new(EventBus::default()));
    journal.keep(&tasks, &events, |_| false);
    std::fs::rename(&folder, home.path().join("away")).unwrap();
    std::fs::write(&folder, "").unwrap();
    let mut batch = Vec::new();
    for n in 0..400 {
        sent(&CallId::new(8, n)).put(&mut batch);
    }
    // The open one is written to its end.
    let records = (0..1000).take_while(|_| journal.append(&batch).is_ok()).count();
    assert!((50..1000).contains(&records), "{records} records");
    assert_eq!(journal.view().state, "failing");
    std::fs::remove_file(&folder).unwrap();
    until("it is written again", || journal.append(&batch).is_ok()).await;
    assert!(journal.is_well());
    tasks.end(Duration::from_secs(5)).await;
}

#[test]
fn a_start_without_calls_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        let (journal, _) = Journal::open(home.path());
        assert_eq!(journal.view().state, "ok");
    }
    assert_eq!(Found::all(home.path()).unwrap().len(), 1);
}

#[test]
fn a_file_that_cannot_be_read_costs_no_other() {
    let home = tempfile::tempdir().unwrap();
    // Nobody reads a folder as a file, root neither.
    std::fs::create_dir(home.path().join("0000000000000001.journal")).unwrap();
    let inner = Inner::new(home.path().to_owned(), Writer::new(2));
    let all: Vec<u64> = (2..=9).collect();
    for _ in &all {
        inner.writer().open(home.path()).unwrap();
    }
    inner.clear_away();
    let left: Vec<_> = Found::all(home.path()).unwrap().iter().map(|file| file.number).collect();
    assert_eq!(left, all);
    assert!(home.path().join("unreadable").exists());
}

#[test]
fn the_default_journal_writes_nothing() {
    let journal = Journal::default();
    assert!(journal.append(b"x").is_err() && !journal.is_well());
    assert_eq!(journal.view().state, "off");
}
