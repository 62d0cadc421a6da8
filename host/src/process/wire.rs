//! What host and shim say to each other over their socket. Both are the same executable, so there are no versions.
//!
//! Host to shim: one [`Request`] (with the plugin's three standard streams as passed descriptors), then [`Order`]s of two
//! bytes. Shim to host: [`Report`]s, one line of JSON each.

use std::ffi::CString;
use std::io;

use serde::{Deserialize, Serialize};
use wharf_plugin_api::ExitReport;

use super::plan::Plan;

/// The first argument that makes this executable a shim.
pub(super) const SHIM_WORD: &str = "__shim";

/// The first argument that makes it tell what this machine allows.
pub(super) const PROBE_WORD: &str = "__probe";

/// The log stream of what the host says about a plugin.
pub(super) const HOST_STREAM: &str = "wharf";

/// Set in the environment of each plugin: a random name of the launch, by which leftovers are found.
pub(super) const MARKER: &str = "WHARF_INSTANCE";

/// Bytes of arguments and environment. The kernel's own limit is of this order.
pub(super) const MAX_REQUEST: usize = 2 * 1024 * 1024;

/// Length of a request's head.
pub(super) const HEAD: usize = 12;

/// What to execute.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    /// The file.
    pub(super) program: CString,
    /// The working directory.
    pub(super) cwd: CString,
    /// All arguments, `argv[0]` included.
    pub(super) argv: Vec<CString>,
    /// The whole environment, `NAME=value`.
    pub(super) env: Vec<CString>,
    /// What is done before it is executed.
    pub(super) plan: Plan,
}

/// A step between fork and the plugin's first instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Making its namespaces.
    Namespaces,
    /// Mounting what its namespace sees.
    Mounts,
    /// Making its network.
    Network,
    /// Making the process.
    Fork,
    /// A session of its own.
    Session,
    /// Tying its life to the shim's.
    Guard,
    /// Its limits.
    Limits,
    /// Which files and ports it can reach.
    Landlock,
    /// Giving privileges up.
    Privileges,
    /// Which system calls it can make.
    Seccomp,
    /// Its working directory.
    Directory,
    /// Its standard streams.
    Streams,
    /// Executing the program.
    Exec,
}

/// What the shim tells.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// The process that holds the tree together exists, and waits for [`Order::Go`]. Its number is the host's view.
    Shim {
        /// The number.
        pid: i32,
    },
    /// The program runs.
    Started {
        /// The plugin's main process.
        pid: i32,
    },
    /// It could not be started; nothing is left.
    Failed {
        /// At which step.
        stage: Stage,
        /// The system's reason.
        errno: i32,
    },
    /// The main process has ended; what it left behind is being killed.
    Exited(ExitReport),
    /// No process is left. The last report.
    Gone,
}

/// What the host asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The host knows the process that holds the tree together: begin.
    Go,
    /// Send a signal to every process of the tree, then SIGCONT, so that a stopped one gets it.
    Signal(u8),
    /// Kill the tree.
    Kill,
}

// === impl Stage ===

impl Stage {
    const ALL: [Self; 13] = [
        Self::Namespaces,
        Self::Mounts,
        Self::Network,
        Self::Fork,
        Self::Session,
        Self::Guard,
        Self::Limits,
        Self::Landlock,
        Self::Privileges,
        Self::Seccomp,
        Self::Directory,
        Self::Streams,
        Self::Exec,
    ];

    /// Its number on the pipe between the shim's fork and the shim.
    pub(super) fn code(self) -> u8 {
        self as u8
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Namespaces => "making its namespaces",
            Self::Mounts => "mounting what it sees",
            Self::Network => "making its network",
            Self::Fork => "making the process",
            Self::Session => "giving it a session",
            Self::Guard => "tying it to its shim",
            Self::Limits => "setting its limits",
            Self::Landlock => "bounding its files and ports",
            Self::Privileges => "giving up privileges",
            Self::Seccomp => "bounding its system calls",
            Self::Directory => "entering the working directory",
            Self::Streams => "connecting its streams",
            Self::Exec => "executing the program",
        })
    }
}

// === impl Order ===

impl Order {
    pub(super) fn encode(self) -> [u8; 2] {
        match self {
            Self::Go => [b'g', 0],
            Self::Signal(signal) => [b's', signal],
            Self::Kill => [b'k', 0],
        }
    }

    pub(super) fn decode(bytes: [u8; 2]) -> Option<Self> {
        match bytes {
            [b'g', 0] => Some(Self::Go),
            [b's', signal] => Some(Self::Signal(signal)),
            [b'k', 0] => Some(Self::Kill),
            _ => None,
        }
    }
}

// === impl Request ===

