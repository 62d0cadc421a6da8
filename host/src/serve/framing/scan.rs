//! Follows the heads of requests and skips their bodies, however the bytes are cut. Knows no connection.

use memchr::memchr;

/// Bytes of a line that are kept: enough for the longest name we look for and any length.
const KEPT: usize = 64;

/// Where the reader stands.
#[derive(Debug)]
pub(super) enum Scan {
    Head { line: Vec<u8>, any: bool, length: Option<u64>, twice: bool, chunked: bool },
    Body(u64),
    Done,
}

/// What was found in some bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fed {
    /// A request is framed twice.
    pub(super) twice: bool,
    /// A head came to its end.
    pub(super) head_ended: bool,
}

// === impl Scan ===

impl Scan {
    pub(super) fn head() -> Self {
        Self::Head { line: Vec::new(), any: false, length: None, twice: false, chunked: false }
    }

    /// Whether there is, or may be, more of a request's body to come.
    pub(super) fn is_inside(&self) -> bool {
        match self {
            Self::Head { .. } => false,
            Self::Body(_) | Self::Done => true,
        }
    }

    /// Whether a head has begun and is not over.
    pub(super) fn is_in_head(&self) -> bool {
        match self {
            Self::Head { line, any, .. } => *any || !line.is_empty(),
            Self::Body(_) | Self::Done => false,
        }
    }

    /// Follows `bytes`, until a request is framed twice.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Fed {
        let mut fed = Fed::default();
        while !bytes.is_empty() {
            match self {
                Self::Done => break,
                Self::Body(left) => {
                    let skip = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= skip as u64;
                    bytes = bytes.get(skip..).unwrap_or_default();
                    if *left == 0 {
                        *self = Self::head();
                    }
                }
                Self::Head { line, any, .. } => {
                    let Some(end) = memchr(b'\n', bytes) else {
                        keep(line, bytes);
                        break;
                    };
                    let (part, rest) = bytes.split_at(end);
                    bytes = rest.get(1..).unwrap_or_default();
                    // Most lines are seen to be of no interest at once.
                    let is_text = part.first().is_some_and(|first| !first.is_ascii_whitespace());
                    if line.is_empty() && is_text && !(*any && is_ours(part)) {
                        *any = true;
                        continue;
                    }
                    let found = if line.is_empty() {
                        self.end_line(part.get(..KEPT).unwrap_or(part))
                    } else {
                        keep(line, part);
                        let whole = std::mem::take(line);
                        self.end_line(&whole)
                    };
                    fed.head_ended |= found.head_ended;
                    fed.twice = found.twice;
                    if fed.twice {
                        break;
                    }
                }
            }
        }
        fed
    }

    /// `line` is over, or as much of it as is kept.
    fn end_line(&mut self, line: &[u8]) -> Fed {
        let Self::Head { line: _, any, length, twice, chunked } = self else { return Fed::default() };
        let text = line.trim_ascii_end();
        if text.is_empty() {
            // Empty lines before a request line mean nothing.
            if !*any {
                return Fed::default();
            }
            let both = *chunked && *twice;
            *self = match (*chunked, *length) {
                (true, _) => Self::Done,
                (false, None | Some(0)) => Self::head(),
                (false, Some(left)) => Self::Body(left),
            };
            return Fed { twice: both, head_ended: true };
        }
        if !*any || !is_ours(text) {
            *any = true;
            return Fed::default();
        }
        let (name, value) = text.split_at(memchr(b':', text).unwrap_or(text.len()));
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            *chunked = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            *twice = true;
            // One that is longer than what is kept says who knows what: to be safe, its request counts as framed twice.
            *chunked |= line.len() >= KEPT;
            let digits = value.get(1..).unwrap_or_default().trim_ascii();
            // What is no number is refused by hyper, and the connection with it.
            *length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        }
        Fed::default()
    }
}

/// Whether a line may be one of the two headers, by letters that tell them from nearly all others.
fn is_ours(line: &[u8]) -> bool {
    const APART: usize = b"content-".len();
    match line.first() {
        Some(b't' | b'T') => true,
        Some(b'c' | b'C') => matches!(line.get(APART), Some(b'l' | b'L')),
        Some(_) | None => false,
    }
}

/// As much of a line as is looked at.
fn keep(line: &mut Vec<u8>, part: &[u8]) {
    let room = KEPT - line.len().min(KEPT);
    line.extend_from_slice(part.get(..room).unwrap_or(part));
}

#[cfg(test)]
mod tests {
    use super::Scan;

    /// The verdict must not depend on how the bytes are cut.
    fn twice(bytes: &str) -> bool {
        let whole = Scan::head().feed(bytes.as_bytes()).twice;
        let mut scan = Scan::head();
        let single = bytes.bytes().fold(false, |found, byte| found | scan.feed(&[byte]).twice);
        assert_eq!(whole, single, "{bytes:?}");
        whole
    }

    #[test]
    fn both_headers_are_seen_in_any_order_and_spelling() {
        for both in [
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTRANSFER-ENCODING: chunked\r\nHost: x\r\ncontent-length:0\r\n\r\n",
            "\r\n\r\nPOST / HTTP/1.1\nTransfer-Encoding: chunked\nContent-Length: 3\n\n",
            "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 00000000000000000000000000000000000000000000000000000003\r\n\r\nabc",
            " POST / HTTP/1.1\r\n\tHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        ] {
            assert!(twice(both), "{both:?}");
        }
    }

    #[test]
    fn one_header_alone_is_fine_and_bodies_are_not_read_as_heads() {
        let hidden = "POST /x HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let length = hidden.len();
        for fine in [
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{hidden}"),
            format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{hidden}"),
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nX: Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        ] {
            assert!(!twice(&fine), "{fine:?}");
        }
    }
}
