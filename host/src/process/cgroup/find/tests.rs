use std::cell::RefCell;
use std::fs;
use std::path::Path;

use super::super::attempt::Aim;
use super::super::{Cgroups, GroupPlan, Version};
use super::{Ground, LEAF, find, place};

const PID: u32 = 4242;

fn ground(mountinfo: &str, membership: &str) -> Ground {
    Ground {
        mountinfo: mountinfo.to_owned(),
        membership: membership.to_owned(),
        pid: PID,
        name: "wharf-4242-1".to_owned(),
        marked_only: false,
    }
}

/// A machine with version 2 only, whose group of ours is `/ours`.
fn unified(root: &Path) -> Ground {
    let own = root.join("ours");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("cgroup.type"), "domain\n").unwrap();
    fs::write(own.join("cgroup.controllers"), "cpu io memory pids\n").unwrap();
    fs::write(own.join("cgroup.subtree_control"), "").unwrap();
    fs::write(own.join("cgroup.procs"), format!("{PID}\n")).unwrap();
    ground(&format!("41 31 0:38 / {} rw - cgroup2 cgroup2 rw\n", root.display()), "0::/ours\n")
}

/// Looks, with every attempt a success; returns what was tried too.
fn look(ground: &Ground) -> (Cgroups, Vec<(GroupPlan, Aim)>) {
    let tried = RefCell::new(Vec::new());
    let found = find(place(ground), &|plan, aim| {
        tried.borrow_mut().push((plan.clone(), aim));
        Ok(())
    });
    (found, tried.into_inner())
}

#[test]
fn version_1_has_a_hierarchy_for_each() {
    let mountinfo = "35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n\
        39 31 0:36 / /cg/pids rw - cgroup cgroup rw,pids\n41 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw\n";
    let (found, tried) = look(&ground(mountinfo, "8:pids:/\n4:memory:/a\n0::/\n"));
    let memory = found.memory.unwrap();
    assert_eq!(
        (memory.version, memory.parent.as_path()),
        (Version::V1, Path::new("/cg/memory/a/wharf-4242-1"))
    );
    assert_eq!(found.pids.unwrap().parent, Path::new("/cg/pids/wharf-4242-1"));
    assert!(found.cpu.unwrap_err().contains("cpu controller is not delegated"));
    let kill = found.kill.unwrap();
    assert_eq!((kill.version, kill.parent.as_path()), (Version::V2, Path::new("/cg/unified/wharf-4242-1")));
    let files: Vec<_> = tried.iter().flat_map(|(plan, _)| plan.settings.iter().map(|one| one.file)).collect();
    assert_eq!(files, ["memory.limit_in_bytes", "pids.max"]);
    assert_eq!(tried.last().unwrap().1, Aim::Kill);
}

#[test]
fn a_host_alone_in_its_group_moves_into_a_leaf_and_hands_down() {
    let root = tempfile::tempdir().unwrap();
    let ground = unified(root.path());
    let leaf = root.path().join("ours").join(LEAF);
    // The kernel would make the file.
    fs::create_dir(&leaf).unwrap();
    fs::write(leaf.join("cgroup.procs"), "").unwrap();
    let (found, tried) = look(&ground);
    assert_eq!(fs::read_to_string(leaf.join("cgroup.procs")).unwrap(), PID.to_string());
    assert!(fs::read_to_string(root.path().join("ours/cgroup.subtree_control")).unwrap().starts_with('+'));
    for hierarchy in [found.memory, found.pids, found.cpu, found.kill] {
        let hierarchy = hierarchy.unwrap();
        assert_eq!(hierarchy.parent, root.path().join("ours/wharf-4242-1"));
        assert_eq!((hierarchy.version, hierarchy.controllers.len()), (Version::V2, 3));
    }
    let files: Vec<_> = tried.iter().flat_map(|(plan, _)| plan.settings.iter().map(|one| one.file)).collect();
    assert_eq!(files, ["memory.max", "pids.max", "cpu.max"]);
}

#[test]
fn a_group_of_the_service_manager_is_used_for_nothing_but_to_kill() {
    let root = tempfile::tempdir().unwrap();
    let ground = Ground { marked_only: true, ..unified(root.path()) };
    let (found, _) = look(&ground);
    for limit in [found.memory, found.pids, found.cpu] {
        assert!(limit.unwrap_err().contains("Delegate=yes"));
    }
    let kill = found.kill.unwrap();
    assert_eq!((kill.controllers.len(), kill.parent), (0, root.path().join("ours/wharf-4242-1")));
    assert!(!root.path().join("ours").join(LEAF).exists(), "and nothing is changed");
    assert_eq!(found.changes, super::super::Changes::default());
}

#[test]
fn others_beside_the_host_are_left_in_peace() {
    let root = tempfile::tempdir().unwrap();
    let ground = unified(root.path());
    fs::write(root.path().join("ours/cgroup.procs"), format!("{PID}\n7\n")).unwrap();
    let (found, _) = look(&ground);
    assert!(found.memory.unwrap_err().contains("1 other processes"), "nobody is moved");
    assert!(!root.path().join("ours").join(LEAF).exists());
    assert_eq!(fs::read_to_string(root.path().join("ours/cgroup.subtree_control")).unwrap(), "");
    assert_eq!(
        found.kill.unwrap().controllers,
        Vec::<&str>::new(),
        "a group without controllers still kills"
    );
}

#[test]
fn what_is_handed_down_already_needs_no_move() {
    let root = tempfile::tempdir().unwrap();
    let mut ground = unified(root.path());
    fs::write(root.path().join("ours/cgroup.subtree_control"), "cpu memory pids\n").unwrap();
    fs::write(root.path().join("ours/cgroup.procs"), "7\n").unwrap();
    ground.membership = format!("0::/ours/{LEAF}\n");
    let (found, _) = look(&ground);
    assert_eq!(found.memory.unwrap().parent, root.path().join("ours/wharf-4242-1"));
}

#[test]
fn what_an_attempt_says_is_the_reason() {
    let root = tempfile::tempdir().unwrap();
    let ground = unified(root.path());
    fs::write(root.path().join("ours/cgroup.subtree_control"), "cpu memory pids\n").unwrap();
    let found = find(place(&ground), &|_, _| Err("read-only".to_owned()));
    for hierarchy in [found.memory, found.pids, found.cpu, found.kill] {
        assert_eq!(hierarchy.unwrap_err(), "read-only");
    }
    let (found, tried) = look(&Ground { mountinfo: String::new(), ..ground });
    assert!(found.memory.unwrap_err().contains("no control groups are mounted") && tried.is_empty());
}
