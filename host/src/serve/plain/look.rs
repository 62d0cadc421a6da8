//! Whether bytes begin with a plain request. Strict: what is not exactly as nearly every client sends it is none.

use std::cell::RefCell;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use httparse::{Header, Request, Status};

use crate::serve::auth::Via;
use crate::serve::door::{Connection, Door};
use crate::serve::heads::{Asked, Heads};
use crate::serve::hot::Way;

/// The longest request, in bytes, and the most that is read at a time.
pub(super) const MOST: usize = 64 << 10;
/// Lines in a head.
const LINES: usize = 64;
/// Digits of a length.
const DIGITS: usize = 8;

thread_local! {
    /// Where all connections of a thread are read into: it stays in the processor's cache, and an idle connection holds none.
    static ROOM: RefCell<Box<[u8]>> = RefCell::new(vec![0; MOST].into());
}

/// Does something with room to read into.
pub(super) fn with_room<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    ROOM.with_borrow_mut(|room| work(room))
}

/// A plain request.
pub(super) struct Look<'b> {
    path: &'b str,
    pub(super) way: Way<'b>,
    lines: Lines<'b>,
    /// In bytes, of its head and of all.
    pub(super) head: usize,
    pub(super) length: usize,
}

/// Its headers.
enum Lines<'b> {
    Few(Heads<'b>),
    Map(HeaderMap),
}

impl<'b> Look<'b> {
    pub(super) fn of(bytes: &'b [u8]) -> Option<Self> {
        let mut room = [const { std::mem::MaybeUninit::uninit() }; LINES];
        let mut request = Request::new(&mut []);
        let Ok(Status::Complete(head)) = request.parse_with_uninit_headers(bytes, &mut room) else {
            return None;
        };
        let path = request.path.filter(|_| request.method == Some("POST") && request.version == Some(1))?;
        let way = path.bytes().all(is_plain).then(|| Way::of(&Method::POST, path)).flatten()?;
        let body = body(request.headers)?;
        let length = head.checked_add(body).filter(|length| *length <= MOST)?;
        let named = request.headers.iter().map(|line| (line.name, line.value));
        let lines = match Heads::of_lines(named) {
            Some(heads) => Lines::Few(heads),
            None => Lines::Map(map(request.headers)?),
        };
        Some(Self { path, way, lines, head, length })
    }

    /// Whether it would not be refused for what its head says.
    pub(super) fn is_welcome(&self, door: &Door, via: Via, came_by: Connection<'_>) -> bool {
        door.welcomes(via, came_by, (&self.asked(&self.heads()), self.way))
    }

    pub(super) fn heads(&self) -> Heads<'_> {
        match &self.lines {
            Lines::Few(heads) => *heads,
            Lines::Map(map) => Heads::of(map),
        }
    }

    pub(super) fn asked<'a>(&'a self, heads: &'a Heads<'a>) -> Asked<'a> {
        Asked { method: &Method::POST, path: self.path, authority: None, heads }
    }
}

/// What means the same in every reading of a path.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~')
}

/// How long the body is; `None` if the lines do not just tell that, or ask for something that has to do with the connection.
fn body(lines: &[Header<'_>]) -> Option<usize> {
    let mut length = None;
    for Header { name, value } in lines {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            14 if is("content-length") => {
                let other = length.replace(number(value)?);
                if other.is_some() {
                    return None;
                }
            }
            10 if is("connection") && !value.eq_ignore_ascii_case(b"keep-alive") => return None,
            2 if is("te") => return None,
            6 if is("expect") || is("origin") => return None,
            7 if is("upgrade") || is("trailer") => return None,
            14 if is("sec-fetch-site") => return None,
            17 if is("transfer-encoding") => return None,
            _ => {}
        }
    }
    length
}

fn number(digits: &[u8]) -> Option<usize> {
    let is_number = (1..=DIGITS).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    // So few digits fit.
    is_number.then(|| digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

fn map(lines: &[Header<'_>]) -> Option<HeaderMap> {
    let mut map = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        map.append(name, HeaderValue::from_bytes(line.value).ok()?);
    }
    Some(map)
}
