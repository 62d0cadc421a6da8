//! What the headers of a request say to MCP, picked out in one pass over them. What it means is decided in [`super::head`].

use http::header::ToStrError;
use http::{HeaderMap, HeaderValue};

/// What headers begin with that repeat arguments.
const PARAM: &str = "mcp-param-";

/// The names of a kind of answer in `Accept`: its own, and that of its group.
const JSON: [&[u8]; 2] = [b"application/json", b"application/*"];
const STREAM: [&[u8]; 2] = [b"text/event-stream", b"text/*"];
/// What nearly every client sends, letter by letter.
const BOTH: &[u8] = b"application/json, text/event-stream";

/// The only value of a header, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct One<'a>(Result<Option<&'a str>, Unclear>);

/// The header is there more than once, or is not visible ASCII.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unclear;

/// The headers of a request that are of MCP, or of a trace.
#[derive(Debug, Default)]
pub(super) struct Told<'a> {
    /// `MCP-Protocol-Version`
    pub(super) version: One<'a>,
    /// `Mcp-Method`
    pub(super) method: One<'a>,
    /// `Mcp-Name`
    pub(super) name: One<'a>,
    /// `Mcp-Session-Id`
    pub(super) session: One<'a>,
    /// Each `Mcp-Param-*` by the rest of its name.
    pub(super) params: Vec<(&'a str, One<'a>)>,
    /// It takes an answer as JSON, and as a stream of events.
    pub(super) takes: [bool; 2],
    /// Something is said of a trace.
    pub(super) is_traced: bool,
}

impl Default for One<'_> {
    fn default() -> Self {
        Self(Ok(None))
    }
}

impl<'a> One<'a> {
    fn note(&mut self, value: &'a HeaderValue) {
        let text = |_: ToStrError| Unclear;
        self.0 = match self.0 {
            Ok(None) => value.to_str().map(Some).map_err(text),
            Ok(Some(_)) | Err(Unclear) => Err(Unclear),
        };
    }

    pub(super) fn get(self) -> Result<Option<&'a str>, Unclear> {
        self.0
    }
}

impl<'a> Told<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut told = Self::default();
        for (name, value) in headers {
            match name.as_str() {
                "accept" => told.take(value),
                "mcp-protocol-version" => told.version.note(value),
                "mcp-method" => told.method.note(value),
                "mcp-name" => told.name.note(value),
                "mcp-session-id" => told.session.note(value),
                "traceparent" | "tracestate" | "baggage" => told.is_traced = true,
                name => {
                    if let Some(param) = name.strip_prefix(PARAM) {
                        told.repeat(param, value);
                    }
                }
            }
        }
        told
    }

    fn repeat(&mut self, param: &'a str, value: &'a HeaderValue) {
        let mut one = One::default();
        if let Some((_, again)) = self.params.iter_mut().find(|(name, _)| *name == param) {
            return again.note(value);
        }
        one.note(value);
        self.params.push((param, one));
    }

    /// Several lines of `Accept` are one list.
    fn take(&mut self, list: &HeaderValue) {
        if list == BOTH {
            self.takes = [true; 2];
            return;
        }
        if list.to_str().is_err() {
            return;
        }
        for range in list.as_bytes().split(|byte| *byte == b',') {
            let range = range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            let is_any = range == b"*/*";
            for (taken, names) in self.takes.iter_mut().zip([JSON, STREAM]) {
                *taken |= is_any || names.iter().any(|name| range.eq_ignore_ascii_case(name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::Told;

    fn with(pairs: &[(&'static str, &'static [u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, http::HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_header_is_there_once_or_says_nothing() {
        let headers = with(&[
            ("mcp-method", b"a"),
            ("mcp-name", b"a"),
            ("Mcp-Name", b"a"),
            ("mcp-session-id", b"\xe4"),
        ]);
        let told = Told::of(&headers);
        assert_eq!(told.method.get().unwrap(), Some("a"));
        assert_eq!(told.version.get().unwrap(), None);
        assert!(told.name.get().is_err() && told.session.get().is_err());
    }

    #[test]
    fn what_repeats_an_argument_is_found_by_the_rest_of_its_name() {
        let headers = with(&[("mcp-param-b", b"1"), ("Mcp-Param-A", b"2"), ("mcp-param-b", b"1")]);
        let mut params: Vec<_> = Told::of(&headers)
            .params
            .into_iter()
            .map(|(name, one)| (name, one.get().ok().flatten()))
            .collect();
        params.sort_unstable();
        assert_eq!(params, [("a", Some("2")), ("b", None)]);
    }

    #[test]
    fn several_lines_are_one_list() {
        for (lines, takes) in [
            (&[&b"application/json"[..], b"text/event-stream"][..], [true, true]),
            (&[b"application/json, text/event-stream"], [true, true]),
            (&[b"text/event-stream;q=0.5, Application/JSON"], [true, true]),
            (&[b"*/*"], [true, true]),
            (&[b"application/*, text/*"], [true, true]),
            (&[b"application/json, text/event-stream\xe4"], [false, false]),
            (&[b"text/plain, */json"], [false, false]),
            (&[b"text/event-stream", b"\xe4"], [false, true]),
            (&[b""], [false, false]),
            (&[], [false, false]),
        ] {
            let pairs: Vec<_> = lines.iter().map(|line| ("accept", *line)).collect();
            assert_eq!(Told::of(&with(&pairs)).takes, takes, "{lines:?}");
        }
    }

    #[test]
    fn a_trace_is_seen_by_any_of_its_headers() {
        for name in ["traceparent", "tracestate", "baggage"] {
            assert!(Told::of(&with(&[(name, b"")])).is_traced, "{name}");
        }
        assert!(!Told::of(&with(&[("accept", b"*/*")])).is_traced);
    }
}
