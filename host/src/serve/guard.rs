//! Who may talk to us at all: one `Host` that names us, and no foreign web page. Knows nothing of tokens and routes.
//!
//! A web page in the user's browser can reach a loopback port: by rebinding its own name to 127.0.0.1 (the `Host` tells), or
//! by a plain cross-site request (`Origin` and `Sec-Fetch-Site` tell). So both are checked on every route, before all else.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{HeaderMap, HeaderName, HeaderValue, ORIGIN};
use http::uri::Authority;
use wharf_core::Code;

use super::heads::{Asked, Few};
use super::problem::Problem;

/// Where the page stands that sends a request.
static SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What is let in besides loopback names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    hosts: Vec<Authority>,
    origins: Vec<String>,
}

/// An entry of `--allow-host` or `--allow-origin` cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AllowError {
    /// Not a name.
    #[error("--allow-host {0:?} is no host name; write it as `wharf.example` or `wharf.example:7800`")]
    Host(String),
    /// Not an origin.
    #[error("--allow-origin {0:?} is no origin; write it as `https://app.example`, without a path")]
    Origin(String),
}

impl Guard {
    /// Reads the lists.
    pub(crate) fn new(hosts: &[String], origins: &[String]) -> Result<Self, AllowError> {
        let hosts = hosts.iter().map(|text| authority(text).ok_or_else(|| AllowError::Host(text.clone())));
        let origins = origins.iter().map(|text| {
            let (scheme, rest) = text.split_once("://").unwrap_or(("", ""));
            let good = matches!(scheme, "http" | "https") && authority(rest).is_some();
            good.then(|| text.to_ascii_lowercase()).ok_or_else(|| AllowError::Origin(text.clone()))
        });
        Ok(Self { hosts: hosts.collect::<Result<_, _>>()?, origins: origins.collect::<Result<_, _>>()? })
    }

    /// Lets a request in, or says why not.
    pub(super) fn check(&self, asked: &Asked<'_>) -> Result<(), Problem> {
        if is_plain(asked) {
            return Ok(());
        }
        let host = self.check_host(asked)?;
        self.check_origin(asked.heads.all, &host)
    }

    /// The origin of a page that may read our answers: one of `--allow-origin`. Without any there is no CORS.
    pub(crate) fn reader<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        if self.origins.is_empty() {
            return None;
        }
        let origin = single(headers, &ORIGIN).ok()??;
        let allowed = self.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
        headers.get(ORIGIN).filter(|_| allowed)
    }

    fn check_host(&self, asked: &Asked<'_>) -> Result<Authority, Problem> {
        let text = asked
            .heads
            .host
            .single()
            .map_err(|()| {
                Problem::new(Code::BadRequest, "more than one Host header, or one that is not text")
            })?
            .ok_or_else(|| Problem::new(Code::BadRequest, "the Host header is missing"))?;
        let host = authority(text)
            .ok_or_else(|| Problem::new(Code::BadRequest, format!("{text:?} is no host name and port")))?;
        if asked.authority.is_some_and(|target| target != &host) {
            return Err(Problem::new(Code::BadRequest, "the request's target and its Host header differ"));
        }
        if is_loopback(host.host()) || self.hosts.iter().any(|allowed| admits(allowed, &host)) {
            return Ok(host);
        }
        let detail = format!(
            "the host is not served under the name {text:?}; allow it with --allow-host {}",
            host.host()
        );
        Err(Problem::new(Code::Forbidden, detail))
    }

    fn check_origin(&self, headers: &HeaderMap, host: &Authority) -> Result<(), Problem> {
        let origin = single(headers, &ORIGIN).map_err(|()| {
            Problem::new(Code::BadRequest, "more than one Origin header, or one that is not text")
        })?;
        if let Some(origin) = origin {
            if self.reader(headers).is_some() {
                return Ok(());
            }
            let own = origin
                .strip_prefix("http://")
                .or_else(|| origin.strip_prefix("https://"))
                .and_then(authority);
            if own.as_ref() != Some(host) {
                let detail =
                    format!("pages of {origin:?} may not use this host; allow them with --allow-origin");
                return Err(Problem::new(Code::Forbidden, detail));
            }
        }
        if headers.get(&SITE).is_some_and(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site")) {
            let detail = "a page of another site may not use this host; allow its origin with --allow-origin";
            return Err(Problem::new(Code::Forbidden, detail));
        }
        Ok(())
    }
}

/// The way of nearly every request: a program of this machine, which names us by our loopback address and no page.
fn is_plain(asked: &Asked<'_>) -> bool {
    let port = |host: &str| {
        let port = host.strip_prefix("127.0.0.1:").or_else(|| host.strip_prefix("localhost:"));
        port.is_some_and(|port| !port.starts_with('+') && port.parse::<u16>().is_ok())
    };
    asked.authority.is_none()
        && !asked.heads.has(Few::Page)
        && asked.heads.host.single().is_ok_and(|host| host.is_some_and(port))
}

