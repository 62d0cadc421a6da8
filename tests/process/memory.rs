//! The limit of memory, by each mechanism that can hold it.

use std::time::Duration;

use wharf::process::Level;
use wharf_core::manifest::{ByteSize, Limits};
use wharf_plugin_api::{Cause, CauseKind};

use crate::harness::{World, skipped, until, within};

fn memory(bytes: u64) -> Limits {
    Limits { memory: Some(ByteSize(bytes)), ..Limits::default() }
}

const MIB: u64 = 1 << 20;

/// A process of the tree comes to hold 300 MB, and then nothing happens any more. The main process does not notice.
const HOG: &str = "(head -c 300000000 /dev/zero; sleep 1000) | tail & sleep 1000";

#[tokio::test]
async fn a_group_ends_the_whole_tree() {
    let world = World::new().await;
    let limits = memory(64 * MIB);
    if !world.held_by("memory", &limits).is_some_and(|by| by.starts_with("cgroup")) {
        skipped("no control group for memory can be made here");
        return;
    }
    let process = world.bounded(HOG, limits.clone()).await;
    let cause = Cause::of_exit(within(process.handle.gone()).await);
    assert_eq!(cause.kind, CauseKind::OutOfMemory, "{cause}");
    assert!(cause.detail.contains("at limits.memory = 64MiB, when they held 6"), "{cause}");
    assert!(world.said("wharf").contains("killed: the kernel"), "{}", world.said("wharf"));
    // The main process itself is the one that is killed.
    let process = world.bounded("exec tail /dev/zero", limits).await;
    assert!(within(process.handle.exited()).await.oom);
    within(process.handle.gone()).await;
    // Nobody is, where there is room.
    let process =
        world.bounded("head -c 300000000 /dev/zero | tail -c 1000 >/dev/null", memory(2048 * MIB)).await;
    let report = within(process.handle.gone()).await;
    assert_eq!((report.code, report.oom, report.note), (Some(0), false, None));
}

#[tokio::test]
async fn the_watchdog_does_where_there_is_no_group() {
    for level in [None, Some(Level::Subreaper)] {
        let world = World::without_groups(level).await;
        let limits = memory(64 * MIB);
        assert_eq!(world.held_by("memory", &limits).as_deref(), Some("watchdog"));
        let process = world.bounded(HOG, limits).await;
        let report = within(process.handle.gone()).await;
        let cause = Cause::of_exit(report.clone());
        assert_eq!(cause.kind, CauseKind::OutOfMemory, "{cause}");
        assert!(cause.detail.contains("more than limits.memory = 64MiB"), "{cause}");
        assert!(report.uptime < Duration::from_secs(20), "{:?}", report.uptime);
    }
}

#[tokio::test]
async fn a_tree_near_its_limit_is_warned_of_once_and_lives() {
    let world = World::without_groups(None).await;
    let hog = "(head -c 60000000 /dev/zero; echo up >&2; sleep 1000) | tail & sleep 1000";
    let process = world.bounded(hog, Limits::default()).await;
    until("it holds what it wants", || world.said("stderr").contains("up")).await;
    // What is asked for is measured once a second.
    until("it is measured", || process.handle.rss_bytes().is_some_and(|bytes| bytes > 60_000_000)).await;
    let held = process.handle.rss_bytes().unwrap();
    drop(process);
    let process = world.bounded(hog, memory(held / 95 * 100)).await;
    until("it is warned of", || world.said("wharf").contains("are killed")).await;
    assert_eq!(world.said("wharf").lines().count(), 1);
    process.handle.kill();
    assert!(!within(process.handle.gone()).await.oom);
}
