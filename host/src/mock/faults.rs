//! What goes wrong, and when. Counts launches, calls and pings; the rest of the mock asks here and does as told.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::args::{Amount, Args, FaultArgs, Odd};
use super::frame::Frame;

/// How long a mock that ignores its end lives on, so that a broken test leaves nothing behind for ever.
pub(crate) const LAST_RESORT: Duration = Duration::from_mins(10);

/// A leak stops here, whatever the rate: it must not take the machine down.
const LEAK_CAP: u64 = 4 << 30;

/// How a process ends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    Exit(u8),
    Abort,
}

/// Ends the process. Tests bring one that only records; so callers must do nothing after it.
pub(crate) type Die = Arc<dyn Fn(Death) + Send + Sync>;

/// The faults of this launch.
pub(crate) struct Faults {
    pub(crate) args: FaultArgs,
    die: Die,
    checks: AtomicU64,
}

impl Faults {
    /// Decides whether this launch has faults at all, and counts it.
    pub(crate) fn new(args: &Args, die: Die) -> io::Result<Self> {
        let faulty = match (&args.fault_counter, args.fault_times) {
            (Some(file), Some(times)) => launch(file)? <= times,
            (Some(_), None) | (None, Some(_) | None) => true,
        };
        let args = if faulty { args.faults.clone() } else { FaultArgs::default() };
        Ok(Self { args, die, checks: AtomicU64::new(0) })
    }

    /// Dies as the flags say, and never comes back.
    pub(crate) async fn die(&self, code: u8) {
        (self.die)(if self.args.abort { Death::Abort } else { Death::Exit(code) });
        std::future::pending::<()>().await;
    }

    /// Counts a ping or health check. `false`: it must stay without an answer.
    pub(crate) fn healthy(&self) -> bool {
        let n = self.checks.fetch_add(1, Ordering::Relaxed);
        self.args.unhealthy_after.is_none_or(|last| n < last)
    }

    /// What stands before the answer to initialize.
    pub(crate) fn before_hello(&self) -> Vec<Frame> {
        let mut out = if self.args.garbage_at_call.is_none() { self.garbage() } else { Vec::new() };
        if self.args.huge_line_at_call.is_none() {
            out.extend(self.args.huge_line.map(|b| Frame::huge(b.0)));
        }
        out
    }

    fn garbage(&self) -> Vec<Frame> {
        let count = usize::try_from(self.args.garbage.unwrap_or(0)).unwrap_or(0);
        GARBAGE.iter().cycle().take(count).map(|line| Frame::Raw(line.to_vec())).collect()
    }

    /// What the answer to call `n` is replaced with.
    pub(crate) fn odd(&self, n: u64) -> Option<Odd> {
        self.args.odd_answer.filter(|_| self.args.odd_answer_at_call.is_none_or(|at| at == n))
    }

    /// What stands before the answer to call `n`.
    pub(crate) fn before_answer(&self, n: u64) -> Vec<Frame> {
        let mut out = Vec::new();
        if self.args.unknown_notification {
            out.push(Frame::Message(
                br#"{"jsonrpc":"2.0","method":"notifications/mock/unheard_of","params":{"n":1}}"#.to_vec(),
            ));
        }
        if self.args.garbage_at_call == Some(n) {
            out.extend(self.garbage());
        }
        if self.args.huge_line_at_call == Some(n) {
            out.extend(self.args.huge_line.map(|b| Frame::huge(b.0)));
        }
        out
    }

    /// Starts what goes on beside the protocol: memory, stderr, a grandchild.
    pub(crate) fn start_background(&self) -> io::Result<()> {
        if let Some(amount) = self.args.memory {
            background(move || eat(amount))?;
        }
        if let Some(amount) = self.args.flood_stderr {
            background(move || flood(amount))?;
        }
        if self.args.fork_grandchild {
            let child = Command::new("setsid").args(["sleep", "600"]).stdin(Stdio::null()).spawn()?;
            super::note(&format!("grandchild {}", child.id()));
        }
        Ok(())
    }
}

