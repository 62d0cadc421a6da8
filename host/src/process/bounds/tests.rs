use std::sync::Arc;

use wharf_core::manifest::{ByteSize, Limits, Strictness};
use wharf_plugin_api::ExitReport;

use super::{Bounded, Bounds, Log};
use crate::process::cgroup::{GroupPlan, Hierarchy, Purpose, Setting, Version};
use crate::process::logs::LogBook;
use crate::process::plan::{InForce, LimitsPlan};
use crate::tasks::Tasks;

struct World {
    tasks: Tasks,
    book: Arc<LogBook>,
    bounds: Bounds,
    _dir: tempfile::TempDir,
}

fn bounded(name: &str, limits: Limits) -> Bounded {
    let name = name.to_owned();
    let (strictness, in_force) = (Strictness::BestEffort, InForce::default());
    Bounded { name, limits, strictness, heap_bounded: true, in_force }
}

fn world(limits: Limits) -> World {
    world_of(bounded("none", limits))
}

fn world_of(bounded: Bounded) -> World {
    let dir = tempfile::tempdir().unwrap();
    let book = Arc::new(LogBook::new(dir.path().to_owned(), "p", Vec::new()));
    let tasks = Tasks::default();
    let log = Log { book: Arc::clone(&book), instance: 0, generation: 1 };
    let bounds = Bounds::make(&mut LimitsPlan::default(), bounded, log, &tasks).unwrap();
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
async fn a_heap_of_the_plugins_own_size_is_not_told_as_ours() {
    let limits = Limits { memory: Some(ByteSize::mib(64)), ..Limits::default() };
    let world = world_of(Bounded { heap_bounded: false, ..bounded("none", limits) });
    world.book.append(0, 1, "stderr", "FATAL ERROR: JavaScript heap out of memory");
    assert_eq!(world.note(None, Some(6), false).await.unwrap(), "its JavaScript heap was full");
}

#[tokio::test]
async fn what_cannot_be_made_is_told_and_takes_nothing_else_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let book = Arc::new(LogBook::new(dir.path().join("logs"), "p", Vec::new()));
    let log = || Log { book: Arc::clone(&book), instance: 0, generation: 1 };
    let group = |name: &str, settings, kills| {
        let parent = dir.path().join(name);
        let hierarchy = Hierarchy { version: Version::V1, parent, controllers: Vec::new() };
        GroupPlan { hierarchy, settings, kills }
    };
    // No kernel makes these files here.
    let memory = vec![Setting::needed("memory", "memory.limit_in_bytes", 1)];
    let helps = vec![Setting::new(Purpose::Ease, "memory.oom.group", 1)];
    let groups = vec![group("wharf-1", memory, false), group("wharf-2", helps, false)];
    let mut plan = LimitsPlan { groups, ..LimitsPlan::default() };
    let limits = Limits { memory: Some(ByteSize::mib(64)), ..Limits::default() };
    let tasks = Tasks::default();
    let bounds = Bounds::make(&mut plan, bounded("mark", limits.clone()), log(), &tasks).unwrap();
    assert!(plan.watchdog);
    assert_eq!(plan.join, [dir.path().join("wharf-2/mark/cgroup.procs")], "the other one is made");
    assert!(!dir.path().join("wharf-1").exists(), "nothing is left of it");
    let in_force = bounds.in_force();
    assert_eq!(in_force.limits["memory"], "watchdog");
    assert!(in_force.gaps[0].contains("memory.limit_in_bytes of a group in "), "{in_force:?}");
    assert_eq!(book.tail(1)[0].text, in_force.gaps[0]);
    assert!(bounds.remove());
    assert!(!dir.path().join("wharf-2").exists());
}

#[tokio::test]
async fn strict_is_not_launched_without_the_group_that_holds_it_together() {
    let dir = tempfile::tempdir().unwrap();
    let book = Arc::new(LogBook::new(dir.path().join("logs"), "p", Vec::new()));
    let group = |at: &str, settings, kills| {
        let hierarchy =
            Hierarchy { version: Version::V2, parent: dir.path().join(at), controllers: Vec::new() };
        GroupPlan { hierarchy, settings, kills }
    };
    let groups = vec![group("wharf-1", Vec::new(), false), group("no/such/wharf-2", Vec::new(), true)];
    let make = |strictness| {
        let mut plan = LimitsPlan { groups: groups.clone(), ..LimitsPlan::default() };
        let log = Log { book: Arc::clone(&book), instance: 0, generation: 1 };
        let bounded = Bounded { strictness, ..bounded("mark", Limits::default()) };
        Bounds::make(&mut plan, bounded, log, &Tasks::default())
    };
    let cause = make(Strictness::Strict).unwrap_err();
    assert!(cause.detail.contains("no/such/wharf-2"), "{cause}");
    assert!(!dir.path().join("wharf-1").exists(), "nothing is left of it");
    let bounds = make(Strictness::BestEffort).unwrap();
    assert_eq!(bounds.in_force().containment, "subreaper");
    assert!(bounds.in_force().gaps[0].contains("no/such/wharf-2"));
    assert!(bounds.remove());
}
