//! The headers of a request, looked through once for all who ask for some: what nearly every request has is found, and what
//! few have is known to be missing without a look for each. Knows no rule about any of them.

use std::sync::LazyLock;

use http::uri::Authority;
use http::{HeaderMap, Method};

/// What headers begin with that repeat arguments.
pub(super) const PARAM: &str = "mcp-param-";

/// The longest name that is looked for.
const LONGEST: usize = 20;

/// A request as it is looked at before anything is done for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    /// Of its target, where that has one.
    pub(super) authority: Option<&'a Authority>,
    pub(super) heads: &'a Heads<'a>,
}

/// Headers, and what is known of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads<'h> {
    /// All of them; nothing where no line that is looked for stands there twice and none of the [`Few`] is there.
    pub(super) all: &'h HeaderMap,
    pub(super) host: Line<'h>,
    pub(super) authorization: Line<'h>,
    pub(super) content_type: Line<'h>,
    pub(super) accept: Line<'h>,
    pub(super) mcp: Mcp<'h>,
    /// A bit for each of [`Few`] that is there.
    few: u8,
}

/// The headers of MCP that have a name of their own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mcp<'h> {
    /// `MCP-Protocol-Version`
    pub(super) version: Line<'h>,
    /// `Mcp-Method`
    pub(super) method: Line<'h>,
    /// `Mcp-Name`
    pub(super) name: Line<'h>,
    /// `Mcp-Session-Id`
    pub(super) session: Line<'h>,
}

/// Where a header stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Line<'h> {
    #[default]
    Nowhere,
    Once(&'h [u8]),
    /// In several lines.
    Often,
}

/// What few requests have.
#[derive(Clone, Copy, Debug)]
pub(super) enum Few {
    /// `Origin` or `Sec-Fetch-Site`: a web page sends it.
    Page = 1,
    /// `Transfer-Encoding`.
    Encoded = 1 << 1,
    /// `X-Request-Id`.
    Named = 1 << 2,
    /// `Idempotency-Key` or `X-Attempt`.
    Tries = 1 << 3,
    /// `Wharf-Durable`.
    Durable = 1 << 4,
    /// `Traceparent`, `Tracestate` or `Baggage`.
    Traced = 1 << 5,
    /// One that repeats an argument: [`PARAM`] and its name.
    Repeats = 1 << 6,
}

// === impl Heads ===

impl<'h> Heads<'h> {
    pub(crate) fn of(all: &'h HeaderMap) -> Self {
        let mut heads = Self::none(all);
        for (name, value) in all {
            heads.add(name.as_str().as_bytes(), value.as_bytes());
        }
        heads
    }

    /// Of lines as they were sent, for which no map need be made; `None` where one has to be.
    pub(super) fn of_lines(lines: impl Iterator<Item = (&'h str, &'h [u8])>) -> Option<Self> {
        static NONE: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
        let mut heads = Self::none(&NONE);
        for (name, value) in lines {
            let mut lower = [0; LONGEST];
            let lower = match lower.get_mut(..name.len()) {
                Some(lower) => {
                    lower.copy_from_slice(name.as_bytes());
                    lower.make_ascii_lowercase();
                    &*lower
                }
                // Of those that are longer only one kind is looked for.
                None if name.get(..PARAM.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(PARAM)) => {
                    return None;
                }
                None => continue,
            };
            heads.add(lower, value);
        }
        let Self { host, authorization, content_type, accept, mcp, .. } = heads;
        let Mcp { version, method, name, session } = mcp;
        let lines = [host, authorization, content_type, accept, version, method, name, session];
        (heads.few == 0 && !lines.iter().any(|line| matches!(line, Line::Often))).then_some(heads)
    }

    fn none(all: &'h HeaderMap) -> Self {
        let nowhere = Line::Nowhere;
        Self {
            all,
            host: nowhere,
            authorization: nowhere,
            content_type: nowhere,
            accept: nowhere,
            mcp: Mcp::default(),
            few: 0,
        }
    }

    /// One more line. Its name is in small letters.
    fn add(&mut self, name: &[u8], value: &'h [u8]) {
        let few = match name {
            b"host" => self.host.add(value),
            b"authorization" => self.authorization.add(value),
            b"content-type" => self.content_type.add(value),
            b"accept" => self.accept.add(value),
            b"mcp-protocol-version" => self.mcp.version.add(value),
            b"mcp-method" => self.mcp.method.add(value),
            b"mcp-name" => self.mcp.name.add(value),
            b"mcp-session-id" => self.mcp.session.add(value),
            b"origin" | b"sec-fetch-site" => Few::Page as u8,
            b"transfer-encoding" => Few::Encoded as u8,
            b"x-request-id" => Few::Named as u8,
            b"idempotency-key" | b"x-attempt" => Few::Tries as u8,
            b"wharf-durable" => Few::Durable as u8,
            b"traceparent" | b"tracestate" | b"baggage" => Few::Traced as u8,
            name if name.starts_with(PARAM.as_bytes()) => Few::Repeats as u8,
            _ => 0,
        };
        self.few |= few;
    }

