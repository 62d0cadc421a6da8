use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

const LONG: Duration = Duration::from_secs(20);

/// Quick, so that a test does not wait; each way of noticing alone.
const NOTICES: Timing = Timing {
    quiet: Duration::from_millis(5),
    most: Duration::from_millis(50),
    poll: Duration::from_secs(600),
    notices: true,
};
const POLL: Timing = Timing {
    quiet: Duration::from_millis(5),
    most: Duration::from_millis(50),
    poll: Duration::from_millis(5),
    notices: false,
};

/// Waits for a tick that comes of `change`: those of before are used up first.
async fn ticks(dir: &Path, timing: Timing, change: impl FnOnce()) {
    let tasks = Tasks::default();
    let mut receiver = start(dir, &tasks, timing);
    if timing.notices {
        // The first tick says that the watch stands.
        timeout(LONG, receiver.changed()).await.unwrap().unwrap();
    } else {
        // A change before the first fingerprint is no change: make one until it is seen.
        let mark = dir.join("mark.toml");
        let mut n = 0_u32;
        while timeout(Duration::from_millis(50), receiver.changed()).await.is_err() {
            n += 1;
            std::fs::write(&mark, n.to_string().repeat(n as usize)).unwrap();
            assert!(n < 400, "never seen");
        }
    }
    receiver.mark_unchanged();
    change();
    timeout(LONG, receiver.changed()).await.expect("a tick").unwrap();
    assert_eq!(tasks.end(LONG).await, 0);
}

#[tokio::test]
async fn a_new_a_changed_and_a_removed_file_tick() {
    for timing in [NOTICES, POLL] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        ticks(dir.path(), timing, || std::fs::write(&file, "a").unwrap()).await;
        ticks(dir.path(), timing, || std::fs::write(&file, "longer").unwrap()).await;
        ticks(dir.path(), timing, || {
            std::fs::write(dir.path().join(".a.tmp"), "new").unwrap();
            std::fs::rename(dir.path().join(".a.tmp"), &file).unwrap();
        })
        .await;
        ticks(dir.path(), timing, || std::fs::remove_file(&file).unwrap()).await;
    }
}

#[tokio::test]
async fn a_swap_of_what_links_lead_to_ticks() {
    for timing in [NOTICES, POLL] {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("..1", "one"), ("..2", "two")] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("a.toml"), text).unwrap();
        }
        symlink("..1", dir.path().join("..data")).unwrap();
        symlink("..data/a.toml", dir.path().join("a.toml")).unwrap();
        ticks(dir.path(), timing, || {
            symlink("..2", dir.path().join("..data_tmp")).unwrap();
            std::fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn a_bundle_ticks_by_its_manifest_only() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("b")).unwrap();
    std::fs::write(dir.path().join("b/plugin.toml"), "x").unwrap();
    let before = fingerprint(dir.path());
    std::fs::write(dir.path().join("b/data.db"), "x").unwrap();
    assert_eq!(fingerprint(dir.path()), before);
    ticks(dir.path(), POLL, || std::fs::write(dir.path().join("b/plugin.toml"), "longer").unwrap()).await;
}

#[tokio::test]
async fn what_editors_leave_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let before = fingerprint(dir.path());
    for name in ["a.toml~", ".#a.toml", ".a.toml.swp", "a.swp", "a.tmp"] {
        std::fs::write(dir.path().join(name), "x").unwrap();
    }
    assert_eq!(fingerprint(dir.path()), before);
    assert_eq!(fingerprint(&dir.path().join("none")), 0);
}

#[tokio::test]
async fn a_folder_that_comes_later_or_again_is_watched() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("plugins");
    let tasks = Tasks::default();
    // Notices alone tell of files; the poll finds the folder.
    let timing = Timing { poll: Duration::from_millis(5), ..NOTICES };
    let mut receiver = start(&dir, &tasks, timing);
    for _ in 0..2 {
        std::fs::create_dir(&dir).unwrap();
        timeout(LONG, receiver.changed()).await.unwrap().unwrap();
        std::fs::write(dir.join("a.toml"), "x").unwrap();
        timeout(LONG, receiver.changed()).await.unwrap().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        timeout(LONG, receiver.changed()).await.unwrap().unwrap();
    }
    assert_eq!(tasks.end(LONG).await, 0);
}

#[test]
fn reading_is_no_change() {
    assert!(!matters(&EventKind::Access(AccessKind::Open(AccessMode::Any))));
    assert!(!matters(&EventKind::Access(AccessKind::Close(AccessMode::Read))));
    assert!(matters(&EventKind::Access(AccessKind::Close(AccessMode::Write))));
    assert!(matters(&EventKind::Create(notify::event::CreateKind::File)));
}
