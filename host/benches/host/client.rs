//! A mock that the benchmark speaks to by itself: JSON-RPC lines on its pipes. It checks every answer, as the client of the
//! host does, and both are as light as they can be: what they cost is in both sides of each comparison.

use std::collections::HashSet;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::common::{Answer, Outcome, wharf};

/// No answer is longer.
const LONGEST: usize = 4 << 20;
/// No single answer takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mock that the benchmark speaks to by itself.
pub(crate) struct Direct {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    line: Vec<u8>,
    out: Vec<u8>,
    next: u64,
}

impl Direct {
    pub(crate) async fn start() -> Outcome<Self> {
        let mut command = Command::new(wharf());
        command
            .arg("mock")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = BufReader::with_capacity(64 << 10, child.stdout.take().ok_or("no stdout")?);
        let mut direct = Self { child, stdin, stdout, line: Vec::new(), out: Vec::new(), next: 1 };
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "0"}}});
        direct.out = format!("{hello}\n").into_bytes();
        direct.flush().await?;
        tokio::time::timeout(PATIENCE, direct.read_line()).await??;
        direct.out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n");
        direct.flush().await?;
        Ok(direct)
    }

    /// One call of the tool `echo`.
    pub(crate) async fn echo(&mut self) -> Outcome<()> {
        self.flood(1, 1).await
    }

    /// So many calls of it, so many at a time. Requests are sent in batches of half as many: one write for each would make
    /// the pipes look slower than they are, and the host by that much better.
    pub(crate) async fn flood(&mut self, at_a_time: usize, calls: usize) -> Outcome<()> {
        let mut open = HashSet::with_capacity(at_a_time);
        for _ in 0..at_a_time.min(calls) {
            open.insert(self.ask());
        }
        let (mut sent, mut unsent) = (open.len(), open.len());
        while !open.is_empty() {
            if unsent >= at_a_time.div_ceil(2) || unsent == open.len() || sent == calls {
                self.flush().await?;
                unsent = 0;
            }
            tokio::time::timeout(PATIENCE, self.read_line()).await??;
            let id = self.answered()?;
            if !open.remove(&id) {
                return Err(format!("an answer to a call that is not open: {id}").into());
            }
            if sent < calls {
                open.insert(self.ask());
                sent += 1;
                unsent += 1;
            }
        }
        Ok(())
    }

    fn ask(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"m{id}"}}}}}}"#
        );
        self.out.extend_from_slice(line.as_bytes());
        self.out.push(b'\n');
        id
    }

    async fn flush(&mut self) -> Outcome<()> {
        self.stdin.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    async fn read_line(&mut self) -> Outcome<()> {
        self.line.clear();
        let bound = u64::try_from(LONGEST)?;
        match (&mut self.stdout).take(bound).read_until(b'\n', &mut self.line).await? {
            0 => Err("the mock has ended".into()),
            _ => Ok(()),
        }
    }

    /// The id of the answer in the line, if it is right.
    fn answered(&self) -> Outcome<u64> {
        let answer: Answer<'_> = serde_json::from_slice(&self.line)?;
        if answer.says(answer.id) {
            return Ok(answer.id);
        }
        Err(format!("a wrong answer: {}", String::from_utf8_lossy(&self.line)).into())
    }

    /// Ends it by the end of its input.
    pub(crate) async fn end(self) -> Outcome<()> {
        let Self { mut child, stdin, .. } = self;
        drop(stdin);
        match tokio::time::timeout(PATIENCE, child.wait()).await {
            Ok(status) => Ok(status.map(drop)?),
            Err(_) => Ok(child.kill().await?),
        }
    }
}
