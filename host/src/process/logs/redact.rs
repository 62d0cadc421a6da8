//! Replaces secrets by value. Pure.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use memchr::memmem::Finder;

/// Shorter values are not replaced: `true` or `8080` are no secrets, and lines would become unreadable.
const SHORTEST: usize = 6;

/// What stands in the place of a secret.
const MASK: &str = "***";

/// Knows the values that must not be shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Redactor {
    secrets: Vec<Arc<Finder<'static>>>,
}

impl Redactor {
    pub(super) fn new(secrets: Vec<String>) -> Self {
        Self::default().with(&secrets)
    }

    /// This one, and more values. Of a value with several lines each line is secret, for a log is read by lines.
    pub(super) fn with(&self, more: &[String]) -> Self {
        let mut secrets = self.secrets.clone();
        for line in more.iter().flat_map(|value| value.lines()).map(str::trim).filter(|l| l.len() >= SHORTEST)
        {
            if !secrets.iter().any(|known| known.needle() == line.as_bytes()) {
                secrets.push(Arc::new(Finder::new(line).into_owned()));
            }
        }
        Self { secrets }
    }

    /// The length of the longest secret.
    pub(super) fn longest(&self) -> usize {
        self.secrets.iter().map(|secret| secret.needle().len()).max().unwrap_or(0)
    }

    /// The text without secrets. Overlapping ones go together, so that no end of one is left.
    pub(super) fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut places: Vec<Range<usize>> =
            self.secrets.iter().flat_map(|secret| places(secret, text)).collect();
        if places.is_empty() {
            return Cow::Borrowed(text);
        }
        places.sort_by_key(|place| place.start);
        let (mut clean, mut shown_to, mut masked) = (String::with_capacity(text.len()), 0, false);
        for place in places {
            if place.start >= shown_to || !masked {
                clean.push_str(text.get(shown_to..place.start).unwrap_or_default());
                clean.push_str(MASK);
                masked = true;
            }
            shown_to = shown_to.max(place.end);
        }
        clean.push_str(text.get(shown_to..).unwrap_or_default());
        Cow::Owned(clean)
    }
}

/// Every place, also those that overlap one another.
fn places(secret: &Finder<'_>, text: &str) -> Vec<Range<usize>> {
    let (bytes, length) = (text.as_bytes(), secret.needle().len());
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = bytes.get(from..).and_then(|rest| secret.find(rest)) {
        found.push(from + at..from + at + length);
        from += at + 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Redactor;

    fn redactor(secrets: &[&str]) -> Redactor {
        Redactor::new(secrets.iter().map(|s| (*s).to_owned()).collect())
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let r = redactor(&["hunter22", "s3cr3t-töken"]);
        assert_eq!(r.redact("hunter22 and x=s3cr3t-töken;hunter22"), "*** and x=***;***");
        assert_eq!(r.redact("nothing here"), "nothing here");
    }

    #[test]
    fn overlapping_secrets_leave_no_part() {
        assert_eq!(redactor(&["abcdef", "defghi"]).redact("1abcdefghi2"), "1***2");
        assert_eq!(redactor(&["aaaaaa"]).redact("aaaaaaaaa"), "***");
        assert_eq!(redactor(&["abcdef", "abcdefgh"]).redact("abcdefgh"), "***");
    }

    #[test]
    fn each_line_of_a_value_is_secret_and_short_values_are_none() {
        let r = redactor(&["first-line\nsecond-line", "12345"]);
        assert_eq!(r.redact("second-line 12345"), "*** 12345");
    }

    proptest! {
        #[test]
        fn no_secret_survives(secrets in proptest::collection::vec("[abc]{6,8}", 1..4), text in "[abc*]{0,60}") {
            let r = Redactor::new(secrets.clone());
            let clean = r.redact(&text).into_owned();
            for secret in &secrets {
                prop_assert!(!clean.contains(secret.as_str()));
            }
        }
    }
}
