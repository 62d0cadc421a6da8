//! Each limit of a manifest binds a real process, and is told when it was the end of it.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use wharf::process::Level;
use wharf_core::manifest::{ByteSize, Limits};
use wharf_plugin_api::{Cause, CauseKind};

use crate::harness::{World, kill_hard, line, read, skipped, until, within};

fn pids(most: u32) -> Limits {
    Limits { pids: most, ..Limits::default() }
}

/// Starts so many processes, if it may, and counts them on its stdout.
fn many(count: u32) -> String {
    format!("n=0; while [ $n -lt {count} ]; do sleep 1000 & n=$((n+1)); echo $n; done; echo all; wait")
}

/// The last number that was printed, or `all`.
async fn reached(world: &World, count: u32, most: u32) -> String {
    let mut process = world.bounded(&many(count), pids(most)).await;
    let (mut text, mut some) = (String::new(), [0; 1024]);
    let stdout = process.stdout.as_mut().unwrap();
    while !text.contains("all") {
        match within(stdout.read(&mut some)).await.unwrap() {
            0 => break,
            n => text.push_str(std::str::from_utf8(some.get(..n).unwrap()).unwrap()),
        }
    }
    process.handle.kill();
    within(process.handle.gone()).await;
    text.lines().last().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_fork_bomb_is_bounded_and_told() {
    let world = World::new().await;
    let Some(by) = world.held_by("pids", &pids(20)).filter(|by| by.starts_with("cgroup")) else {
        skipped("no control group for pids can be made here");
        return;
    };
    let last = reached(&world, 60, 20).await;
    assert!(last.parse::<u32>().is_ok_and(|n| n < 20), "{by}: {last}");
    assert!(world.said("wharf").contains("it has all 20 of limits.pids"), "{}", world.said("wharf"));
    assert_eq!(reached(&world, 60, 512).await, "all", "it is the limit that stops it");
}

#[tokio::test]
async fn without_groups_the_numbers_of_the_namespace_bound_it() {
    let world = World::without_groups(None).await;
    if world.held_by("pids", &pids(1)).is_none() {
        skipped("the pid_max of a PID namespace is not its own here");
        return;
    }
    let last = reached(&world, 400, 1).await;
    assert!(last.parse::<u32>().is_ok_and(|n| n < 301), "{last}");
    assert_eq!(reached(&world, 400, 512).await, "all", "it is the limit that stops it");
}

#[tokio::test]
async fn what_nothing_holds_is_told() {
    let world = World::without_groups(Some(Level::Subreaper)).await;
    let limits = Limits { cpu: Some(0.5), memory: Some(ByteSize::mib(64)), ..Limits::default() };
    let sandbox = wharf_core::manifest::Sandbox::default();
    let in_force = world.machine.in_force(&limits, &sandbox, None).unwrap();
    assert_eq!(in_force.limits.get("memory").map(String::as_str), Some("watchdog"));
    let gap = |key: &str| {
        in_force.gaps.iter().any(|gap| gap.starts_with(key) && gap.contains("told to use no control"))
    };
    assert!(
        gap("limits.cpu = 0.5 is not held") && gap("limits.pids = 512, the default"),
        "{:?}",
        in_force.gaps
    );
}

#[tokio::test]
async fn a_share_of_a_processor_is_all_it_gets() {
    let world = World::new().await;
    let limits = Limits { cpu: Some(0.2), ..Limits::default() };
    if world.held_by("cpu", &limits).is_none() {
        skipped("no control group for cpu can be made here");
        return;
    }
    let busy = "end=$(($(date +%s)+3)); while [ $(date +%s) -lt $end ]; do i=0; while [ $i -lt 9999 ]; do i=$((i+1)); done; done";
    let process = world.bounded(busy, limits).await;
    let report = within(process.handle.gone()).await;
    let (used, wall) = (u128::from(report.user_ms + report.system_ms), report.uptime.as_millis());
    assert!(used * 2 < wall, "it used {used} ms in {wall} ms");
    assert!(wall > 1500, "it ran for a while: {wall} ms");
}

#[tokio::test]
async fn open_files_are_bounded() {
    let world = World::new().await;
    let limits = Limits { open_files: Some(24), ..Limits::default() };
    let script = "ulimit -n; ulimit -Hn; n=0; all=; while [ $n -lt 30 ]; do : > f$n; all=\"$all f$n\"; n=$((n+1)); done; \
        cat $all >/dev/null; export LC_ALL=C; exec timeout 20 tail -f $all";
    let mut launch = world.sh(script);
    launch.cwd = world.folder.clone();
    launch.limits = limits;
    let mut process = world.spawn(launch).await.unwrap();
    assert_eq!((line(&mut process).await, line(&mut process).await), ("24".to_owned(), "24".to_owned()));
    until("the 25th file is refused", || world.said("stderr").contains("Too many open files")).await;
    process.handle.kill();
    within(process.handle.gone()).await;
}

#[tokio::test]
async fn a_file_beyond_the_limit_is_an_error_that_the_plugin_can_tell() {
    let world = World::new().await;
    for (file_size, expected) in [(Some(ByteSize::mib(1)), "1\n1048576\n"), (None, "0\n3000000\n")] {
        let script = "rm -f big; LC_ALL=C head -c 3000000 /dev/zero > big; echo $?; stat -c %s big";
        let mut launch = world.sh(script);
        launch.cwd = world.folder.clone();
        launch.limits = Limits { file_size, ..Limits::default() };
        let mut process = world.spawn(launch).await.unwrap();
        assert_eq!(read(&mut process).await, expected);
        assert_eq!(within(process.handle.gone()).await.code, Some(0));
    }
    assert!(world.said("stderr").contains("File too large"), "{}", world.said("stderr"));
}

#[tokio::test]
async fn a_kill_that_was_not_ours_is_told_as_that() {
    let world = World::new().await;
    let mut process = world.run("echo up; exec sleep 1000").await;
    line(&mut process).await;
    kill_hard(i32::try_from(process.handle.pid()).unwrap());
    let cause = Cause::of_exit(within(process.handle.exited()).await);
    assert_eq!(cause.kind, CauseKind::Signalled);
    assert_eq!(cause.detail, "ended by signal 9 (SIGKILL): the host did not send it");
    let process = world.run("exec sleep 1000").await;
    process.handle.kill();
    assert_eq!(Cause::of_exit(within(process.handle.gone()).await).detail, "ended by signal 9 (SIGKILL)");
}

#[tokio::test]
async fn only_so_many_lines_are_kept() {
    let world = World::new().await;
    let limits = Limits { log_rate: 2, ..Limits::default() };
    let process =
        world.bounded("n=0; while [ $n -lt 200 ]; do echo line >&2; n=$((n+1)); done", limits).await;
    within(process.handle.gone()).await;
    // Ten at once, two a second, and the last twenty, which tell why it ended.
    let kept = world.said("stderr").lines().count();
    assert!((30..100).contains(&kept), "{kept}");
    assert!(world.said("wharf").contains("faster than 2 lines a second"), "{}", world.said("wharf"));
}

#[tokio::test]
async fn a_full_heap_of_node_is_told() {
    let world = World::new().await;
    let Ok(node) =
        wharf::process::find::program("node", &world.folder, &std::env::var("PATH").unwrap_or_default())
    else {
        skipped("there is no Node.js here");
        return;
    };
    let leak = "const all = []; for (;;) all.push(new Array(1000).fill(all.length))";
    let mut launch = world.launch(node.to_str().unwrap(), &["-e", leak]);
    launch.env = vec![("NODE_OPTIONS".to_owned(), "--max-old-space-size=24".to_owned())];
    // Far above: it is not the limit that kills.
    launch.limits = Limits { memory: Some(ByteSize::mib(2048)), ..Limits::default() };
    let process = world.spawn(launch).await.unwrap();
    let cause =
        Cause::of_exit(tokio::time::timeout(Duration::from_secs(60), process.handle.exited()).await.unwrap());
    assert_eq!(cause.kind, CauseKind::Signalled, "{cause}");
    assert_eq!(cause.detail, "ended by signal 6 (SIGABRT): its JavaScript heap was full", "its own size");
    within(process.handle.gone()).await;
}
