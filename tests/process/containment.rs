//! Nothing of a tree is left: whoever dies, and whatever the tree does to stay.

use std::io::BufRead;
use std::process::{Command, Stdio};
use std::time::Duration;

use wharf::process::Level;
use wharf_core::manifest::Span;

use crate::harness::{World, kill_hard, line, lives, mark_of, marked, shim_of, until, within};

/// A tree with everything that escapes from simpler ways of killing: a child, a daemon in a session of its own that has
/// closed its streams, and one that has forked twice. Prints `up` once all of it runs.
const TREE: &str = r"
    sleep 1000 &
    setsid sh -c 'echo $$ >daemon; exec sleep 1000 </dev/null >/dev/null 2>&1' &
    (setsid sh -c '(echo x >double; exec sleep 1000 </dev/null >/dev/null 2>&1) & exit' &)
    while ! [ -s daemon ] || ! [ -s double ]; do :; done
";

/// Forks itself anew in new sessions for as long as it lives.
const RESPAWNER: &str = r#"
    export SELF='setsid sh -c "$SELF" & setsid sh -c "$SELF" & sleep 0.02; exit'
    setsid sh -c 'while :; do setsid sleep 1000 & setsid sleep 0.01 & done' &
    echo up; exec sleep 1000
"#;

#[tokio::test]
async fn what_the_main_process_leaves_is_gone_before_gone_is_said() {
    let world = World::new().await;
    let mut process = world.run(&format!("{TREE} echo $WHARF_INSTANCE; exit 3")).await;
    let mark = format!("WHARF_INSTANCE={}", line(&mut process).await);
    let report = within(process.handle.gone()).await;
    assert_eq!(report.code, Some(3));
    assert_eq!(marked(&mark), [""; 0]);
}

#[tokio::test]
async fn the_end_is_told_at_once_though_the_pipes_stay_open() {
    let world = World::new().await;
    // The pipe to us is held by this test as long as `process` lives; `exited` must not wait for its end.
    let process = world.run("sleep 1000 & exit 4").await;
    assert_eq!(within(process.handle.exited()).await.code, Some(4));
}

#[tokio::test]
async fn stop_ends_the_whole_tree() {
    let world = World::new().await;
    let mut process = world.run(&format!("{TREE} echo up; wait")).await;
    line(&mut process).await;
    let mark = mark_of(&process.handle);
    assert!(marked(&mark).len() >= 4, "{:?}", marked(&mark));
    assert!(process.handle.rss_bytes() > Some(4 * 64 * 1024));
    within(process.handle.stop()).await.unwrap();
    assert_eq!(process.handle.rss_bytes(), None);
    assert_eq!(marked(&mark), [""; 0]);
}

#[tokio::test]
async fn a_respawner_is_beaten() {
    let world = World::new().await;
    let mut launch = world.sh(RESPAWNER);
    launch.stop.term = Span::millis(1);
    let mut process = world.spawn(launch).await.unwrap();
    line(&mut process).await;
    let mark = mark_of(&process.handle);
    until("the tree grows", || marked(&mark).len() > 20).await;
    within(process.handle.stop()).await.unwrap();
    assert_eq!(marked(&mark), [""; 0]);
}

#[tokio::test]
async fn dropping_the_process_kills_it() {
    let world = World::new().await;
    let mut process = world.run(&format!("{TREE} echo up; wait")).await;
    line(&mut process).await;
    let mark = mark_of(&process.handle);
    drop(process);
    until("the tree is gone", || marked(&mark).is_empty()).await;
}

#[tokio::test]
async fn the_end_of_the_host_s_tasks_kills_it() {
    let world = World::new().await;
    let process = world.run("sleep 1000").await;
    assert_eq!(within(world.tasks.end(Duration::from_secs(20))).await, 0);
    assert_eq!(within(process.handle.gone()).await.signal, Some(9));
}

#[tokio::test]
async fn a_killed_shim_takes_its_tree_with_it() {
    let world = World::at(Level::Subreaper).await.unwrap();
    // One process has wiped its environment: it is found by its session.
    let mut process = world.run(&format!("{TREE} env -i sleep 1000 & echo $!; wait")).await;
    let wiped = line(&mut process).await;
    let mark = mark_of(&process.handle);
    kill_hard(shim_of(&process.handle));
    let report = within(process.handle.gone()).await;
    assert_eq!(report.signal, Some(9));
    assert_eq!(marked(&mark), [""; 0]);
    assert!(!lives(&wiped));
    assert!(world.log.tail(5).iter().any(|line| line.stream == "wharf" && line.text.contains("was killed")));
    let zombies = || {
        let stats = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok());
        let own = format!(") Z {} ", std::process::id());
        let session = format!(" {} ", process.handle.pid());
        stats.filter(|stat| stat.contains(&own) && stat.contains(&session)).count()
    };
    assert_eq!(zombies(), 0, "the host reaps what it adopts");
}

#[tokio::test]
async fn a_stopped_shim_does_not_save_its_tree() {
    let world = World::new().await;
    let mut process = world.run(&format!("{TREE} echo up; wait")).await;
    line(&mut process).await;
    let mark = mark_of(&process.handle);
    let shim = shim_of(&process.handle).to_string();
    let stopped = Command::new("kill").args(["-STOP", &shim]).status().unwrap();
    assert!(stopped.success());
    process.handle.kill();
    within(process.handle.gone()).await;
    assert!(!lives(&shim));
    assert_eq!(marked(&mark), [""; 0]);
}

#[tokio::test]
async fn a_killed_host_leaves_nothing() {
    let program = std::env::current_exe().unwrap();
    let mut host = Command::new(program)
        .args(["--exact", "containment::host_program", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(host.stdout.take().unwrap()).lines();
    let mark =
        lines.map(Result::unwrap).find_map(|line| Some(line.split_once("MARK ")?.1.to_owned())).unwrap();
    until("the whole tree is there", || marked(&mark).len() >= 4).await;
    host.kill().unwrap();
    host.wait().unwrap();
    until("the tree is gone", || marked(&mark).is_empty()).await;
}

/// A host that starts a tree, says so and hangs. It is killed; if that fails, it ends by itself.
#[tokio::test]
#[ignore = "a program for another test"]
async fn host_program() {
    // There is no next host that would remove its groups.
    let world = World::without_groups(None).await;
    let mut process = world.run(&format!("{TREE} echo up; wait")).await;
    line(&mut process).await;
    println!("MARK {}", mark_of(&process.handle));
    tokio::time::sleep(Duration::from_secs(60)).await;
}
