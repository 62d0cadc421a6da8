//! Why an instance is not serving: a closed list of causes, each with a remedy, and the report of a process's end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why an instance ended, or never came up.
#[derive(Clone, Debug, Serialize)]
pub struct Cause {
    /// Which of the documented causes it is.
    #[serde(rename = "code")]
    pub kind: CauseKind,
    /// What happened, in one sentence. Holds no secret.
    pub detail: String,
    /// What the user can do about it.
    pub remedy: &'static str,
    /// How the process ended, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<Box<ExitReport>>,
}

/// How a plugin's main process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitReport {
    /// Exit code, if it exited.
    pub code: Option<i32>,
    /// Signal number, if a signal ended it.
    pub signal: Option<i32>,
    /// Whether it was killed for want of memory, by the kernel or by the host.
    pub oom: bool,
    /// What is known of why, where code and signal do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// From spawn to exit.
    #[serde(rename = "uptime_ms", with = "millis")]
    pub uptime: Duration,
    /// User CPU time of the main process and the children it waited for, milliseconds.
    pub user_ms: u64,
    /// System CPU time likewise, milliseconds.
    pub system_ms: u64,
    /// Largest resident set of any one process of the tree, bytes.
    pub max_rss_bytes: u64,
}

macro_rules! causes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $permanent:literal, $remedy:literal;)+) => {
        /// The documented causes. Their names on the wire are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum CauseKind { $($(#[doc = $doc])+ $variant,)+ }

        impl CauseKind {
            /// Every cause, in the order of the documentation.
            pub const ALL: &'static [CauseKind] = &[$(CauseKind::$variant),+];

            /// The name on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str { match self { $(CauseKind::$variant => $name,)+ } }

            /// Whether it cannot heal by itself: only a changed manifest, a changed file or an operator helps.
            #[must_use]
            pub fn is_permanent(self) -> bool { match self { $(CauseKind::$variant => $permanent,)+ } }

            /// What the user can do about it.
            #[must_use]
            pub fn remedy(self) -> &'static str { match self { $(CauseKind::$variant => $remedy,)+ } }
        }
    };
}

causes! {
    /// The command does not exist, neither as a path nor on the plugin's `PATH`.
    NotFound = "not_found", true, "install the program, or correct `command` in the manifest, then `wharf start`; a manifest that changed starts the plugin by itself";
    /// The command exists but may not be executed, or is no program of this machine.
    NotExecutable = "not_executable", true, "make the file executable (chmod +x) and check that it is built for this machine or starts with a #! line";
    /// The working directory, or a file that the manifest names, is missing or unreadable.
    MissingFile = "missing_file", true, "create the file or folder, or correct its path in the manifest";
    /// A variable that the manifest uses has no value.
    MissingVariable = "missing_variable", true, "set the variable in the host's environment or in `env_file`, or give a default as ${VAR:-default}";
    /// The manifest has problems.
    InvalidManifest = "invalid_manifest", true, "correct the places shown; `wharf validate FILE` checks the file without starting anything";
    /// A file's digest is not the one in the manifest.
    DigestMismatch = "digest_mismatch", true, "check where the file comes from; put its digest into the manifest if it is right";
    /// The operating system refused to start the process.
    SpawnFailed = "spawn_failed", false, "see the detail for the system's reason; the host tries again by itself";
    /// The manifest demands a limit of what the plugin may do that this machine cannot enforce.
    SandboxUnavailable = "sandbox_unavailable", true, "see the detail for what the machine refuses; allow it there, or take the demand out of the manifest";
    /// The port that the plugin should listen on is taken.
    PortInUse = "port_in_use", false, "stop what holds the port, or write port = \"auto\"";
    /// Somebody else listens where the plugin did.
    Squatted = "squatted", false, "find out whose the process is; with port = \"auto\" the plugin gets another port, and with sandbox.net = \"loopback\" one that nobody else can take";
    /// It did not answer the handshake and the lists in time.
    StartTimeout = "start_timeout", false, "look at the plugin's log (`wharf logs`); raise health.start_timeout if it needs longer to start";
    /// What it needs to run could not be fetched or made ready.
    PrepareFailed = "prepare_failed", false, "look at the plugin's log (`wharf logs`); check the network and the name of what is fetched (`npx`, `uvx`, ..); raise health.prepare_timeout if it only takes longer; the host tries again by itself";
    /// It waits for its turn: only a few fetch what they run at the same time.
    Queued = "queued", false, "nothing is wrong: it fetches as soon as others have fetched what they run, or have said nothing for 30 s; look at the logs of those that it waits for";
    /// The process exited.
    Exited = "exited", false, "look at the last lines of stderr (`wharf logs`); the host restarts it by itself";
    /// The process says that its configuration is wrong (exit code 78) or that it must not be restarted (125).
    ExitedForGood = "exited_for_good", true, "look at the last lines of stderr, correct the plugin's configuration, then `wharf start`";
    /// A signal ended the process.
    Signalled = "signalled", false, "if nobody sent the signal, look at the last lines of stderr for a crash; the host restarts it by itself";
    /// It was killed for want of memory, by the kernel or by the host.
    OutOfMemory = "out_of_memory", false, "raise limits.memory, or find its leak; the host restarts it by itself";
    /// What it sends is not MCP.
    ProtocolGarbage = "protocol_garbage", false, "check that `command` starts an MCP server, that it logs to stderr and not to stdout, and that `dialect` is right";
    /// It answered the handshake or a list with an error.
    HandshakeRefused = "handshake_refused", false, "see the detail for the server's own words; check `dialect`, `url` and the credentials";
    /// Nothing listens at the address, or the connection broke.
    Unreachable = "unreachable", false, "check `url`, and that the server listens where the manifest says";
    /// The remote server refuses the credentials.
    Unauthorized = "unauthorized", false, "check `auth` and `headers` in the manifest and the variables they use";
    /// It closed its connection but did not end.
    LinkLost = "link_lost", false, "look at the plugin's log; a server must keep its connection open while it runs (stdin and stdout, or the event stream)";
    /// It failed its health probes.
    Unhealthy = "unhealthy", false, "look at the plugin's log; raise health.timeout or health.failures if it is only slow";
    /// Calls to it failed so often that it was left alone several times in a row.
    Failing = "failing", false, "see the detail for what its calls failed with, and the plugin's log; `[breaker]` in its manifest says when it is left alone";
    /// Its list of tools, resources or prompts could not be read.
    ListFailed = "list_failed", false, "see the detail; the server's lists must be valid MCP and within the host's bounds";
    /// A new version lists something else than the one that serves, and `upgrade.lists` does not let that pass.
    OtherLists = "other_lists", false, "if the new version is as it should be, `wharf restart` takes it, or write upgrade.lists = \"any\"; else correct it: the old version goes on until then";
    /// It is lazy: it runs only while it is used.
    Lazy = "lazy", false, "nothing is wrong: the next call starts it (`start = \"lazy\"` in its manifest); `wharf start` does too";
    /// The call that has to succeed before it counts as ready did not.
    CanaryFailed = "canary_failed", false, "see the detail; try the call by hand (`wharf call`) without `health.canary`, and correct the tool or its arguments there, or what the plugin needs for its work";
    /// An operator, a manifest or the host's end asked for it.
    Requested = "requested", false, "`wharf start` starts it again; what is switched off needs `wharf enable`";
}

