//! What the headers of a call say about trying it again: its key, and that its caller does so by itself.

use axum::extract::FromRequestParts;
use axum::response::IntoResponse as _;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use wharf_core::Code;
use wharf_core::idempotency::{BadKey, Key};

use crate::route::CallSpec;
use crate::serve::answer::Outgoing;
use crate::serve::heads::{Few, Heads};
use crate::serve::problem::Problem;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const ATTEMPT: HeaderName = HeaderName::from_static("x-attempt");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What a caller says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tries {
    /// Under which the call runs at most once.
    pub(super) key: Option<Key>,
    /// It is not the caller's first try.
    pub(super) repeated: bool,
}

impl Tries {
    pub(super) fn of(heads: &Heads<'_>) -> Result<Self, Problem> {
        if !heads.has(Few::Tries) {
            return Ok(Self::default());
        }
        let headers = heads.all;
        let key = single(headers, &KEY)?.map(|text| Key::new(text).map_err(|error| wrong(&KEY, &error)));
        let attempt = single(headers, &ATTEMPT)?.map(|text| {
            let number = text.parse::<u32>().ok().filter(|number| *number > 0);
            number.ok_or_else(|| wrong(&ATTEMPT, &"it is the number of the try, from 1"))
        });
        Ok(Self { key: key.transpose()?, repeated: attempt.transpose()?.is_some_and(|number| number > 1) })
    }

    /// Puts it into a call.
    pub(super) fn put(self, spec: &mut CallSpec) {
        (spec.key, spec.repeated) = (self.key, self.repeated);
    }
}

/// A header that stands there once, or not at all.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(wrong(name, &"it stands there twice"));
    }
    value.map(|value| value.to_str().map_err(|_| wrong(name, &BadKey))).transpose()
}

fn wrong(name: &HeaderName, why: &impl std::fmt::Display) -> Problem {
    Problem::new(Code::BadRequest, format!("the header {name}: {why}"))
}

/// Whether what a head says of them can be understood.
pub(in crate::serve) fn are_clear(heads: &Heads<'_>) -> bool {
    Tries::of(heads).is_ok()
}

/// The answer, marked if nothing ran for it.
pub(super) fn marked(answer: Outgoing, replayed: bool) -> Outgoing {
    if !replayed {
        return answer;
    }
    let mut response = answer.into_response();
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response.into()
}

impl<S: Send + Sync> FromRequestParts<S> for Tries {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&Heads::of(&parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use wharf_core::Code;

    use super::Tries;
    use crate::serve::heads::Heads;

    fn read(given: &[(&'static str, &[u8])]) -> Result<Tries, Code> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        Tries::of(&Heads::of(&headers)).map_err(|problem| problem.code())
    }

    #[test]
    fn headers_are_read_strictly() {
        assert_eq!(read(&[]), Ok(Tries::default()));
        let tries = read(&[("idempotency-key", b"k-1"), ("x-attempt", b"2")]).unwrap();
        assert_eq!((tries.key.unwrap().as_str(), tries.repeated), ("k-1", true));
        assert!(!read(&[("x-attempt", b"1")]).unwrap().repeated);
        let long = [b'x'; 256];
        for bad in [
            &[("idempotency-key", &b""[..])][..],
            &[("idempotency-key", b"a b")],
            &[("idempotency-key", "\u{e4}".as_bytes())],
            &[("idempotency-key", &long)],
            &[("idempotency-key", b"a"), ("idempotency-key", b"a")],
            &[("x-attempt", b"0")],
            &[("x-attempt", b"first")],
            &[("x-attempt", b"1"), ("x-attempt", b"2")],
        ] {
            assert_eq!(read(bad), Err(Code::BadRequest), "{bad:?}");
        }
    }
}
