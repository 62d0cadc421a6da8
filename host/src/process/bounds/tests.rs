use std::sync::Arc;

use wharf_core::manifest::{ByteSize, Limits};
use wharf_plugin_api::ExitReport;

use super::{Bounds, Log};
use crate::process::cgroup::{GroupPlan, Hierarchy, Setting, Version};
use crate::process::logs::LogBook;
use crate::process::plan::LimitsPlan;
use crate::tasks::Tasks;

struct World {
    tasks: Tasks,
    book: Arc<LogBook>,
    bounds: Bounds,
    _dir: tempfile::TempDir,
}

fn world(limits: Limits) -> World {
    let dir = tempfile::tempdir().unwrap();
    let book = Arc::new(LogBook::new(dir.path().to_owned(), "p", Vec::new()));
    let tasks = Tasks::default();
    let log = Log { book: Arc::clone(&book), instance: 0, generation: 1 };
    let (bounds, made) = Bounds::make(&mut LimitsPlan::default(), "none", limits, log, &tasks);
    made.unwrap();
    World { tasks, book, bounds, _dir: dir }
}

impl World {
    async fn note(&self, code: Option<i32>, signal: Option<i32>, asked: bool) -> Option<String> {
        let report = ExitReport { code, signal, ..ExitReport::default() };
        let explained = self.bounds.explained(report, asked, &[], &self.tasks).await;
        assert!(!explained.oom);
        explained.note
    }
}

#[tokio::test]
async fn signals_are_told_by_what_they_mean() {
    let world = world(Limits { file_size: Some(ByteSize::mib(2)), ..Limits::default() });
    assert_eq!(world.note(None, Some(9), false).await.unwrap(), "the host did not send it");
    assert_eq!(world.note(None, Some(9), true).await, None);
    let beyond = "it wrote a file beyond the limit of limits.file_size = 2MiB";
    assert_eq!(world.note(None, Some(25), false).await.unwrap(), beyond);
    assert!(world.note(None, Some(24), false).await.unwrap().contains("processor time"));
    assert_eq!(world.note(Some(1), None, false).await, None);
    assert_eq!(world.note(None, Some(11), false).await, None);
}

#[tokio::test]
async fn a_full_heap_of_node_is_told_from_other_aborts() {
    let world = world(Limits { memory: Some(ByteSize::mib(64)), ..Limits::default() });
    assert_eq!(world.note(Some(134), None, false).await, None);
    world.book.append(0, 1, "stderr", "FATAL ERROR: Reached heap limit - JavaScript heap out of memory");
    (0..30).for_each(|n| world.book.append(0, 1, "stderr", &format!("{n}: 0xb8ced node::OOMErrorHandler")));
    for (code, signal) in [(Some(134), None), (None, Some(6))] {
        let note = world.note(code, signal, false).await.unwrap();
        assert_eq!(note, "its JavaScript heap was full, which is 75 % of limits.memory = 64MiB");
    }
    assert_eq!(world.note(Some(1), None, false).await, None);
}

#[tokio::test]
async fn what_cannot_be_made_is_told_and_memory_is_watched_instead() {
    let dir = tempfile::tempdir().unwrap();
    let book = Arc::new(LogBook::new(dir.path().join("logs"), "p", Vec::new()));
    let log = || Log { book: Arc::clone(&book), instance: 0, generation: 1 };
    let parent = dir.path().join("wharf-1");
    let hierarchy = Hierarchy { version: Version::V1, parent: parent.clone(), controllers: Vec::new() };
    // No kernel makes this file here.
    let settings = vec![Setting::needed("memory.limit_in_bytes", 1)];
    let mut plan = LimitsPlan { groups: vec![GroupPlan { hierarchy, settings }], ..LimitsPlan::default() };
    let limits = Limits { memory: Some(ByteSize::mib(64)), ..Limits::default() };
    let (_, made) = Bounds::make(&mut plan, "mark", limits.clone(), log(), &Tasks::default());
    assert!(made.unwrap_err().to_string().contains("mark/memory.limit_in_bytes"));
    assert!(plan.watchdog && plan.join.is_empty());
    assert!(book.tail(1)[0].text.contains("a control group cannot be made"));
    assert!(!parent.exists(), "nothing is left of it");
    // What only helps may be missing.
    plan.groups[0].settings = vec![Setting::wished("memory.oom.group", 1)];
    let (bounds, made) = Bounds::make(&mut plan, "mark", limits, log(), &Tasks::default());
    made.unwrap();
    assert_eq!(plan.join, [parent.join("mark/cgroup.procs")]);
    bounds.remove();
    assert!(!parent.exists());
}