/// Lines that no reader of MCP should fall over.
const GARBAGE: &[&[u8]] = &[
    b"Starting server v1.2.3 ...",
    b"\xff\xfe\x80 not UTF-8 \xc3",
    b"\xef\xbb\xbf{\"a BOM\": true}",
    b"{\"jsonrpc\":\"2.0\",\"id\":1,\"resu",
    b"[1, 2, \"JSON, but not JSON-RPC\"]",
    b"",
];

/// Ends this process for good.
#[allow(clippy::exit, reason = "to die at once, in the middle of things, is what the mock is asked for")]
pub(crate) fn really_die(death: Death) {
    match death {
        Death::Exit(code) => std::process::exit(code.into()),
        Death::Abort => std::process::abort(),
    }
}

/// Counts this launch in `file` and tells its number, from 1.
fn launch(file: &Path) -> io::Result<u64> {
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    file.write_all(b".")?;
    Ok(file.metadata()?.len())
}

/// A thread that nobody waits for: these block in system calls, and must not hold the end up.
fn background(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("mock-fault".to_owned()).spawn(work).map(drop)
}

fn eat(amount: Amount) {
    let (step, pause, cap) = match amount {
        Amount::Total(n) => (n, Duration::ZERO, n),
        Amount::PerSecond(n) => (n / 10, Duration::from_millis(100), LEAK_CAP),
    };
    let mut eaten = 0;
    // Filled with ones, since the kernel hands out zeros without spending memory.
    while eaten < cap && step > 0 {
        std::mem::forget(vec![1_u8; usize::try_from(step).unwrap_or(0)]);
        eaten += step;
        std::thread::sleep(pause);
    }
}

fn flood(amount: Amount) {
    let line = [b"flood ".repeat(170).as_slice(), b"...\n"].concat();
    let (mut left, rate) = match amount {
        Amount::Total(n) => (n, None),
        Amount::PerSecond(n) => (u64::MAX, Some(n.max(1))),
    };
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(line.len());
        let Some(part) = line.get(line.len() - now..) else { return };
        if io::stderr().write_all(part).is_err() {
            return;
        }
        left -= now as u64;
        if let Some(rate) = rate {
            std::thread::sleep(Duration::from_nanos(now as u64 * 1_000_000_000 / rate));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::testing::args;

    fn faults(flags: &[&str]) -> Faults {
        Faults::new(&args(flags), Arc::new(|_| {})).unwrap()
    }

    #[test]
    fn faults_stop_after_the_launches_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let counter = dir.path().join("launches");
        let flags = ["--exit-at-start", "--fault-times", "2", "--fault-counter", counter.to_str().unwrap()];
        let seen: Vec<bool> = (0..4).map(|_| faults(&flags).args.exit_at_start).collect();
        assert_eq!(seen, [true, true, false, false]);
    }

    #[test]
    fn health_ends_after_n_checks() {
        let sick = faults(&["--unhealthy-after", "2"]);
        assert_eq!(
            [sick.healthy(), sick.healthy(), sick.healthy(), sick.healthy()],
            [true, true, false, false]
        );
        let well = faults(&[]);
        assert!((0..100).all(|_| well.healthy()));
    }

    #[test]
    fn garbage_is_as_long_as_asked_for_and_never_a_message() {
        let frames = faults(&["--garbage=8"]).before_hello();
        assert_eq!(frames.len(), 8);
        let late = faults(&["--garbage=8", "--garbage-at-call", "2"]);
        assert_eq!([late.before_hello(), late.before_answer(1)], [[], []]);
        assert_eq!(late.before_answer(2), frames);
        for frame in frames {
            let Frame::Raw(bytes) = frame else { panic!("{frame:?}") };
            assert!(wharf_plugin_api::jsonrpc::parse(&bytes).is_err());
        }
    }

    #[test]
    fn the_huge_line_comes_once_where_asked() {
        let early = faults(&["--huge-line", "1k"]);
        assert_eq!(early.before_hello(), [Frame::huge(1024)]);
        assert_eq!(early.before_answer(1), []);
        let late = faults(&["--huge-line", "1k", "--huge-line-at-call", "2"]);
        assert_eq!(late.before_hello(), []);
        assert_eq!(late.before_answer(1), []);
        assert_eq!(late.before_answer(2), [Frame::huge(1024)]);
    }
}
