//! A tiny streamable HTTP server whose answers to `tools/call` are exact bytes: for what no well-behaved mock does.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// What comes of a `tools/call`.
#[derive(Clone, Debug)]
pub(crate) enum OnCall {
    /// This result, byte for byte.
    Result(&'static str),
    /// 404: the session is not known (any more).
    NoSession,
    /// 200 and a page for people.
    Page,
    /// 401, to this and to all else that is asked.
    NoEntry,
}

/// A running fake. Its threads end with the test binary.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    port: u16,
    calls: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
    silent: Arc<AtomicBool>,
    on_call: OnCall,
    last: Arc<Mutex<Option<(Head, Value)>>>,
}

/// The headers of a request, by their names in lower case.
pub(crate) type Head = BTreeMap<String, String>;

impl Fake {
    pub(crate) fn start(on_call: OnCall) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let fake = Self {
            port,
            calls: Arc::default(),
            closed: Arc::default(),
            silent: Arc::default(),
            on_call,
            last: Arc::default(),
        };
        let server = fake.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.serve(connection));
            }
        });
        fake
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// How many `tools/call` arrived.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// The headers and the message of the last `tools/call`.
    pub(crate) fn last_call(&self) -> (Head, Value) {
        self.last.lock().expect("nothing panics with it").clone().expect("a call arrived")
    }

    /// How many sessions were ended by a `DELETE`.
    pub(crate) fn closed(&self) -> usize {
        self.closed.load(Ordering::Relaxed)
    }

    /// From now on it takes whatever comes and answers nothing, or answers again.
    pub(crate) fn falls_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    /// Serves one connection until the peer closes it. `None`: it did.
    fn serve(&self, connection: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(connection.try_clone().ok()?);
        let mut writer = connection;
        loop {
            let (verb, head, body) = read_request(&mut reader)?;
            if self.silent.load(Ordering::SeqCst) {
                let message: Value = serde_json::from_slice(&body).unwrap_or_default();
                self.calls.fetch_add(usize::from(message["method"] == "tools/call"), Ordering::Relaxed);
                continue;
            }
            let answer = match verb.as_str() {
                _ if matches!(self.on_call, OnCall::NoEntry) => reply("401 Unauthorized", "text/plain", "no"),
                "POST" => self.answer(head, &serde_json::from_slice(&body).ok()?),
                "DELETE" => {
                    self.closed.fetch_add(1, Ordering::Relaxed);
                    reply("200 OK", "text/plain", "")
                }
                _ => reply("405 Method Not Allowed", "text/plain", ""),
            };
            writer.write_all(answer.as_bytes()).ok()?;
        }
    }

    fn answer(&self, head: Head, message: &Value) -> String {
        let (id, params) = (&message["id"], &message["params"]);
        let result = match message["method"].as_str().unwrap_or_default() {
            "initialize" => json!({
                "protocolVersion": params["protocolVersion"],
                "capabilities": { "tools": {} },
                "serverInfo": { "name": "fake", "version": "1" },
            })
            .to_string(),
            "ping" => "{}".to_owned(),
            "tools/list" => {
                json!({ "tools": [{ "name": "odd", "inputSchema": { "type": "object" } }] }).to_string()
            }
            "tools/call" => {
                *self.last.lock().expect("nothing panics with it") = Some((head, message.clone()));
                self.calls.fetch_add(1, Ordering::Relaxed);
                match &self.on_call {
                    OnCall::Result(bytes) => (*bytes).to_owned(),
                    OnCall::NoSession => return reply("404 Not Found", "text/plain", "no such session"),
                    OnCall::NoEntry => return reply("401 Unauthorized", "text/plain", "no"),
                    OnCall::Page => return reply("200 OK", "text/html", "<h1>Welcome</h1>"),
                }
            }
            _ if id.is_null() => return reply("202 Accepted", "text/plain", ""),
            other => {
                let error = json!({ "code": -32601, "message": format!("no {other} here") });
                let text = json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string();
                return reply("200 OK", "application/json", &text);
            }
        };
        reply(
            "200 OK",
            "application/json",
            &format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}"),
        )
    }
}

fn reply(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nmcp-session-id: s1\r\n\r\n{body}"
    )
}

/// The verb, the headers and the body of the next request on a connection.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, Head, Vec<u8>)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    let (mut length, mut head) = (0, Head::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if let Some((name, value)) = line.trim().split_once(':') {
            head.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        match line.trim().split_once(':') {
            None => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok()?
            }
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first.split(' ').next()?.to_owned(), head, body))
}
