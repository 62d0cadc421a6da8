//! The two ways to the same tool: REST through the host, and JSON-RPC lines on the pipes of a mock of our own. Both check
//! every answer, both are as light as they can be: what they cost is in both sides of each comparison.

use std::collections::HashSet;
use std::ops::Range;
use std::process::Stdio;
use std::time::Duration;

use memchr::memmem;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::{Outcome, wharf};

/// No answer is longer.
const LONGEST: usize = 4 << 20;
/// No single answer takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection that is kept open.
pub(crate) struct Http {
    stream: TcpStream,
    headers: String,
    out: Vec<u8>,
    buffer: Vec<u8>,
    head: Range<usize>,
    body: Range<usize>,
}

/// A client of MCP over HTTP on one connection, in the words of either era.
pub(crate) struct McpHttp {
    http: Http,
    path: &'static str,
    meta: &'static str,
    next: u64,
}

impl Http {
    pub(crate) async fn connect(address: &str, token: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let headers =
            format!("host: {address}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n");
        Ok(Self { stream, headers, out: Vec::new(), buffer: Vec::new(), head: 0..0, body: 0..0 })
    }

    /// Reads a JSON document.
    pub(crate) async fn get(&mut self, path: &str) -> Outcome<Value> {
        match self.send("GET", path, "").await? {
            200 => Ok(serde_json::from_slice(self.body())?),
            status => Err(format!("GET {path}: {status} {}", self.text()).into()),
        }
    }

    /// Calls the tool `echo` and gives the status; a right one comes only with a right answer.
    pub(crate) async fn try_echo(&mut self, plugin: &str, message: &str) -> Outcome<u16> {
        let body = format!(r#"{{"message":"{message}"}}"#);
        let status = self.send("POST", &format!("/tools/{plugin}/echo"), &body).await?;
        if status == 200 && serde_json::from_slice::<&str>(self.body())? != message {
            return Err(format!("asked for {message:?}, got {}", self.text()).into());
        }
        Ok(status)
    }

    /// Calls the tool `echo`, which must answer.
    pub(crate) async fn echo(&mut self, plugin: &str, message: &str) -> Outcome<()> {
        match self.try_echo(plugin, message).await? {
            200 => Ok(()),
            status => Err(format!("echo: {status} {}", self.text()).into()),
        }
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        self.buffer.get(self.body.clone()).unwrap_or_default()
    }

    /// A header of the last answer.
    fn header(&self, name: &str) -> Option<String> {
        let head = std::str::from_utf8(self.buffer.get(self.head.clone())?).ok()?;
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = fields.find(|(given, _)| given.eq_ignore_ascii_case(name))?;
        Some(value.trim().to_owned())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(self.body()).into_owned()
    }

    async fn send(&mut self, method: &str, path: &str, body: &str) -> Outcome<u16> {
        self.out.clear();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\n{}content-length: {length}\r\n\r\n", self.headers);
        self.out.extend_from_slice(head.as_bytes());
        self.out.extend_from_slice(body.as_bytes());
        tokio::time::timeout(PATIENCE, self.exchange()).await?
    }

    async fn exchange(&mut self) -> Outcome<u16> {
        self.stream.write_all(&self.out).await?;
        self.buffer.clear();
        let (status, head, length) = loop {
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                let head = std::str::from_utf8(self.buffer.get(..end).unwrap_or_default())?;
                break (status_of(head)?, end + 4, length_of(head)?);
            }
            self.read().await?;
        };
        while self.buffer.len() < head + length {
            self.read().await?;
        }
        self.head = 0..head;
        self.body = head..head + length;
        Ok(status)
    }

    async fn read(&mut self) -> Outcome<()> {
        if self.buffer.len() > LONGEST {
            return Err("the answer is too long".into());
        }
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the host closed the connection".into()),
            _ => Ok(()),
        }
    }
}

impl McpHttp {
    /// A client that sends each request for itself (revision 2026-07-28).
    pub(crate) fn modern(mut http: Http, path: &'static str) -> Self {
        http.headers.push_str(
            "accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: p0__echo\r\n",
        );
        let meta = r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"0"}}"#;
        Self { http, path, meta, next: 1 }
    }

    /// A client with a session (revision 2025-11-25).
    pub(crate) async fn legacy(mut http: Http, path: &'static str) -> Outcome<Self> {
        http.headers.push_str("accept: application/json, text/event-stream\r\n");
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "0"}}});
        let status = http.send("POST", path, &hello.to_string()).await?;
        let session = http.header("mcp-session-id").filter(|_| status == 200);
        let session = session.ok_or_else(|| format!("initialize: {status} {}", http.text()))?;
        http.headers.push_str(&format!("mcp-session-id: {session}\r\nmcp-protocol-version: 2025-11-25\r\n"));
        match http.send("POST", path, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await? {
            202 => Ok(Self { http, path, meta: "", next: 1 }),
            status => Err(format!("initialized: {status} {}", http.text()).into()),
        }
    }

    /// One call of the tool `echo` of plugin `p0`, under its exposed name.
    pub(crate) async fn echo(&mut self) -> Outcome<()> {
        let (id, meta) = (self.next, self.meta);
        self.next += 1;
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"p0__echo","arguments":{{"message":"m{id}"}}{meta}}}}}"#
        );
        let status = self.http.send("POST", self.path, &body).await?;
        let answer = serde_json::from_slice::<Answer<'_>>(self.http.body()).ok();
        let right = answer.is_some_and(|answer| answer.id == id && answer.says(id));
        if status == 200 && right {
            Ok(())
        } else {
            Err(format!("echo: {status} {}", self.http.text()).into())
        }
    }
}

impl Answer<'_> {
    fn says(&self, id: u64) -> bool {
        let said = self.result.content.first().map(|content| content.text);
        said.and_then(|text| text.strip_prefix('m')).is_some_and(|text| text.parse() == Ok(id))
    }
}

fn status_of(head: &str) -> Outcome<u16> {
    Ok(head.split(' ').nth(1).ok_or("no status")?.parse()?)
}

fn length_of(head: &str) -> Outcome<usize> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    match lengths.next() {
        Some((_, length)) => Ok(length.trim().parse()?),
        // 202 has nothing to say.
        None if matches!(status_of(head)?, 202 | 204) => Ok(0),
        None => Err("an answer without a length".into()),
    }
}

/// A mock that the benchmark speaks to by itself.
pub(crate) struct Direct {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    line: Vec<u8>,
    out: Vec<u8>,
    next: u64,
}

#[derive(Deserialize)]
struct Answer<'a> {
    id: u64,
    #[serde(borrow)]
    result: CallResult<'a>,
}

#[derive(Deserialize)]
struct CallResult<'a> {
    #[serde(borrow)]
    content: Vec<Text<'a>>,
}

#[derive(Deserialize)]
struct Text<'a> {
    text: &'a str,
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
