//! The clients: a small program each, in its own language, that is told what to do in one JSON argument and reports on
//! stdout what came of it. They know no host.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::support::servers::Servers;
use crate::support::{PATIENCE, built};

/// What a client can do beyond listing and calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skill {
    /// It shows progress and answers sampling and elicitation.
    Whole,
    /// The same, but it forgets the last events of a call that come in one piece with the answer.
    Hasty,
    /// It lists and calls: one request per process.
    Plain,
}

/// A client program.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) name: &'static str,
    pub(crate) skill: Skill,
    /// It finds out by itself whether the server is of the modern era, tells what it found, and prefers it.
    pub(crate) modern: bool,
    argv: Vec<PathBuf>,
    node_path: PathBuf,
}

/// Everything that can be a client, installed.
pub(crate) struct Clients {
    pub(crate) rust: Client,
    pub(crate) python_v1: Client,
    pub(crate) python_v2: Client,
    pub(crate) fastmcp: Client,
    pub(crate) typescript_v1: Client,
    pub(crate) typescript_v2: Client,
    pub(crate) inspector: Client,
    pub(crate) claude: Client,
}

impl Clients {
    pub(crate) fn installed() -> Self {
        let (node, v2) = (peers(), Servers::python());
        let v1 = Servers::venv("interop-python-v1", "interop-python-v1/requirements.txt");
        let fast = Servers::venv("interop-fastmcp", "interop-fastmcp/requirements.txt");
        // Inspector needs a newer Node.js than the tests do; it comes from npm as a package, like the rest.
        let node22 = node.bin("node");
        let modules = node22.ancestors().nth(2).expect("node_modules/.bin/node").to_owned();
        let script = |program: &Path, name: &'static str, file: &str, skill| Client {
            name,
            skill,
            modern: false,
            argv: vec![program.to_owned(), ours("drivers").join(file)],
            node_path: modules.clone(),
        };
        Self {
            rust: Client {
                name: "rmcp 3.9",
                skill: Skill::Whole,
                modern: true,
                argv: vec![peer("interop-rust-client")],
                node_path: PathBuf::new(),
            },
            python_v1: script(&v1.bin("python3"), "Python mcp 1.30", "python_v1.py", Skill::Whole),
            python_v2: script(&v2.bin("python3"), "Python mcp 2.3", "python_v2.py", Skill::Whole).newer(),
            fastmcp: script(&fast.bin("python3"), "FastMCP 4.1", "fast_mcp.py", Skill::Whole).newer(),
            typescript_v1: script(Path::new("node"), "TypeScript 1.32", "typescript_v1.cjs", Skill::Hasty),
            typescript_v2: script(Path::new("node"), "TypeScript 2.4", "typescript_v2.cjs", Skill::Hasty)
                .newer(),
            inspector: script(&node22, "Inspector CLI", "inspector.cjs", Skill::Plain),
            claude: script(&node22, "Claude Code", "claude_code.cjs", Skill::Plain),
        }
    }

    /// Those that list and call.
    pub(crate) fn callers(&self) -> [&Client; 7] {
        let Self { rust, python_v1, python_v2, fastmcp, typescript_v1, typescript_v2, inspector, claude: _ } =
            self;
        [rust, python_v1, python_v2, fastmcp, typescript_v1, typescript_v2, inspector]
    }
}

impl Client {
    fn newer(self) -> Self {
        Self { modern: true, ..self }
    }

    /// Runs the program to its end. A report counts even if the client then stumbles over its own goodbye.
    pub(crate) async fn run(&self, task: &Value) -> Result<Value, String> {
        let (program, args) = self.argv.split_first().expect("a program");
        let run = Command::new(program)
            .args(args)
            .arg(task.to_string())
            .env("NODE_PATH", &self.node_path)
            .env_remove("WHARF_STATE")
            .env_remove("WHARF_URL")
            .env_remove("WHARF_TOKEN")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, run)
            .await
            .map_err(|_| format!("{} does not end", self.name))?
            .map_err(|error| format!("{program:?}: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        said.lines().rev().find_map(|line| serde_json::from_str(line).ok()).ok_or_else(|| {
            format!("no report, {}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr))
        })
    }
}

/// The clients and servers of npm, and a Node.js that is new enough for all of them.
pub(crate) fn peers() -> Servers {
    Servers::npm("interop-node", "interop-node/")
}

/// A program of the package `interop-peers`.
pub(crate) fn peer(name: &str) -> PathBuf {
    let path = built().join(name);
    assert!(
        path.exists(),
        "{path:?} is missing: cargo test --workspace builds it, or cargo build -p interop-peers"
    );
    path
}

/// A file of this folder.
pub(crate) fn ours(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop").join(path)
}
