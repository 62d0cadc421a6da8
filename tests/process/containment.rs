//! Nothing of a tree is left, at each level of containment: whoever dies, and whatever the tree does to stay.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use wharf::process::Level;
use wharf_core::manifest::Span;

use crate::harness::{World, kill_hard, line, lives, mark_of, marked, shim_of, signal, tells, until, within};

/// A tree with everything that escapes from simpler ways of killing: a child, a daemon in a session of its own that has
/// closed its streams, and one that has forked twice. Goes on once all of it runs.
const TREE: &str = r"
    rm -f daemon double
    sleep 1000 &
    setsid sh -c 'echo $$ >daemon; exec sleep 1000 </dev/null >/dev/null 2>&1' &
    (setsid sh -c '(echo x >double; exec sleep 1000 </dev/null >/dev/null 2>&1) & exit' &)
    while ! [ -s daemon ] || ! [ -s double ]; do :; done
";

/// Waits until every process of the tree is seen. The files of its script are there before the last programs are, and between
/// two programs a process has no environment.
async fn whole(mark: &str) {
    until("the whole tree is there", || marked(mark).len() >= 4).await;
}

/// Forks itself anew in new sessions for as long as it lives.
const RESPAWNER: &str = r#"
    export SELF='setsid sh -c "$SELF" & setsid sh -c "$SELF" & sleep 0.02; exit'
    setsid sh -c 'while :; do setsid sleep 1000 & setsid sleep 0.01 & done' &
    echo up; exec sleep 1000
"#;

#[tokio::test]
async fn what_the_main_process_leaves_is_gone_before_gone_is_said() {
    for world in World::each().await {
        let mut process = world.run(&format!("{TREE} echo $WHARF_INSTANCE; exit 3")).await;
        let mark = format!("WHARF_INSTANCE={}", line(&mut process).await);
        let report = within(process.handle.gone()).await;
        assert_eq!(report.code, Some(3));
        assert_eq!(marked(&mark), [""; 0], "{:?}", world.machine.level());
    }
}

#[tokio::test]
async fn the_end_is_told_at_once_though_the_pipes_stay_open() {
    let world = World::new().await;
    let mut launch = world.sh("echo up; read line; exit 4");
    launch.stdin = true;
    let mut process = world.spawn(launch).await.unwrap();
    line(&mut process).await;
    // Somebody outside of the tree has them open for writing.
    let pid = process.handle.pid();
    let open = |fd| std::fs::File::options().write(true).open(format!("/proc/{pid}/fd/{fd}")).unwrap();
    let held = [open(1), open(2)];
    drop(process.stdin.take());
    assert_eq!(within(process.handle.exited()).await.code, Some(4));
    assert_eq!(within(process.handle.gone()).await.code, Some(4));
    drop(held);
}

#[tokio::test]
async fn stop_ends_the_whole_tree() {
    for world in World::each().await {
        let mut process = world.run(&format!("{TREE} echo up; wait")).await;
        line(&mut process).await;
        let mark = mark_of(&process.handle);
        whole(&mark).await;
        within(process.handle.stop()).await.unwrap();
        assert_eq!(process.handle.rss_bytes(), None);
        assert_eq!(marked(&mark), [""; 0], "{:?}", world.machine.level());
    }
}

#[tokio::test]
async fn the_memory_of_the_tree_is_known() {
    for world in World::each().await.into_iter().filter(|world| world.machine.level() != Level::ProcessGroup)
    {
        let mut process = world.run(&format!("{TREE} echo up; wait")).await;
        line(&mut process).await;
        assert!(process.handle.rss_bytes() > Some(4 * 64 * 1024), "{:?}", world.machine.level());
        within(process.handle.stop()).await.unwrap();
    }
}

#[tokio::test]
async fn a_respawner_is_beaten() {
    // What only kills what it finds cannot promise it.
    for world in World::each().await.into_iter().filter(|world| world.machine.level() != Level::ProcessGroup)
    {
        let mut launch = world.sh(RESPAWNER);
        launch.stop.term = Span::millis(1);
        let mut process = world.spawn(launch).await.unwrap();
        line(&mut process).await;
        let mark = mark_of(&process.handle);
        until("the tree grows", || marked(&mark).len() > 20).await;
        within(process.handle.stop()).await.unwrap();
        assert_eq!(marked(&mark), [""; 0], "{:?}", world.machine.level());
    }
}

