//! One run of the suite as a process, and what its result files say. It knows nothing of hosts and fixtures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::support::procs::{self, MARK};
use crate::support::servers::Servers;

/// A revision of the protocol that the suite has requirements for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revision {
    Legacy,
    Modern,
}

/// Which side of the suite.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side<'a> {
    /// It is a client of the server at this URL.
    Server { url: &'a str },
    /// It is the server of a client, which this command line starts, and which says `done` in the end.
    Client { command: &'a str, env: &'a [(&'a str, &'a str)], done: &'a str },
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) scored: usize,
    pub(crate) failures: Vec<Failure>,
}

/// A scored scenario that failed, with one reason.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) scenario: String,
    pub(crate) check: String,
    pub(crate) message: String,
}

/// The suite's own file of what a revision requires.
#[derive(Debug, Deserialize)]
struct Requirements {
    server: Vec<String>,
    client: Vec<String>,
}

/// An entry of a scenario's `checks.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    id: String,
    #[serde(default)]
    name: String,
    status: String,
    #[serde(default)]
    description: String,
    error_message: Option<String>,
}

/// A run takes about ten seconds; a scenario that hangs costs it thirty.
const BOUND: Duration = Duration::from_secs(300);

/// The suite is a client with timeouts of its own: too many at once on a small machine would measure the machine.
static SLOTS: Semaphore = Semaphore::const_new(2);

impl Revision {
    pub(crate) const ALL: [Self; 2] = [Self::Legacy, Self::Modern];

    pub(crate) fn date(self) -> &'static str {
        match self {
            Self::Legacy => "2025-11-25",
            Self::Modern => "2026-07-28",
        }
    }
}

impl Report {
    pub(crate) fn passed(&self) -> usize {
        let mut failed: Vec<_> = self.failures.iter().map(|failure| &failure.scenario).collect();
        failed.sort_unstable();
        failed.dedup();
        self.scored - failed.len()
    }
}

/// Runs what a revision requires, but for the scenarios that `leave_out` names.
pub(crate) async fn run(side: Side<'_>, revision: Revision, leave_out: fn(&str) -> bool) -> Report {
    let _slot = SLOTS.acquire().await.expect("the semaphore is never closed");
    let suite = tokio::task::spawn_blocking(|| Servers::npm("conformance", "conformance/"))
        .await
        .expect("the suite can be installed");
    let program = suite.bin("conformance");
    let scenarios: Vec<_> =
        required(&program, side, revision).into_iter().filter(|name| !leave_out(name)).collect();
    let home = TempDir::with_prefix("wharf-conformance-").expect("a temporary folder");
    let out = home.path().join("out");
    fs::create_dir(&out).expect("a fresh folder");
    let said = execute(&suite, side, revision, home.path()).await;
    let failures = scenarios.iter().flat_map(|scenario| failures(&out, side, scenario, &said)).collect();
    Report { scored: scenarios.len(), failures }
}

/// Runs the process to its end, or to the bound; the end of what it said.
async fn execute(suite: &Servers, side: Side<'_>, revision: Revision, home: &Path) -> String {
    let mark = home.file_name().and_then(|name| name.to_str()).expect("a UTF-8 name").to_owned();
    let mut command = Command::new(suite.bin("node"));
    command.arg(suite.bin("conformance"));
    match side {
        Side::Server { url } => command.args(["server", "--url", url]),
        Side::Client { command: line, env, .. } => {
            command.args(["client", "--command", line]).envs(env.iter().copied())
        }
    };
    let child = command
        .args(["--requirements", revision.date(), "-o"])
        .arg(home.join("out"))
        .env(MARK, &mark)
        .env("NO_COLOR", "1")
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("the suite starts");
    let group = Pid::from_raw(i32::try_from(child.id().expect("it runs")).expect("a pid"));
    let ended = tokio::time::timeout(BOUND, child.wait_with_output()).await;
    let said = match ended {
        Ok(output) => {
            let output = output.expect("its output can be read");
            let [out, err] = [output.stdout, output.stderr].map(|text| tail(&String::from_utf8_lossy(&text)));
            format!("{out}\n{err}")
        }
        Err(_) => {
            killpg(group, Signal::SIGKILL).ok();
            format!("the suite did not end within {BOUND:?} and was killed")
        }
    };
    let folder = home.to_owned();
    let search = tokio::task::spawn_blocking(move || procs::assert_none_left(&mark, &folder));
    search.await.expect("nothing outlives the suite");
    said
}

