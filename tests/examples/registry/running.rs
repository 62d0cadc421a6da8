//! A process of a test's own: a server outside of the host. It ends with its value, and tells what it said if the test
//! failed.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::eventually;

#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    log: PathBuf,
    end: Signal,
}

impl Running {
    /// Starts it; what it says goes into this file.
    pub(super) fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = File::create(&log).expect("the log can be written");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        Self { child, log, end: Signal::SIGKILL }
    }

    /// It has children of its own and ends them when it is asked to end.
    pub(super) fn ends_by_itself(mut self) -> Self {
        self.end = Signal::SIGTERM;
        self
    }

    /// Waits until it listens on this port.
    pub(super) async fn on(mut self, port: u16) -> Self {
        eventually("a server to listen", async || {
            let over = self.child.try_wait().expect("a child can be waited for");
            assert!(over.is_none(), "it ended, {over:?}:\n{}", self.said());
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.to_string())
        })
        .await;
        self
    }

    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        if matches!(self.child.try_wait(), Ok(None)) {
            kill(pid, self.end).ok();
            self.child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}---", self.log.display(), self.said());
        }
    }
}