// === impl Cause ===

impl Cause {
    /// A cause with what happened.
    pub fn new(kind: CauseKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), remedy: kind.remedy(), exit: None }
    }

    /// The cause that a process's end amounts to.
    #[must_use]
    pub fn of_exit(exit: ExitReport) -> Self {
        let (kind, mut detail) = match (exit.code, exit.signal) {
            _ if exit.oom => (CauseKind::OutOfMemory, "killed for want of memory".to_owned()),
            (Some(code @ (78 | 125)), _) => (CauseKind::ExitedForGood, format!("exited with code {code}")),
            (Some(code), _) => (CauseKind::Exited, format!("exited with code {code}")),
            (None, Some(signal)) => (CauseKind::Signalled, format!("ended by signal {}", named(signal))),
            (None, None) => (CauseKind::Exited, "ended; its exit status is not known".to_owned()),
        };
        if let Some(note) = &exit.note {
            detail = format!("{detail}: {note}");
        }
        Self { exit: Some(Box::new(exit)), ..Self::new(kind, detail) }
    }

    /// Whether it cannot heal by itself.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.kind.is_permanent()
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.detail)
    }
}

impl std::error::Error for Cause {}

/// A signal's number, and its name where it has the same number on all common machines.
fn named(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return signal.to_string(),
    };
    format!("{signal} ({name})")
}

mod millis {
    //! Durations as whole milliseconds.
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, CauseKind, ExitReport};

    #[test]
    fn an_end_is_told_as_what_it_was() {
        let killed = ExitReport { signal: Some(9), ..ExitReport::default() };
        let cause = Cause::of_exit(killed.clone());
        assert_eq!(
            (cause.kind, cause.detail.as_str()),
            (CauseKind::Signalled, "ended by signal 9 (SIGKILL)")
        );
        let note = Some("the host did not send it".to_owned());
        let cause = Cause::of_exit(ExitReport { note, ..killed.clone() });
        assert_eq!(cause.detail, "ended by signal 9 (SIGKILL): the host did not send it");
        let note = Some("its processes held 9 MiB".to_owned());
        let cause = Cause::of_exit(ExitReport { oom: true, note, ..killed });
        assert_eq!(cause.kind, CauseKind::OutOfMemory);
        assert_eq!(cause.detail, "killed for want of memory: its processes held 9 MiB");
        assert_eq!(
            Cause::of_exit(ExitReport { signal: Some(40), ..ExitReport::default() }).detail,
            "ended by signal 40"
        );
    }
}
