//! Who calls: the bearer token on TCP, the user on the unix socket. Knows nothing of routes but the two public ones.

use std::sync::Arc;
use std::thread::LocalKey;

use secrecy::{ExposeSecret, SecretString};
use subtle::{Choice, ConstantTimeEq as _};
use wharf_core::Code;

use super::heads::{Asked, Line};
use super::problem::Problem;

/// Which door a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// TCP: anyone who reaches the port.
    Tcp,
    /// The unix socket: our own user or root, checked when it connected.
    Unix,
}

/// Under which name a caller was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal(pub(crate) Arc<str>);

/// The rule for TCP.
#[derive(Clone, Debug)]
pub(crate) enum Auth {
    /// `--no-auth`.
    Open,
    /// This token.
    Token(SecretString),
}

/// Paths that need no token: they tell nothing but that we live.
const PUBLIC: [&str; 2] = ["/healthz", "/readyz"];

thread_local! {
    // The names, made once for each thread: every request has one, and threads that count the holders of the same would wait
    // for each other.
    static LOCAL: Arc<str> = "local".into();
    static ANONYMOUS: Arc<str> = "anonymous".into();
    static TOKEN: Arc<str> = "token".into();
}

fn named(name: &'static LocalKey<Arc<str>>) -> Principal {
    Principal(name.with(Arc::clone))
}

impl Auth {
    /// Says who calls, or refuses.
    pub(super) fn check(&self, via: Via, asked: &Asked<'_>) -> Result<Principal, Problem> {
        let token = match (via, self) {
            (Via::Unix, _) => return Ok(named(&LOCAL)),
            (Via::Tcp, Self::Open) => return Ok(named(&ANONYMOUS)),
            (Via::Tcp, Self::Token(token)) => token,
        };
        if PUBLIC.contains(&asked.path) {
            return Ok(named(&ANONYMOUS));
        }
        let token = token.expose_secret().as_bytes();
        // As nearly everybody sends it.
        if let Line::Once(line) = asked.heads.authorization
            && line.strip_prefix(b"Bearer ").is_some_and(|given| is_same(given, token))
        {
            return Ok(named(&TOKEN));
        }
        let header = asked.heads.authorization.single().map_err(|()| {
            Problem::new(Code::BadRequest, "more than one Authorization header, or one that is not text")
        })?;
        let given = header.and_then(bearer).ok_or_else(|| {
            Problem::new(Code::Unauthorized, "send `Authorization: Bearer TOKEN`; the token stands in the file `token` of the state folder")
        })?;
        if is_same(given.as_bytes(), token) {
            return Ok(named(&TOKEN));
        }
        Err(Problem::new(
            Code::Unauthorized,
            "the token is wrong; the right one stands in the file `token` of the state folder",
        ))
    }
}

/// Takes as long wherever they differ; how long the token is, is no secret. Eight bytes at a time: one by one they would be
/// dearer than all else that is looked at in a head.
fn is_same(given: &[u8], token: &[u8]) -> bool {
    if given.len() != token.len() {
        return false;
    }
    let ((given, last), (token, its_last)) = (given.as_chunks::<8>(), token.as_chunks::<8>());
    let as_well = |same: Choice, (one, other): (&[u8; 8], &[u8; 8])| {
        same & u64::from_ne_bytes(*one).ct_eq(&u64::from_ne_bytes(*other))
    };
    given.iter().zip(token).fold(last.ct_eq(its_last), as_well).into()
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use wharf_core::Code;

    use super::{Auth, Via};
    use crate::serve::heads::{Asked, Heads};

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn check(auth: &Auth, via: Via, path: &str, headers: &[&str]) -> Result<String, Code> {
        let mut request = Request::builder().uri(path);
        for value in headers {
            request = request.header("authorization", *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let heads = &Heads::of(&head.headers);
        let asked = Asked { method: &head.method, path: head.uri.path(), authority: None, heads };
        auth.check(via, &asked).map(|p| p.0.to_string()).map_err(|p| p.code())
    }

    #[test]
    fn tcp_needs_the_very_token() {
        let auth = Auth::Token(TOKEN.to_owned().into());
        let right = format!("Bearer {TOKEN}");
        assert_eq!(check(&auth, Via::Tcp, "/api/v1/info", &[&right]), Ok("token".into()));
        assert_eq!(check(&auth, Via::Tcp, "/x", &[&format!("bEARER  {TOKEN}")]), Ok("token".into()));
        let wrong = [
            vec![],
            vec!["Bearer"],
            vec!["Bearer "],
            vec![TOKEN],
            vec!["Basic 0123456789abcdef0123456789abcdef"],
            vec!["Bearer 0123456789abcdef0123456789abcdeF"],
            vec!["Bearer x123456789abcdef0123456789abcdef"],
            vec!["Bearer 0123456789abcdef"],
            vec!["Bearer 0123456789abcdef0123456789abcdef0"],
        ];
        for headers in wrong {
            assert_eq!(check(&auth, Via::Tcp, "/x", &headers), Err(Code::Unauthorized), "{headers:?}");
        }
        assert_eq!(check(&auth, Via::Tcp, "/x", &[&right, &right]), Err(Code::BadRequest));
    }

    #[test]
    fn only_the_two_health_paths_are_public() {
        let auth = Auth::Token(TOKEN.to_owned().into());
        for path in ["/healthz", "/readyz", "/readyz?x"] {
            assert_eq!(check(&auth, Via::Tcp, path, &[]), Ok("anonymous".into()), "{path}");
        }
        for path in ["/", "/healthz/", "/healthz/x", "/HEALTHZ", "/api/v1/info?/healthz", "//healthz"] {
            assert_eq!(check(&auth, Via::Tcp, path, &[]), Err(Code::Unauthorized), "{path}");
        }
    }

    #[test]
    fn the_unix_socket_and_no_auth_need_none() {
        assert_eq!(check(&Auth::Token(TOKEN.to_owned().into()), Via::Unix, "/x", &[]), Ok("local".into()));
        assert_eq!(check(&Auth::Open, Via::Tcp, "/x", &[]), Ok("anonymous".into()));
    }
}
