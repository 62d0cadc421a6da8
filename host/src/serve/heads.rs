//! The headers of a request, looked through once for all who ask for some: what nearly every request has is found, and what
//! few have is known to be missing without a look for each. Knows no rule about any of them.

use http::{HeaderMap, HeaderValue};

/// What headers begin with that repeat arguments.
pub(super) const PARAM: &str = "mcp-param-";

/// Headers, and what is known of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads<'h> {
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
    Once(&'h HeaderValue),
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
    /// `Accept`.
    Accepts = 1 << 6,
    /// One that repeats an argument: [`PARAM`] and its name.
    Repeats = 1 << 7,
}

// === impl Heads ===

impl<'h> Heads<'h> {
    pub(crate) fn of(all: &'h HeaderMap) -> Self {
        let nowhere = Line::Nowhere;
        let mut heads = Self {
            all,
            host: nowhere,
            authorization: nowhere,
            content_type: nowhere,
            accept: nowhere,
            mcp: Mcp::default(),
            few: 0,
        };
        for (name, value) in all {
            let few = match name.as_str() {
                "host" => heads.host.add(value),
                "authorization" => heads.authorization.add(value),
                "content-type" => heads.content_type.add(value),
                "accept" => heads.accept.add(value) | Few::Accepts as u8,
                "mcp-protocol-version" => heads.mcp.version.add(value),
                "mcp-method" => heads.mcp.method.add(value),
                "mcp-name" => heads.mcp.name.add(value),
                "mcp-session-id" => heads.mcp.session.add(value),
                "origin" | "sec-fetch-site" => Few::Page as u8,
                "transfer-encoding" => Few::Encoded as u8,
                "x-request-id" => Few::Named as u8,
                "idempotency-key" | "x-attempt" => Few::Tries as u8,
                "wharf-durable" => Few::Durable as u8,
                "traceparent" | "tracestate" | "baggage" => Few::Traced as u8,
                name if name.starts_with(PARAM) => Few::Repeats as u8,
                _ => 0,
            };
            heads.few |= few;
        }
        heads
    }

    /// Whether it is there, once or more.
    pub(super) fn has(&self, few: Few) -> bool {
        self.few & few as u8 != 0
    }
}

// === impl Line ===

impl<'h> Line<'h> {
    /// One more line. None of the few.
    fn add(&mut self, value: &'h HeaderValue) -> u8 {
        *self = if matches!(self, Self::Nowhere) { Self::Once(value) } else { Self::Often };
        0
    }

    /// The only value; an error if there are several, or if it is not visible ASCII.
    pub(super) fn single(self) -> Result<Option<&'h str>, ()> {
        match self {
            Self::Nowhere => Ok(None),
            Self::Once(value) => value.to_str().map(Some).map_err(|_| ()),
            Self::Often => Err(()),
        }
    }

    /// Whether it stands there once, and is exactly this.
    pub(super) fn is(self, text: &str) -> bool {
        matches!(self, Self::Once(value) if value.as_bytes() == text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::{Few, Heads};

    const FEW: [Few; 8] = [
        Few::Page,
        Few::Encoded,
        Few::Named,
        Few::Tries,
        Few::Durable,
        Few::Traced,
        Few::Accepts,
        Few::Repeats,
    ];

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
            ("accept", 6),
            ("accept-encoding", 9),
            ("mcp-param-x", 7),
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
}
