//! The example agent as a user runs it: built once by the cargo that built these tests, run once with a question, or
//! typed to in a chat.

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::support::command::Outcome;
use crate::support::{TestHost, eventually, procs};

/// A chat that runs. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Chat {
    child: Child,
    input: Option<ChildStdin>,
    answers: Heard,
    asides: Heard,
}

/// What the developer's shell may have set and the agent would heed.
const UNSET: [&str; 9] = [
    "WHARF_STATE",
    "WHARF_URL",
    "WHARF_TOKEN",
    "MCP_SERVER_URL",
    "AI_PROVIDER",
    "AI_MODEL",
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "AWS_BEARER_TOKEN_BEDROCK",
];

/// What a pipe brought so far.
type Heard = Arc<Mutex<String>>;

/// Answers one question and ends.
pub(crate) async fn once(host: &TestHost, args: &[&str]) -> Outcome {
    start(host, args).await.end().await
}

/// Begins a chat, or an answer if there is a question among the arguments. Where the host is can be said among them, too.
pub(crate) async fn start(host: &TestHost, args: &[&str]) -> Chat {
    let url = format!("{}/mcp", host.base);
    let state = host.state();
    let state = ["--state", state.to_str().expect("a UTF-8 path")];
    let has = |flag: &str| args.contains(&flag);
    let mut all = args.to_vec();
    if !has("--server-url") {
        all.extend(["--server-url", &url]);
    }
    if !has("--state") && !has("--token") {
        all.extend(state);
    }
    run(&all, &[]).await
}

/// Runs the agent with nothing that the shell of the developer has set.
pub(crate) async fn run(args: &[&str], env: &[(&str, &str)]) -> Chat {
    let mut command = Command::new(program().await);
    for name in UNSET {
        command.env_remove(name);
    }
    let mut child = command
        .args(args)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the agent starts");
    let answers = listen_to(child.stdout.take().expect("piped"));
    let asides = listen_to(child.stderr.take().expect("piped"));
    Chat { input: child.stdin.take(), child, answers, asides }
}

impl Chat {
    /// Types a line.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("the chat runs"), "{line}").expect("the agent reads");
    }

    /// Waits until the answers so far fit.
    pub(crate) async fn until(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        self.wait(&self.answers, what, fits).await
    }

    /// Waits until what was shown beside the answers has this text.
    pub(crate) async fn until_shown(&self, text: &str) -> String {
        self.wait(&self.asides, text, |shown| shown.contains(text)).await
    }

    /// Types a line and waits for an answer with this text; what was answered to it so far.
    pub(crate) async fn ask(&mut self, line: &str, text: &str) -> String {
        let before = heard(&self.answers).len();
        self.say(line);
        let answered =
            |all: &str| all.get(before..).is_some_and(|new| new.contains(text) && new.ends_with('\n'));
        self.until(&format!("{text:?} as answer to {line:?}"), answered).await.split_off(before)
    }

    /// Presses Ctrl-C.
    pub(crate) fn interrupt(&self) {
        procs::signal(self.child.id(), Signal::SIGINT);
    }

    /// Ends the input and waits for the end.
    pub(crate) async fn end(mut self) -> Outcome {
        self.input = None;
        self.ended().await
    }

    /// Waits for an end that has another reason.
    pub(crate) async fn ended(mut self) -> Outcome {
        let child = &mut self.child;
        let status = eventually("the end of the agent", async || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        })
        .await;
        // The threads hold the other two until the pipes are at their ends.
        eventually("the end of its output", async || {
            let open = Arc::strong_count(&self.answers) + Arc::strong_count(&self.asides) - 2;
            if open == 0 { Ok(()) } else { Err(format!("{open} pipes are open")) }
        })
        .await;
        let code = status.code().expect("it exits, no signal ends it");
        Outcome { code, stdout: heard(&self.answers), stderr: heard(&self.asides) }
    }

    async fn wait(&self, heard_by: &Heard, what: &str, fits: impl Fn(&str) -> bool) -> String {
        eventually(what, async || {
            let text = heard(heard_by);
            if fits(&text) {
                Ok(text)
            } else {
                Err(format!("{}\n{}", heard(&self.answers), heard(&self.asides)))
            }
        })
        .await
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn heard(pipe: &Heard) -> String {
    pipe.lock().expect("no reader panics").clone()
}

fn listen_to(mut pipe: impl Read + Send + 'static) -> Heard {
    let heard = Heard::default();
    let kept = Arc::clone(&heard);
    std::thread::spawn(move || {
        let (mut buffer, mut bytes) = ([0; 4096], Vec::new());
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..count]);
            *kept.lock().expect("no other writer") = String::from_utf8_lossy(&bytes).into_owned();
        }
    });
    heard
}

/// The agent's executable, built if it was not.
pub(crate) async fn program() -> &'static Path {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let build = async || tokio::task::spawn_blocking(build).await.expect("the agent can be built");
    BUILT.get_or_init(build).await
}

fn build() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "-p",
            "wharf-agent",
            "--bin",
            "wharf-agent",
            "--message-format=json-render-diagnostics",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the agent does not build:\n{said}");
    let messages = String::from_utf8(output.stdout).expect("cargo's messages are UTF-8");
    let messages = messages.lines().map(|line| serde_json::from_str::<Value>(line).expect("lines of JSON"));
    let mut built = messages.filter(|message| message["target"]["name"] == "wharf-agent");
    let path = built.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    path.unwrap_or_else(|| panic!("cargo built no executable:\n{said}"))
}
