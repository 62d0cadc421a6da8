//! The bytes of a request and of its answer. All requests of a caller are the same but for one number of ten digits, which
//! is the id and the beginning of what `echo` says; so a request costs the digits, and each answer is checked against it.

use memchr::memmem;

use crate::upstream;

/// Stands for the number until it is put in.
const HOLE: &str = "##########";
/// The first number. All have ten digits.
const FIRST: u64 = 1_000_000_000;
/// What names a revision and a client in a modern request.
const META: &str = r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"0"}}"#;

/// What a call is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// So many bytes there and back.
    Echo(usize),
    /// So many bytes back.
    Blob(usize),
}

/// How a call is said.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// JSON-RPC with the tool's own name, by nobody in particular: what an upstream takes.
    Plain,
    /// `POST /api/v1/plugins/{id}/tools/{tool}/call`
    Rest,
    /// `POST /tools/{plugin}/{tool}`
    Facade,
    /// `POST /mcp` in a session.
    Legacy,
    /// `POST /mcp`, each request for itself.
    Modern,
}

/// The requests of one caller and what their answers must be.
#[derive(Clone)]
pub(crate) struct Talk {
    bytes: Vec<u8>,
    holes: Vec<usize>,
    next: u64,
    numbered: bool,
    /// The text that is answered, from behind the number on if it is an echo.
    text: Vec<u8>,
    echo: bool,
    edge: Edge,
}

impl Payload {
    fn tool(self) -> &'static str {
        match self {
            Self::Echo(_) => "echo",
            Self::Blob(_) => "blob",
        }
    }

    fn arguments(self) -> String {
        match self {
            Self::Echo(size) => {
                format!(r#"{{"message":"{HOLE}{}"}}"#, "x".repeat(size.saturating_sub(HOLE.len())))
            }
            Self::Blob(size) => format!(r#"{{"bytes":{size}}}"#),
        }
    }

    fn text(self) -> Vec<u8> {
        match self {
            Self::Echo(size) => vec![b'x'; size.saturating_sub(HOLE.len())],
            Self::Blob(size) => upstream::blob(size),
        }
    }
}

impl Edge {
    fn body(self, plugin: &str, payload: Payload) -> String {
        let (tool, arguments) = (payload.tool(), payload.arguments());
        let call = |name: &str, meta: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{HOLE},"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}{meta}}}}}"#
            )
        };
        match self {
            Self::Plain => call(tool, ""),
            Self::Rest => format!(r#"{{"arguments":{arguments}}}"#),
            Self::Facade => arguments,
            Self::Legacy => call(&format!("{plugin}__{tool}"), ""),
            Self::Modern => call(&format!("{plugin}__{tool}"), META),
        }
    }

    fn path(self, plugin: &str, tool: &str) -> String {
        match self {
            Self::Plain | Self::Legacy | Self::Modern => "/mcp".to_owned(),
            Self::Rest => format!("/api/v1/plugins/{plugin}/tools/{tool}/call"),
            Self::Facade => format!("/tools/{plugin}/{tool}"),
        }
    }

    fn headers(self, plugin: &str, tool: &str) -> String {
        let accept = "accept: application/json, text/event-stream\r\n";
        match self {
            Self::Plain => accept.to_owned(),
            Self::Legacy => format!("{accept}mcp-protocol-version: 2025-11-25\r\n"),
            Self::Modern => format!(
                "{accept}mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: {plugin}__{tool}\r\n"
            ),
            Self::Rest | Self::Facade => String::new(),
        }
    }
}

impl Talk {
    /// Over HTTP; `headers` are the caller's own, each with the end of its line.
    pub(crate) fn http(edge: Edge, plugin: &str, payload: Payload, headers: &str) -> Self {
        let (body, tool) = (edge.body(plugin, payload), payload.tool());
        let path = edge.path(plugin, tool);
        let (more, length) = (edge.headers(plugin, tool), body.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\n{headers}content-type: application/json\r\n{more}content-length: {length}\r\n\r\n"
        );
        Self::new(edge, payload, head + &body)
    }

    /// One line on a pipe.
    pub(crate) fn line(payload: Payload) -> Self {
        Self::new(Edge::Plain, payload, Edge::Plain.body("", payload) + "\n")
    }

    fn new(edge: Edge, payload: Payload, request: String) -> Self {
        let holes = memmem::find_iter(request.as_bytes(), HOLE).collect();
        Self {
            bytes: request.into_bytes(),
            holes,
            next: FIRST,
            numbered: matches!(edge, Edge::Plain | Edge::Legacy | Edge::Modern),
            text: payload.text(),
            echo: matches!(payload, Payload::Echo(_)),
            edge,
        }
    }

    /// The next request, and its number.
    pub(crate) fn ask(&mut self) -> (u64, &[u8]) {
        let number = self.next;
        self.next += 1;
        let digits = digits(number);
        for hole in &self.holes {
            if let Some(place) = self.bytes.get_mut(*hole..hole + HOLE.len()) {
                place.copy_from_slice(&digits);
            }
        }
        (number, &self.bytes)
    }

    /// Whether this is the answer to the request of this number.
    pub(crate) fn is_right(&self, answer: &[u8], number: u64) -> bool {
        if self.numbered && id_of(answer) != Some(number) {
            return false;
        }
        let text = match self.edge {
            Edge::Facade => answer.strip_prefix(b"\""),
            Edge::Plain | Edge::Rest | Edge::Legacy | Edge::Modern => after(answer, br#""text":""#),
        };
        let rest = if self.echo { text.and_then(|text| text.strip_prefix(&digits(number))) } else { text };
        rest.and_then(|rest| rest.strip_prefix(&*self.text)).is_some_and(|rest| rest.starts_with(b"\""))
    }
}

/// The id of an answer, if it is a number.
pub(crate) fn id_of(answer: &[u8]) -> Option<u64> {
    let id = after(answer, br#""id":"#)?;
    let end = id.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(id.get(..end)?).ok()?.parse().ok()
}

fn after<'a>(bytes: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    bytes.get(memmem::find(bytes, name)? + name.len()..)
}

fn digits(mut number: u64) -> [u8; HOLE.len()] {
    let mut digits = [b'0'; HOLE.len()];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
    digits
}
