//! The mock server as a plain process on a port: what a remote plugin is to the host.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use super::{WHARF, eventually};

/// A mock that listens. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct MockProcess(Child);

impl MockProcess {
    /// Starts a mock and waits until it listens.
    pub(crate) async fn listening(dialect: &str, port: u16, more: &[&str]) -> Self {
        let child = Command::new(WHARF)
            .args(["mock", "--dialect", dialect, "--port", &port.to_string()])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the mock starts");
        let mock = Self(child);
        eventually("the mock to listen", async || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.to_string())
        })
        .await;
        mock
    }
}

impl Drop for MockProcess {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A port that is free and that no other test gets: below the range from which the kernel hands out ports by itself.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 400).expect("below 400") * 20;
    for _ in 0..8000 {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 8000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 20000 and 28000");
}
