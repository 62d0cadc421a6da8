//! Ids of requests: by its id, which every answer tells, a request is found in the log.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use wharf_core::digits::Digits;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id of a client that is taken over, in bytes.
const LONGEST: usize = 128;
/// What ours begin with: `r-`, eight digits of the run, and a dash.
const BEGIN: usize = 11;
/// All of the longest of ours.
const ROOM: usize = BEGIN + 16;

/// Gives requests their ids.
#[derive(Debug)]
pub(super) struct RequestIds {
    /// What ours begin with. Names this run, so that ids of two runs differ in a log.
    begin: [u8; BEGIN],
    count: AtomicU64,
}

/// The id of a request. Visible ASCII.
pub(super) enum RequestId {
    /// Its client's own.
    Given(HeaderValue),
    /// One of ours. It is held for as long as the request, which nearly always has one, and needs no memory beside that.
    Made { bytes: [u8; ROOM], length: u8 },
}

impl RequestIds {
    pub(super) fn new() -> Self {
        // Without randomness ids of two runs may meet in a log; nothing else depends on them.
        let run = Digits::hex(getrandom::u32().unwrap_or_default().into(), 8);
        let mut begin = *b"r-00000000-";
        if let Some(place) = begin.get_mut(2..10) {
            place.copy_from_slice(run.as_bytes());
        }
        Self { begin, count: AtomicU64::new(0) }
    }

    /// The client's own id if it is harmless, else one of ours.
    pub(super) fn of(&self, given: Option<&HeaderMap>) -> RequestId {
        let harmless = |id: &&HeaderValue| {
            (1..=LONGEST).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        let own = given.and_then(|headers| headers.get(&REQUEST_ID)).filter(harmless);
        own.map_or_else(|| self.next(), |own| RequestId::Given(own.clone()))
    }

    fn next(&self) -> RequestId {
        let digits = Digits::hex(self.count.fetch_add(1, Ordering::Relaxed), 1);
        let (mut bytes, mut length) = ([0; ROOM], 0);
        let all = self.begin.iter().chain(digits.as_bytes());
        for (place, byte) in bytes.iter_mut().zip(all) {
            *place = *byte;
            length += 1;
        }
        RequestId::Made { bytes, length }
    }
}

impl RequestId {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Given(value) => value.as_bytes(),
            Self::Made { bytes, length } => bytes.get(..(*length).into()).unwrap_or_default(),
        }
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self.as_bytes()), f)
    }
}

impl From<HeaderValue> for RequestId {
    fn from(given: HeaderValue) -> Self {
        Self::Given(given)
    }
}

impl From<RequestId> for HeaderValue {
    fn from(id: RequestId) -> Self {
        match id {
            RequestId::Given(value) => value,
            // Hexadecimal digits and dashes are a header value.
            made @ RequestId::Made { .. } => {
                Self::from_bytes(made.as_bytes()).unwrap_or(Self::from_static("r"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use http::{HeaderMap, HeaderValue};

    use super::{BEGIN, LONGEST, REQUEST_ID, ROOM, RequestIds};

    #[test]
    fn ours_name_the_run_and_count_up_to_the_last_number() {
        let ids = RequestIds { begin: *b"r-0000abcd-", count: AtomicU64::new(0xf) };
        assert_eq!(ids.of(None).as_bytes(), b"r-0000abcd-f");
        let next = ids.of(Some(&HeaderMap::new()));
        assert_eq!(format!("{next:?}"), r#""r-0000abcd-10""#);
        assert_eq!(HeaderValue::from(next), "r-0000abcd-10");
        let last = RequestIds { count: AtomicU64::new(u64::MAX), ..RequestIds::new() };
        let last = HeaderValue::from(last.of(None));
        assert_eq!(last.len(), ROOM);
        let (begin, count) = last.to_str().unwrap().split_at(BEGIN);
        assert_eq!(count, "f".repeat(16));
        let run = begin.strip_prefix("r-").and_then(|begin| begin.strip_suffix('-')).unwrap();
        assert!(run.len() == 8 && run.bytes().all(|byte| byte.is_ascii_hexdigit()), "{run}");
    }

    #[test]
    fn a_clients_own_is_taken_over_only_if_it_is_harmless() {
        let ids = RequestIds::new();
        let longest = "x".repeat(LONGEST);
        for (given, is_taken) in [
            ("mine-1", true),
            (&*longest, true),
            (&*format!("{longest}x"), false),
            ("", false),
            ("two words", false),
            ("tab\t", false),
            ("\u{e4}", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(given.as_bytes()).unwrap());
            let id = ids.of(Some(&headers));
            assert_eq!(id.as_bytes() == given.as_bytes(), is_taken, "{given:?} {id:?}");
        }
    }
}