#[tokio::test]
async fn dropping_the_process_kills_it() {
    for world in World::each().await {
        let mut process = world.run(&format!("{TREE} echo up; wait")).await;
        line(&mut process).await;
        let mark = mark_of(&process.handle);
        drop(process);
        until("the tree is gone", || marked(&mark).is_empty()).await;
    }
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
    for world in World::each().await {
        let level = world.machine.level();
        // One process has wiped its environment: outside of a namespace it is found by its session.
        let mut process =
            world.run(&format!("{TREE} env -i sleep 7{:06} & echo up; wait", std::process::id())).await;
        line(&mut process).await;
        let mark = mark_of(&process.handle);
        until("the wiped one runs", || wiped() == 1).await;
        kill_hard(shim_of(&process.handle));
        let report = within(process.handle.gone()).await;
        assert_eq!(report.signal, Some(9), "{level:?}");
        assert_eq!(marked(&mark), [""; 0], "{level:?}");
        assert_eq!(wiped(), 0, "{level:?}");
        assert!(
            world.log.tail(5).iter().any(|line| line.stream == "wharf" && line.text.contains("was killed"))
        );
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
}

#[tokio::test]
async fn what_was_seen_below_a_killed_shim_is_found_whatever_it_has_become() {
    for level in [Level::Subreaper, Level::ProcessGroup] {
        let world = World::without_groups(Some(level)).await;
        assert_eq!(world.machine.level(), level);
        let number = format!("{}{:06}", level as u8 + 1, std::process::id());
        // Neither its session nor its environment tells whose it is.
        let script = format!("env -i setsid sleep {number} & echo up; wait");
        let mut process = world.run(&script).await;
        line(&mut process).await;
        until("it runs", || sleeping(&number) == 1).await;
        // It is looked for each second; nothing tells when that is done.
        let since = std::time::Instant::now();
        until("it was seen", || since.elapsed() > Duration::from_secs(3)).await;
        kill_hard(shim_of(&process.handle));
        within(process.handle.gone()).await;
        assert_eq!(sleeping(&number), 0, "{level:?}");
    }
}

/// How many of the processes without any mark live.
fn wiped() -> usize {
    sleeping(&format!("7{:06}", std::process::id()))
}

/// How many live that sleep for so long.
fn sleeping(argument: &str) -> usize {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let is_it = |pid: &String| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command == [b"sleep\0".as_slice(), argument.as_bytes(), b"\0"].concat() && lives(pid)
    };
    pids.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_it).count()
}

#[tokio::test]
async fn a_stopped_shim_does_not_save_its_tree() {
    for world in World::each().await {
        let mut process = world.run(&format!("{TREE} echo up; wait")).await;
        line(&mut process).await;
        let mark = mark_of(&process.handle);
        let shim = shim_of(&process.handle);
        signal(shim, "STOP");
        process.handle.kill();
        within(process.handle.gone()).await;
        assert!(!lives(&shim.to_string()));
        assert_eq!(marked(&mark), [""; 0], "{:?}", world.machine.level());
    }
}

#[tokio::test]
async fn a_killed_host_leaves_nothing() {
    for world in World::each().await.into_iter().filter(|world| world.machine.level() != Level::ProcessGroup)
    {
        let mut other = Other::start(&world).await;
        other.host.kill().unwrap();
        other.host.wait().unwrap();
        until("the tree is gone", || marked(&other.mark).is_empty()).await;
        // It removes the control groups.
        World::on(world.folder.clone(), &[], None).await;
    }
}

#[tokio::test]
async fn host_and_shim_killed_together_leave_nothing_or_the_next_host_ends_it() {
    for world in World::each().await {
        let level = world.machine.level();
        let mut other = Other::start(&world).await;
        let host = i32::try_from(other.host.id()).unwrap();
        // Stopped first, so that neither sees the other's end.
        for name in ["STOP", "KILL"] {
            signal(other.shim, name);
            signal(host, name);
        }
        other.host.wait().unwrap();
        if level.is_namespace() {
            until("the tree is gone", || marked(&other.mark).is_empty()).await;
            World::on(world.folder.clone(), &[], None).await;
        } else {
            assert!(!marked(&other.mark).is_empty(), "{level:?}: this is what the ledger is for");
            let _next = World::on(world.folder, &[], Some(level)).await;
            assert_eq!(marked(&other.mark), [""; 0], "{level:?}: before anything is started");
        }
    }
}

/// Another host, which has started the tree.
struct Other {
    host: Child,
    mark: String,
    shim: i32,
}

impl Other {
    async fn start(world: &World) -> Self {
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.env("WHARF_TEST_LEVEL", world.machine.level().as_str());
        program.env("WHARF_TEST_DIR", &world.folder);
        let (host, told) = tells(&mut program, "containment::host_program", "MARK ");
        let (mark, shim) = told.split_once(' ').unwrap();
        whole(mark).await;
        Self { host, mark: mark.to_owned(), shim: shim.parse().unwrap() }
    }
}

/// A host that starts a tree, says so and hangs. It is killed; if that fails, it ends by itself.
#[tokio::test]
#[ignore = "a program for other tests"]
async fn host_program() {
    let level = std::env::var("WHARF_TEST_LEVEL").unwrap();
    let level = Level::ALL.into_iter().find(|one| one.as_str() == level).unwrap();
    let folder = PathBuf::from(std::env::var("WHARF_TEST_DIR").unwrap());
    let world = World::on(folder, &[], Some(level)).await;
    let mut process = world.run(&format!("{TREE} echo up; wait")).await;
    line(&mut process).await;
    println!("MARK {} {}", mark_of(&process.handle), shim_of(&process.handle));
    tokio::time::sleep(Duration::from_secs(60)).await;
}