impl Request {
    /// The head and the body. Paths and arguments need not be UTF-8, but hold no NUL, so NUL separates.
    pub(super) fn encode(&self) -> Option<([u8; HEAD], Vec<u8>)> {
        let mut body = serde_json::to_vec(&self.plan).ok()?;
        // JSON holds no NUL.
        body.push(0);
        for part in [&self.program, &self.cwd].into_iter().chain(&self.argv).chain(&self.env) {
            body.extend_from_slice(part.as_bytes_with_nul());
        }
        if body.len() > MAX_REQUEST {
            return None;
        }
        let mut head = [0; HEAD];
        let numbers = [body.len(), self.argv.len(), self.env.len()];
        for (place, number) in head.chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&u32::try_from(number).ok()?.to_le_bytes());
        }
        Some((head, body))
    }

    /// How long the body is.
    pub(super) fn body_len(head: &[u8; HEAD]) -> io::Result<usize> {
        let [len, ..] = numbers(head);
        if len > MAX_REQUEST { Err(malformed()) } else { Ok(len) }
    }

    pub(super) fn decode(head: &[u8; HEAD], body: &[u8]) -> io::Result<Self> {
        let [_, argc, envc] = numbers(head);
        let mut parts =
            body.split_inclusive(|b| *b == 0).map(|part| CString::from_vec_with_nul(part.to_vec()));
        let mut next = || parts.next().and_then(Result::ok).ok_or_else(malformed);
        let plan = serde_json::from_slice(next()?.as_bytes()).map_err(|_| malformed())?;
        let (program, cwd) = (next()?, next()?);
        let argv = (0..argc).map(|_| next()).collect::<io::Result<_>>()?;
        let env = (0..envc).map(|_| next()).collect::<io::Result<_>>()?;
        if parts.next().is_some() { Err(malformed()) } else { Ok(Self { program, cwd, argv, env, plan }) }
    }
}

fn numbers(head: &[u8; HEAD]) -> [usize; 3] {
    let mut numbers = [0; 3];
    for (number, bytes) in numbers.iter_mut().zip(head.chunks_exact(4)) {
        *number = bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    }
    numbers
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the launch request is malformed")
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use proptest::prelude::*;

    use wharf_core::manifest::{Limits, Sandbox};

    use super::{HEAD, MAX_REQUEST, Order, Request, Stage};
    use crate::process::plan::{Own, Plan, Wanted};
    use crate::process::probe::Probe;

    fn plan() -> Plan {
        let (limits, sandbox) = (Limits::default(), Sandbox::default());
        let at = std::path::Path::new("/");
        let own = Own { program: at, cwd: at, plugin_dir: at, data_dir: at };
        let wanted = Wanted { limits: &limits, sandbox: &sandbox, own, port: None };
        crate::process::plan::plan(&Probe::nothing("not tried"), &wanted).unwrap().0
    }

    fn text() -> impl Strategy<Value = CString> {
        proptest::collection::vec(1..=255u8, 0..20).prop_map(|bytes| CString::new(bytes).unwrap())
    }

    proptest! {
        #[test]
        fn a_request_arrives_as_it_was_sent(
            program in text(), cwd in text(),
            argv in proptest::collection::vec(text(), 0..5), env in proptest::collection::vec(text(), 0..5),
        ) {
            let request = Request { program, cwd, argv, env, plan: plan() };
            let (head, body) = request.encode().unwrap();
            prop_assert_eq!(Request::body_len(&head).unwrap(), body.len());
            prop_assert_eq!(Request::decode(&head, &body).unwrap(), request);
        }

        #[test]
        fn bad_bytes_are_refused_and_never_panic(head: [u8; HEAD], body in proptest::collection::vec(any::<u8>(), 0..64)) {
            Request::body_len(&head).ok();
            Request::decode(&head, &body).ok();
        }
    }

    #[test]
    fn a_request_over_the_bound_is_not_sent() {
        let long = CString::new(vec![b'x'; MAX_REQUEST]).unwrap();
        let request = Request {
            program: long,
            cwd: CString::default(),
            argv: Vec::new(),
            env: Vec::new(),
            plan: plan(),
        };
        assert!(request.encode().is_none());
    }

    #[test]
    fn orders_and_stages_survive_the_wire() {
        for order in [Order::Go, Order::Signal(15), Order::Kill] {
            assert_eq!(Order::decode(order.encode()), Some(order));
        }
        assert_eq!(Order::decode([0, 0]), None);
        for stage in Stage::ALL {
            assert_eq!(Stage::from_code(stage.code()), Some(stage));
        }
        assert_eq!(Stage::from_code(Stage::ALL.len() as u8), None);
    }
}