    /// Whether it is there, once or more.
    pub(super) fn has(&self, few: Few) -> bool {
        self.few & few as u8 != 0
    }
}

// === impl Line ===

impl<'h> Line<'h> {
    /// One more line. None of the few.
    fn add(&mut self, value: &'h [u8]) -> u8 {
        *self = if matches!(self, Self::Nowhere) { Self::Once(value) } else { Self::Often };
        0
    }

    /// The only value; an error if there are several, or if it is not visible ASCII.
    pub(super) fn single(self) -> Result<Option<&'h str>, ()> {
        match self {
            Self::Nowhere => Ok(None),
            Self::Once(value) => text(value).map(Some).ok_or(()),
            Self::Often => Err(()),
        }
    }

    /// Whether it stands there once, and is exactly this.
    pub(super) fn is(self, text: &str) -> bool {
        matches!(self, Self::Once(value) if value == text.as_bytes())
    }
}

/// A value that is visible ASCII.
pub(super) fn text(value: &[u8]) -> Option<&str> {
    // All of them, whatever the first is: several are looked at at once then.
    let is_visible = value.iter().fold(true, |all, byte| all & matches!(byte, b'\t' | b' '..=b'~'));
    is_visible.then(|| str::from_utf8(value).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::{Few, Heads, Line, Mcp};

    const FEW: [Few; 7] =
        [Few::Page, Few::Encoded, Few::Named, Few::Tries, Few::Durable, Few::Traced, Few::Repeats];

    fn map(lines: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, http::HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn each_of_the_few_is_known_by_its_names_alone() {
        let names: [(&str, usize); 14] = [
            ("origin", 0),
            ("sec-fetch-site", 0),
            ("transfer-encoding", 1),
            ("x-request-id", 2),
            ("idempotency-key", 3),
            ("x-attempt", 3),
            ("wharf-durable", 4),
            ("traceparent", 5),
            ("tracestate", 5),
            ("baggage", 5),
            ("accept", 9),
            ("accept-encoding", 9),
            ("mcp-param-x", 6),
            ("mcp-name", 9),
        ];
        for (name, which) in names {
            let headers = map(&[(name, b"x"), ("host", b"h"), (name, b"y")]);
            let heads = Heads::of(&headers);
            let has: Vec<bool> = FEW.iter().map(|few| heads.has(*few)).collect();
            let wanted: Vec<bool> = (0..FEW.len()).map(|at| at == which).collect();
            assert_eq!(has, wanted, "{name}");
        }
    }

    #[test]
    fn a_line_is_single_or_an_error() {
        let headers = map(&[("host", b"a"), ("authorization", b"x"), ("authorization", b"x")]);
        let heads = Heads::of(&headers);
        assert_eq!(heads.host.single(), Ok(Some("a")));
        assert!(heads.host.is("a") && !heads.host.is("b"));
        assert_eq!((heads.authorization.single(), heads.authorization.is("x")), (Err(()), false));
        assert_eq!((heads.content_type.single(), heads.content_type.is("")), (Ok(None), false));
        let headers = map(&[("content-type", b"\xe4")]);
        assert_eq!(Heads::of(&headers).content_type.single(), Err(()));
    }

    fn names() -> impl Strategy<Value = String> {
        let known = [
            "host",
            "authorization",
            "content-type",
            "accept",
            "mcp-protocol-version",
            "mcp-method",
            "mcp-name",
            "mcp-session-id",
            "origin",
            "transfer-encoding",
            "x-request-id",
            "x-attempt",
            "wharf-durable",
            "tracestate",
            "mcp-param-x",
            "mcp-param-whose-name-is-long",
            "x-else",
            "content-length",
            "a-name-that-is-longer-than-all-known",
        ];
        (select(known.to_vec()), any::<u64>()).prop_map(|(name, large)| {
            let letter = |(at, c): (usize, char)| {
                if large >> (at % 64) & 1 == 1 { c.to_ascii_uppercase() } else { c }
            };
            name.chars().enumerate().map(letter).collect()
        })
    }

    proptest! {
        #[test]
        fn lines_are_looked_through_without_a_map_as_with_one(
            lines in vec((names(), select(vec!["", "x", "application/json", "\u{e4}"])), 0..6),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in &lines {
                let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
                headers.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
            }
            let by_map = Heads::of(&headers);
            let Mcp { version, method, name, session } = by_map.mcp;
            let each = [by_map.host, by_map.authorization, by_map.content_type, by_map.accept, version, method, name, session];
            let needs_map = by_map.few != 0 || each.iter().any(|line| matches!(line, Line::Often));
            let lines = lines.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            let told = |heads: Heads<'_>| {
                format!("{:?}", (heads.host, heads.authorization, heads.content_type, heads.accept, heads.mcp, heads.few))
            };
            let expected = (!needs_map).then(|| told(by_map));
            prop_assert_eq!(Heads::of_lines(lines).map(told), expected);
        }
    }
}
