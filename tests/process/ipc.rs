//! What outlives all processes: System V shared memory is made in a namespace of its own, and goes with it.

use wharf::process::Level;

use crate::harness::{World, read, within};

/// Segments of shared memory of this machine.
fn segments() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
    text.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().nth(1)).map(str::to_owned).collect()
}

#[tokio::test]
async fn shared_memory_goes_with_its_namespace() {
    for level in [Level::PidNamespace, Level::UserPidNamespace] {
        let Some(world) = World::at(level).await else {
            eprintln!("SKIPPED at the level {}: this machine does not have it", level.as_str());
            continue;
        };
        let before = segments();
        let mut process = world.run("ipcmk -M 4096 >/dev/null && wc -l </proc/sysvipc/shm").await;
        assert_eq!(read(&mut process).await.trim(), "2", "its own, below the title");
        within(process.handle.gone()).await;
        assert_eq!(segments(), before, "{level:?}");
    }
}