/// The only value of a header; an error if there are several, or if it is not visible ASCII.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// `name` or `name:port`, nothing else.
fn authority(text: &str) -> Option<Authority> {
    let parsed: Authority = text.parse().ok()?;
    let rest = text.strip_prefix(parsed.host())?;
    let port_is_right =
        rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    (!parsed.host().is_empty() && port_is_right).then_some(parsed)
}

fn is_loopback(name: &str) -> bool {
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
        None => name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
    }
}

/// An entry without a port admits every port.
fn admits(allowed: &Authority, host: &Authority) -> bool {
    allowed.host().eq_ignore_ascii_case(host.host())
        && (allowed.port().is_none() || allowed.port_u16() == host.port_u16())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::Guard;
    use crate::serve::heads::{Asked, Heads};

    fn guard() -> Guard {
        Guard::new(&["wharf.example".into(), "b.example:8080".into()], &["https://app.example".into()])
            .unwrap()
    }

    fn outcome(uri: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let heads = &Heads::of(&head.headers);
        let uri = &head.uri;
        let asked = Asked { method: &head.method, path: uri.path(), authority: uri.authority(), heads };
        guard()
            .check(&asked)
            .map_or_else(|problem| super::super::problem::status(problem.code()).as_u16(), |()| 200)
    }

    #[test]
    fn only_names_of_ours_are_served() {
        let table = [
            ("localhost", 200),
            ("LOCALHOST:7800", 200),
            ("127.0.0.1:7800", 200),
            ("127.9.9.9", 200),
            ("[::1]:7800", 200),
            ("wharf.example", 200),
            ("wharf.example:1", 200),
            ("b.example:8080", 200),
            ("b.example:8081", 403),
            ("b.example", 403),
            ("evil.example", 403),
            ("localhost.evil.example", 403),
            ("127.0.0.1.evil.example", 403),
            ("10.0.0.1", 403),
            ("0.0.0.0:7800", 403),
            ("[::2]", 403),
            ("", 400),
            ("a/?x=", 400),
            ("user@localhost", 400),
            ("localhost:", 400),
            ("localhost:99999", 400),
            ("127.0.0.1:", 400),
            ("127.0.0.1:80 ", 400),
            ("localhost, evil.example", 400),
        ];
        for (host, status) in table {
            assert_eq!(outcome("/", &[("host", host)]), status, "{host:?}");
        }
    }

    #[test]
    fn a_host_must_stand_exactly_once_and_agree_with_the_target() {
        assert_eq!(outcome("/", &[]), 400);
        assert_eq!(outcome("/", &[("host", "localhost"), ("host", "localhost")]), 400);
        assert_eq!(outcome("http://evil.example/", &[("host", "localhost")]), 400);
        assert_eq!(outcome("http://localhost:1/", &[("host", "localhost:1")]), 200);
    }

    #[test]
    fn foreign_pages_are_refused() {
        let table = [
            ("http://localhost:7800", 200),
            ("https://localhost:7800", 200),
            ("https://app.example", 200),
            ("HTTPS://APP.example", 200),
            ("http://app.example", 403),
            ("https://app.example.evil", 403),
            ("http://localhost:7801", 403),
            ("http://localhost", 403),
            ("http://127.0.0.1:7800", 403),
            ("null", 403),
            ("", 403),
        ];
        for (origin, status) in table {
            assert_eq!(outcome("/", &[("host", "localhost:7800"), ("origin", origin)]), status, "{origin:?}");
        }
        assert_eq!(
            outcome("/", &[("host", "localhost"), ("origin", "http://localhost"), ("origin", "null")]),
            400
        );
    }

    #[test]
    fn a_cross_site_fetch_is_refused_unless_its_origin_is_allowed() {
        let cross = ("sec-fetch-site", "cross-site");
        assert_eq!(outcome("/", &[("host", "localhost"), cross]), 403);
        assert_eq!(outcome("/", &[("host", "localhost"), ("origin", "http://localhost"), cross]), 403);
        assert_eq!(outcome("/", &[("host", "localhost"), ("origin", "https://app.example"), cross]), 200);
        assert_eq!(outcome("/", &[("host", "localhost"), ("sec-fetch-site", "same-origin")]), 200);
    }

    #[test]
    fn wrong_entries_are_told() {
        for bad in ["", "a/b", "u@h", "h:x"] {
            assert!(Guard::new(&[bad.into()], &[]).is_err(), "{bad:?}");
        }
        for bad in ["", "app.example", "https://", "https://a/path", "ftp://a"] {
            assert!(Guard::new(&[], &[bad.into()]).is_err(), "{bad:?}");
        }
    }
}