/// The scored scenarios of a side, by the suite's own file.
fn required(program: &Path, side: Side<'_>, revision: Revision) -> Vec<String> {
    let package = program.canonicalize().expect("the suite is installed");
    let package = package.ancestors().nth(2).expect("PACKAGE/dist/index.js");
    let file = package.join("requirements").join(format!("{}.yaml", revision.date()));
    let text = fs::read_to_string(&file).expect("the suite carries its requirements");
    let read: Requirements = serde_saphyr::from_str(&text).expect("requirements are YAML");
    match side {
        Side::Server { .. } => read.server,
        Side::Client { .. } => read.client,
    }
}

/// What failed in a scenario. A scenario without a readable result has failed.
fn failures(out: &Path, side: Side<'_>, scenario: &str, said: &str) -> Vec<Failure> {
    let failure = |check: &str, message: String| Failure {
        scenario: scenario.to_owned(),
        check: check.to_owned(),
        message,
    };
    let Some(folder) = folder_of(out, side, scenario) else {
        return vec![failure("no result", format!("the scenario did not run; the suite said:\n{said}"))];
    };
    let text = fs::read_to_string(folder.join("checks.json")).unwrap_or_default();
    let checks: Vec<Check> = match serde_json::from_str(&text) {
        Ok(checks) => checks,
        Err(error) => return vec![failure("no result", format!("checks.json cannot be read: {error}"))],
    };
    // A scenario whose checks only warn, because nothing could be asked, is not one that passed.
    if !checks.iter().any(|check| matches!(check.status.as_str(), "SUCCESS" | "FAILURE")) {
        let warned =
            checks.into_iter().filter_map(|check| check.error_message).collect::<Vec<_>>().join("; ");
        return vec![failure("no result", format!("no check of the scenario succeeded: {warned}"))];
    }
    let failed = checks.into_iter().filter(|check| check.status == "FAILURE");
    let mut failed: Vec<_> = failed
        .map(|check| {
            let why = check.error_message.unwrap_or(check.description);
            failure(&format!("{} ({})", check.id, check.name), why)
        })
        .collect();
    if let Side::Client { done, .. } = side {
        let [told, complained] = ["stdout.txt", "stderr.txt"]
            .map(|name| fs::read_to_string(folder.join(name)).unwrap_or_default());
        if !told.contains(done) || !failed.is_empty() {
            failed.push(failure("the client itself", format!("it said:\n{}", tail(&complained))));
        }
    }
    failed
}

/// The folder of a scenario's result: `[server-]SCENARIO-TIME`. Names begin with one another, so the time is looked at.
fn folder_of(out: &Path, side: Side<'_>, scenario: &str) -> Option<PathBuf> {
    let prefix = match side {
        Side::Server { .. } => format!("server-{scenario}-"),
        Side::Client { .. } => format!("{scenario}-"),
    };
    let is_time = |rest: &str| rest.len() == "2026-07-28T00-00-00-000Z".len() && rest.ends_with('Z');
    let mut entries = fs::read_dir(out).expect("the output folder is there").flatten();
    let found = entries.find(|entry| {
        entry.file_name().to_str().and_then(|name| name.strip_prefix(&prefix)).is_some_and(is_time)
    });
    found.map(|entry| entry.path())
}

/// The last lines of a text.
fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[tokio::test]
async fn a_server_that_is_not_there_passes_what_can_only_warn() {
    let nobody = format!("http://127.0.0.1:{}/mcp", crate::support::mockproc::free_port());
    // input-required-result-missing-input-response and -ignore-extra-params never fail, by the suite's own rules.
    for (revision, expected) in Revision::ALL.into_iter().zip([(0, 30), (2, 37)]) {
        let report = run(Side::Server { url: &nobody }, revision, |_| false).await;
        let failed: Vec<_> = report.failures.iter().map(|failure| &failure.scenario).collect();
        assert_eq!((report.passed(), report.scored), expected, "failed: {failed:?}");
    }
}
