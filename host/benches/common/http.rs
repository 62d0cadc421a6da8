//! One HTTP connection to a host, as light as it can be: what it costs is in all that is measured by it.

use std::ops::Range;
use std::time::Duration;

use memchr::memmem;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Outcome;

/// No answer is longer.
const LONGEST: usize = 4 << 20;
/// No single answer takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection that is kept open.
pub(crate) struct Http {
    stream: TcpStream,
    /// Sent with each request; each line with its end.
    pub(crate) headers: String,
    out: Vec<u8>,
    buffer: Vec<u8>,
    head: Range<usize>,
    body: Range<usize>,
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
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let head = std::str::from_utf8(self.buffer.get(self.head.clone())?).ok()?;
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = fields.find(|(given, _)| given.eq_ignore_ascii_case(name))?;
        Some(value.trim().to_owned())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.body()).into_owned()
    }

    /// One exchange; the status.
    pub(crate) async fn send(&mut self, method: &str, path: &str, body: &str) -> Outcome<u16> {
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
