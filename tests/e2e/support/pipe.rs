//! `wharf stdio` as a client program runs it: a child whose stdin and stdout are pipes of messages.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use super::host::Setup;
use super::procs::MARK;
use super::{PATIENCE, TestHost, WHARF};

/// A running `wharf stdio`. Dropping it kills it, if it is still there.
#[derive(Debug)]
pub(crate) struct Pipe {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Pipe {
    /// On the folders of a host.
    pub(crate) fn on(host: &TestHost, args: &[&str]) -> Self {
        Self::start(&host.plugins(), &host.state(), host.mark(), args)
    }

    /// Without a host.
    pub(crate) fn alone(setup: &Setup, args: &[&str]) -> Self {
        Self::start(&setup.plugins(), &setup.state(), setup.mark(), args)
    }

    fn start(plugins: &std::path::Path, state: &std::path::Path, mark: &str, args: &[&str]) -> Self {
        let mut child = Command::new(WHARF)
            .args(["stdio", "--plugins"])
            .arg(plugins)
            .arg("--state")
            .arg(state)
            .args(args)
            .env_remove("WHARF_STATE")
            .env_remove("WHARF_URL")
            .env_remove("WHARF_TOKEN")
            .env(MARK, mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary under test starts");
        let (lines, reader) = channel();
        let output = child.stdout.take().expect("piped");
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                lines.send(line).ok();
            }
        });
        Self { input: child.stdin.take(), child, lines: reader }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes bytes as they are.
    pub(crate) fn write(&mut self, bytes: &str) {
        let input = self.input.as_mut().expect("the input is open");
        input.write_all(bytes.as_bytes()).and_then(|()| input.flush()).expect("it reads");
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.write(&format!("{message}\n"));
    }

    /// The next line, as it is.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a message comes in time")
    }

    /// The next message; every line must be one.
    pub(crate) fn next(&self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("not a message on stdout ({e}): {line:?}"))
    }

    /// Reads on to the answer with this id; what comes before is dropped.
    pub(crate) fn answer(&self, id: impl Into<Value>) -> Value {
        let id = id.into();
        loop {
            let message = self.next();
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
        }
    }

    /// Reads on until each of these ids is answered; the answers as they came.
    pub(crate) fn answers<const N: usize>(&self, ids: [u64; N]) -> Vec<Value> {
        let mut answers: Vec<Value> = Vec::new();
        while answers.len() < N {
            let message = self.next();
            let awaited = message["id"].as_u64().is_some_and(|id| ids.contains(&id));
            if awaited && message.get("method").is_none() {
                answers.push(message);
            }
        }
        answers
    }

    pub(crate) fn ask(&mut self, id: impl Into<Value>, method: &str, params: Value) -> Value {
        let id = id.into();
        self.send(&super::mcp::request(id.clone(), method, params));
        self.answer(id)
    }

    /// Closes the input; the answers that still came (a session may also be told of changes at any time), and how it ended.
    pub(crate) fn close(mut self) -> (Vec<Value>, Option<i32>) {
        self.input = None;
        let rest = std::iter::from_fn(|| self.lines.recv_timeout(PATIENCE).ok());
        let rest = rest.map(|line| serde_json::from_str::<Value>(&line).expect("only messages on stdout"));
        let rest = rest.filter(|message| message.get("id").is_some()).collect();
        (rest, self.child.wait().expect("it ends").code())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
