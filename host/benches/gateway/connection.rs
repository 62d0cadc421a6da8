//! One caller over HTTP: a connection that is kept open, requests that are made beforehand, and as little reading of the
//! answer as tells whether it is right.

use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::Outcome;
use crate::wire::Talk;

/// No answer is longer.
const LONGEST: usize = 8 << 20;

pub(crate) struct Connection {
    address: String,
    /// None while it rests.
    stream: Option<TcpStream>,
    talk: Talk,
    buffer: Vec<u8>,
}

impl Connection {
    /// One that is yet to be opened.
    pub(crate) fn new(address: &str, talk: Talk) -> Self {
        Self { address: address.to_owned(), stream: None, talk, buffer: Vec::with_capacity(16 << 10) }
    }

    /// Opens it, if it is not open, and has one call answered, so that the next one meets nothing that is new.
    pub(crate) async fn open(&mut self) -> Outcome<()> {
        if self.stream.is_none() {
            self.reconnect().await?;
            self.call().await?;
        }
        Ok(())
    }

    /// A connection in the place of one that is of no more use.
    pub(crate) async fn reconnect(&mut self) -> Outcome<()> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Closes it, until it is opened again.
    pub(crate) fn close(&mut self) {
        self.stream = None;
    }

    /// One call on an open connection, or on a new one, over and over until it is answered rightly: at most one in `pause`.
    /// A refusal leaves the connection as it is, so that asking again disturbs the host as little as can be.
    pub(crate) async fn until_answered(&mut self, pause: Duration) -> Outcome<()> {
        self.reconnect().await?;
        while self.call().await.is_err() {
            tokio::time::sleep(pause).await;
            if !self.is_refused() {
                self.reconnect().await?;
            }
        }
        Ok(())
    }

    /// Whether the last answer was read whole, and says that it was none of the tool's.
    fn is_refused(&self) -> bool {
        self.buffer.starts_with(b"HTTP/1.1 503 ") && memmem::find(&self.buffer, b"onnection: close").is_none()
    }

    /// One call, which must be answered rightly.
    pub(crate) async fn call(&mut self) -> Outcome<()> {
        let (number, request) = self.talk.ask();
        self.buffer.clear();
        self.stream.as_mut().ok_or("not open")?.write_all(request).await?;
        let (head, length) = loop {
            self.read().await?;
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                break (end + 4, length_of(self.buffer.get(..end + 2).unwrap_or_default()));
            }
        };
        let Some(length) = length.filter(|length| *length < LONGEST) else {
            return Err(self.wrong());
        };
        let whole = head + length;
        self.buffer.reserve(whole.saturating_sub(self.buffer.len()));
        while self.buffer.len() < whole {
            self.read().await?;
        }
        let good = self.buffer.starts_with(b"HTTP/1.1 200 ");
        let body = self.buffer.get(head..).unwrap_or_default();
        if good && self.talk.is_right(body, number) { Ok(()) } else { Err(self.wrong()) }
    }

    async fn read(&mut self) -> Outcome<()> {
        match self.stream.as_mut().ok_or("not open")?.read_buf(&mut self.buffer).await? {
            0 => Err("the connection was closed".into()),
            _ => Ok(()),
        }
    }

    /// The beginning of an answer that is not right.
    fn wrong(&self) -> Box<dyn std::error::Error + Send + Sync> {
        let text = String::from_utf8_lossy(self.buffer.get(..1000).unwrap_or(&self.buffer)).into_owned();
        format!("not the answer: {text}").into()
    }
}

/// The length of the body, of a head whose lines all have their ends.
fn length_of(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let mut lines = head.split(|byte| *byte == b'\n');
    let line =
        lines.find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))?;
    std::str::from_utf8(line.get(NAME.len()..)?).ok()?.trim().parse().ok()
}
