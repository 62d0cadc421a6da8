//! The fixture: built once, run by itself behind HTTP, and as a plugin's manifest. It knows the fixture's command line only.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::OnceCell;

use crate::support::mockproc::free_port;
use crate::support::procs::{self, MARK};
use crate::support::{Manifest, PATIENCE};

/// The eras that the fixture speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    Legacy,
    Modern,
    Dual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Stdio,
    Sse,
    Http,
}

/// The fixture behind HTTP, without a host. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Fixture {
    process: Option<tokio::process::Child>,
    home: TempDir,
    pub(crate) url: String,
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
            Self::Dual => "dual",
        })
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdio => "stdio",
            Self::Sse => "sse",
            Self::Http => "http",
        })
    }
}

impl Fixture {
    /// Starts it and waits until it listens.
    pub(crate) async fn start(era: Era) -> Self {
        let program = program().await;
        let home = TempDir::with_prefix("wharf-fixture-").expect("a temporary folder");
        let mut process = tokio::process::Command::new(program)
            .args(["--dialect", "http", "--era", &era.to_string(), "--port", &free_port().to_string()])
            .env(MARK, home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the fixture starts");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let line =
            tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("the fixture speaks in time");
        let line = line.expect("its output can be read").unwrap_or_default();
        let url = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("an odd first line: {line:?}"));
        Self { url: url.to_owned(), process: Some(process), home }
    }

    /// Ends it, and fails if a process of it is left.
    pub(crate) async fn end(mut self) {
        let mut process = self.process.take().expect("ended once");
        process.kill().await.expect("the fixture can be killed");
        let mark = self.home.path().to_owned();
        procs::assert_none_left(mark.to_str().expect("a UTF-8 path"), &mark);
    }
}

/// The fixture as a host's plugin.
pub(crate) async fn manifest(era: Era, dialect: Dialect) -> Manifest {
    let (era, name) = (era.to_string(), dialect.to_string());
    let plugin = Manifest::command(program().await)
        .args(["--era", &era, "--dialect", &name])
        .set("era", era.as_str())
        .set("dialect", name.as_str())
        .set("namespace", "");
    let path = match dialect {
        Dialect::Stdio => return plugin,
        Dialect::Sse => "/sse",
        Dialect::Http => "/mcp",
    };
    plugin.args(["--port", "${port}"]).set("url", format!("http://127.0.0.1:${{port}}{path}"))
}

/// The fixture's executable, built once by the cargo that built these tests.
async fn program() -> &'static Path {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let build = async || tokio::task::spawn_blocking(build).await.expect("the fixture can be built");
    BUILT.get_or_init(build).await
}

fn build() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["build", "-p", "conformance-fixture", "--message-format=json-render-diagnostics"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the fixture does not build:\n{said}");
    let messages = String::from_utf8(output.stdout).expect("cargo's messages are UTF-8");
    let messages = messages.lines().map(|line| serde_json::from_str::<Value>(line).expect("lines of JSON"));
    let mut built = messages.filter(|message| message["target"]["name"] == "conformance-fixture");
    let path = built.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    path.unwrap_or_else(|| panic!("cargo built no executable:\n{said}"))
}
