//! What the headers of a request say to MCP. What it means is decided in [`super::head`].

use http::header::ACCEPT;

use crate::serve::heads::{Few, Heads, Line, Mcp, PARAM, text};

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
#[derive(Debug)]
#[cfg_attr(test, derive(Default))]
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
}

#[cfg(test)]
impl Default for One<'_> {
    fn default() -> Self {
        Self(Ok(None))
    }
}

impl<'a> One<'a> {
    fn of(line: Line<'a>) -> Self {
        Self(line.single().map_err(|()| Unclear))
    }

    pub(super) fn get(self) -> Result<Option<&'a str>, Unclear> {
        self.0
    }
}

impl<'a> Told<'a> {
    pub(super) fn of(heads: &Heads<'a>) -> Self {
        let Mcp { version, method, name, session } = heads.mcp;
        let mut told = Self {
            version: One::of(version),
            method: One::of(method),
            name: One::of(name),
            session: One::of(session),
            params: Vec::new(),
            takes: [false; 2],
        };
        match heads.accept {
            Line::Nowhere => {}
            Line::Once(list) => told.take(list),
            Line::Often => heads.all.get_all(ACCEPT).iter().for_each(|list| told.take(list.as_bytes())),
        }
        // Nearly none has any.
        if heads.has(Few::Repeats) {
            for (name, value) in heads.all {
                if let Some(param) = name.as_str().strip_prefix(PARAM) {
                    told.repeat(param, value.as_bytes());
                }
            }
        }
        told
    }

    fn repeat(&mut self, param: &'a str, value: &'a [u8]) {
        if let Some((_, again)) = self.params.iter_mut().find(|(name, _)| *name == param) {
            *again = One(Err(Unclear));
            return;
        }
        self.params.push((param, One::of(Line::Once(value))));
    }

    /// Several lines of `Accept` are one list.
    fn take(&mut self, list: &[u8]) {
        if list == BOTH {
            self.takes = [true; 2];
            return;
        }
        if text(list).is_none() {
            return;
        }
        for range in list.split(|byte| *byte == b',') {
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
    use crate::serve::heads::Heads;

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
        let told = Told::of(&Heads::of(&headers));
        assert_eq!(told.method.get().unwrap(), Some("a"));
        assert_eq!(told.version.get().unwrap(), None);
        assert!(told.name.get().is_err() && told.session.get().is_err());
    }

    #[test]
    fn what_repeats_an_argument_is_found_by_the_rest_of_its_name() {
        let headers = with(&[("mcp-param-b", b"1"), ("Mcp-Param-A", b"2"), ("mcp-param-b", b"1")]);
        let mut params: Vec<_> = Told::of(&Heads::of(&headers))
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
            assert_eq!(Told::of(&Heads::of(&with(&pairs))).takes, takes, "{lines:?}");
        }
    }
}
