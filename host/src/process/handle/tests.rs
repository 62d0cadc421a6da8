use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};

use futures_util::FutureExt;
use wharf_core::manifest::{Limits, Sandbox, Stop};

use super::{Guarded, Keeper, Shim, guard_with};
use crate::process::bounds::Bounds;
use crate::process::ledger::Entry;
use crate::process::level::Level;
use crate::process::logs::LogBook;
use crate::process::spawn::{Folders, Launch};
use crate::process::sweep::{Swept, Traces};
use crate::tasks::Tasks;

fn guarded(dir: &std::path::Path) -> Guarded {
    let launch = Launch {
        program: PathBuf::from("/bin/true"),
        args: Vec::new(),
        cwd: PathBuf::from("/"),
        env: Vec::new(),
        stdin: false,
        stdout: false,
        instance: 0,
        generation: 1,
        stop: Stop::default(),
        limits: Limits::default(),
        sandbox: Sandbox::default(),
        folders: Folders::default(),
        port: None,
        log: Arc::new(LogBook::new(dir.to_owned(), "p", Vec::new())),
    };
    // A number beyond the largest process id.
    let (traces, pumps, line) = (Traces::default(), Vec::new(), None);
    let (level, entry, bounds) = (Level::Subreaper, Entry::default(), Bounds::default());
    Guarded { pid: i32::MAX, traces, pumps, level, launch, line, entry, bounds }
}

#[tokio::test]
async fn a_tree_that_survives_being_killed_is_not_gone_until_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = Tasks::default();
    let (control, theirs) = StdUnixStream::pair().unwrap();
    control.set_nonblocking(true).unwrap();
    let child = tokio::process::Command::new("true").spawn().unwrap();
    let shim = Shim::new(control, Keeper::new(child, None, &tasks)).unwrap();
    let (asked, mut asks) = tokio::sync::mpsc::channel(16);
    let (answer, answers) = mpsc::channel::<Swept>();
    let answers = Mutex::new(answers);
    let sweep = move |_: &Traces, _| {
        asked.blocking_send(()).unwrap();
        answers.lock().unwrap().recv().unwrap()
    };
    let handle = guard_with(shim, guarded(dir.path()), Arc::new(sweep), &tasks);
    // The shim is killed: its end of the socket closes.
    drop(theirs);
    for _ in 0..2 {
        asks.recv().await.expect("it is looked for until it is gone");
        answer.send(Swept { left: vec![7], ..Swept::default() }).unwrap();
    }
    assert_eq!(handle.exited().await.signal, Some(9), "the end of the main process is told at once");
    asks.recv().await.expect("it is looked for until it is gone");
    assert!(handle.gone().now_or_never().is_none(), "it is not gone");
    answer.send(Swept { gone: true, ..Swept::default() }).unwrap();
    assert_eq!(handle.gone().await.signal, Some(9));
}
