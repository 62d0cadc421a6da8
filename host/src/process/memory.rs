//! How much memory the tree of a plugin holds, by the id of its main process. Measured when somebody asks, and then not
//! again for a second: many who ask cost no more than one. It knows the trees that live, and never looks at another.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::proc::{self, Pid};

/// How long a figure is good.
const FRESH: Duration = Duration::from_secs(1);

/// The trees that live, by their main process. Of the whole program, as process ids are.
static TREES: Mutex<BTreeMap<Pid, Tree>> = Mutex::new(BTreeMap::new());

#[derive(Debug)]
struct Tree {
    shim: Pid,
    measured: Option<(Instant, Option<u64>)>,
    /// The most processor time that was seen.
    cpu: Duration,
}

/// A tree that can be asked about until this is dropped.
#[derive(Debug)]
pub(super) struct Known {
    main: Pid,
    shim: Pid,
}

/// The resident memory of the tree of a plugin's main process, bytes. Shared pages count once for each process. `None` if
/// there is no such tree, or its shim has just ended. Blocks for a moment.
pub(crate) fn of_tree(main: u32) -> Option<u64> {
    let main = Pid::try_from(main).ok()?;
    let now = Instant::now();
    let shim = match trees().get(&main)? {
        Tree { measured: Some((at, bytes)), .. } if now.duration_since(*at) < FRESH => return *bytes,
        tree => tree.shim,
    };
    // Not under the lock: `/proc` may be slow.
    let bytes = Some(proc::rss_below(shim)).filter(|bytes| *bytes > 0);
    if let Some(tree) = trees().get_mut(&main).filter(|tree| tree.shim == shim) {
        tree.measured = Some((now, bytes));
    }
    bytes
}

/// The processor time of all that ever ran in the tree of a plugin's main process. `None` if there is no such tree. It never
/// shrinks, though a process may have others reaped without their time being added up. Blocks for a moment.
pub(super) fn cpu_of_tree(main: u32) -> Option<Duration> {
    let main = Pid::try_from(main).ok()?;
    let shim = trees().get(&main)?.shim;
    let now = proc::cpu_below(shim);
    let mut trees = trees();
    let tree = trees.get_mut(&main).filter(|tree| tree.shim == shim)?;
    tree.cpu = tree.cpu.max(now);
    Some(tree.cpu)
}

/// The processes that hold the trees that live together.
pub(super) fn shims() -> HashSet<Pid> {
    trees().values().map(|tree| tree.shim).collect()
}

/// How a tree stands to the most that it may hold, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Fine,
    /// It holds nine tenths of it.
    Near(u64),
    Over(u64),
}

/// Weighs the tree below a shim. Resident memory is quick to read and counts shared pages for each process; only if that is
/// too much are they shared out, which is slower. Blocks for a moment.
pub(super) fn weigh(shim: Pid, most: u64) -> Weight {
    let resident = proc::rss_below(shim);
    let held = if resident > most { proc::pss_below(shim) } else { resident };
    if held > most {
        Weight::Over(held)
    } else if held > most / 10 * 9 {
        Weight::Near(held)
    } else {
        Weight::Fine
    }
}

/// Whether this machine has swap.
pub(super) fn has_swap() -> bool {
    // The first line is a heading.
    std::fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().nth(1).is_some())
}

fn trees() -> MutexGuard<'static, BTreeMap<Pid, Tree>> {
    TREES.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Known ===

impl Known {
    pub(super) fn new(main: Pid, shim: Pid) -> Self {
        trees().insert(main, Tree { shim, measured: None, cpu: Duration::ZERO });
        Self { main, shim }
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let mut trees = trees();
        // The number may mean a newer process by now.
        if trees.get(&self.main).is_some_and(|tree| tree.shim == self.shim) {
            trees.remove(&self.main);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::{Known, Weight, of_tree, proc, weigh};

    #[test]
    fn only_a_known_tree_is_measured_and_never_that_of_the_host() {
        let mut cat = Command::new("cat");
        let mut child = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // It answers: it is the program by now, and no longer a fork on its way to it.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let main = child.id();
        // Its parent is this program, as that of a plugin's process is once its shim was killed.
        let unknown = of_tree(main);
        let known = Known::new(main as i32, main as i32);
        let childless = of_tree(main);
        drop(known);
        let known = Known::new(main as i32, std::process::id() as i32);
        let measured = of_tree(main);
        child.kill().unwrap();
        child.wait().unwrap();
        let again = of_tree(main);
        drop(known);
        assert_eq!((unknown, childless), (None, None));
        assert!(measured.is_some_and(|bytes| bytes > 64 * 1024), "{measured:?}");
        assert_eq!(again, measured, "it is not measured again at once");
        assert_eq!(of_tree(main), None, "its tree is gone");
    }

    #[test]
    fn a_tree_is_weighed_by_what_is_its_own() {
        // A tree of its own: other tests start and end processes below this one all the time.
        let script = "sleep 1000 & echo x; read line; kill $!; wait";
        let mut shell = Command::new("sh");
        let mut root =
            shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // It has something of its own by now: a program that has just begun holds a page.
        root.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let own = root.id() as i32;
        let until = Instant::now() + Duration::from_secs(10);
        let (near, over) = loop {
            // While it begins it grows and shrinks, and until its child runs another program, the two share all they have.
            let (near, over) = (weigh(own, proc::rss_below(own) + 1), weigh(own, 1));
            let is_begun = matches!(over, Weight::Over(bytes) if bytes > 16 * 1024);
            if (is_begun && near != Weight::Fine) || Instant::now() > until {
                break (near, over);
            }
            std::thread::yield_now();
        };
        let fine = weigh(own, 1 << 40);
        drop(root.stdin.take());
        root.wait().unwrap();
        assert_eq!(fine, Weight::Fine);
        assert!(matches!(near, Weight::Near(_) | Weight::Over(_)), "{near:?}");
        let Weight::Over(bytes) = over else { panic!("{over:?}") };
        assert!(bytes > 16 * 1024, "{bytes}");
    }
}
