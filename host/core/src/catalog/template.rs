//! Whether a URI may come of a URI template (RFC 6570): enough to tell whose it is, not what its variables are.
//!
//! A URI is read once for each part of the template, whatever the template: no input makes a match slow.

/// Expressions of a template, and bytes of a URI, beyond which nothing matches.
const MAX_PARTS: usize = 64;
const MAX_URI: usize = 8192;

/// A template, ready to be matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Expression(Expression),
}

/// What an expression may become: nothing, or `first` and then at least one character that none of `never` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Expression {
    optional: bool,
    first: Option<u8>,
    never: &'static [u8],
}

impl Pattern {
    /// Reads a template. `None` if its braces are not in order, or it has too many parts.
    pub(super) fn new(template: &str) -> Option<Self> {
        let (mut parts, mut rest) = (Vec::new(), template);
        while let Some((literal, after)) = rest.split_once('{') {
            let (expression, after) = after.split_once('}')?;
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            parts.push(Part::Expression(Expression::new(expression)));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        (parts.len() <= MAX_PARTS && !template.contains("}}")).then_some(Self { parts })
    }

    /// Whether the URI may come of it.
    pub(super) fn matches(&self, uri: &str) -> bool {
        if uri.len() > MAX_URI {
            return false;
        }
        let uri = uri.as_bytes();
        // Where in the URI the next part may begin.
        let mut starts = vec![false; uri.len() + 1];
        if let Some(first) = starts.first_mut() {
            *first = true;
        }
        for part in &self.parts {
            starts = part.ends(uri, &starts);
        }
        starts.last() == Some(&true)
    }

    /// How much of it is fixed: of two that match, the one that says more is meant.
    pub(super) fn literal_len(&self) -> usize {
        let literal = |part: &Part| match part {
            Part::Literal(text) => text.len(),
            Part::Expression(_) => 0,
        };
        self.parts.iter().map(literal).sum()
    }
}

impl Part {
    /// Where it may end, if it begins at any of `starts`.
    fn ends(&self, uri: &[u8], starts: &[bool]) -> Vec<bool> {
        let mut ends = vec![false; starts.len()];
        match self {
            Self::Literal(text) => {
                for (at, _) in starts.iter().enumerate().filter(|(_, may)| **may) {
                    if uri.get(at..).is_some_and(|rest| rest.starts_with(text.as_bytes()))
                        && let Some(end) = ends.get_mut(at + text.len())
                    {
                        *end = true;
                    }
                }
            }
            Self::Expression(expression) => expression.ends(uri, starts, &mut ends),
        }
        ends
    }
}

impl Expression {
    fn new(text: &str) -> Self {
        let many = text.contains('*') || text.contains(',');
        let (optional, first, never): (bool, Option<u8>, &'static [u8]) = match text.bytes().next() {
            Some(b'+') => (false, None, b""),
            Some(b'#') => (true, Some(b'#'), b""),
            Some(b'?') => (true, Some(b'?'), b"#"),
            Some(b'&') => (true, Some(b'&'), b"#"),
            Some(b'/') if many => (true, Some(b'/'), b"?#"),
            Some(b'/') => (true, Some(b'/'), b"/?#"),
            Some(b'.') => (true, Some(b'.'), b"/?#"),
            Some(b';') => (true, Some(b';'), b"/?#"),
            Some(_) | None => (false, None, b"/?#"),
        };
        Self { optional, first, never }
    }

    fn ends(self, uri: &[u8], starts: &[bool], ends: &mut [bool]) {
        // Inside of it: its first character, if it has one of its own, is behind us.
        let mut inside = false;
        let mut opened = false;
        for at in 0..starts.len() {
            let may = starts.get(at).copied().unwrap_or_default();
            let byte = at.checked_sub(1).and_then(|before| uri.get(before));
            let started = at > 0 && starts.get(at - 1).copied().unwrap_or_default();
            let goes_on = byte.is_some_and(|byte| !self.never.contains(byte));
            // A character of it ends here: it goes on from one before, from the opening one, or begins with this.
            inside = goes_on && (inside || opened || (self.first.is_none() && started));
            opened = self.first.is_some() && started && byte.copied() == self.first;
            if let Some(end) = ends.get_mut(at) {
                *end |= inside || (may && self.optional);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Pattern;

    fn matches(template: &str, uri: &str) -> bool {
        Pattern::new(template).unwrap().matches(uri)
    }

    #[test]
    fn a_uri_is_of_a_template_or_is_not() {
        for (template, uri, expected) in [
            ("file:///{name}", "file:///a.txt", true),
            ("file:///{name}", "file:///", false),
            ("file:///{name}", "file:///a/b", false),
            ("file:///{+path}", "file:///a/b?c#d", true),
            ("file:///{/path*}", "file:////a/b", true),
            ("file://{/path}", "file:///a/b", false),
            ("db://{table}/{id}", "db://t/1", true),
            ("db://{table}/{id}", "db://t", false),
            ("db://{table}/rows/{id}{?limit,after}", "db://t/rows/1", true),
            ("db://{table}/rows/{id}{?limit,after}", "db://t/rows/1?limit=3&after=x", true),
            ("db://{table}/rows/{id}{?limit,after}", "db://t/rows/1?", false),
            ("x://{a}{b}", "x://ab", true),
            ("x://{a}{b}", "x://a", false),
            ("x://{host}.example/{a}", "x://a.b.example/c", true),
            ("plain://here", "plain://here", true),
            ("plain://here", "plain://here/", false),
            ("n://{file}{.ext}", "n://a.txt", true),
            ("n://{file}{#part}", "n://a#b", true),
            ("n://{a}{#part}", "n://a#", false),
        ] {
            assert_eq!(matches(template, uri), expected, "{template} {uri}");
        }
    }

    #[test]
    fn what_is_no_template_is_none() {
        assert_eq!(Pattern::new("a://{b"), None);
        assert_eq!(Pattern::new("a://{b}}"), None);
        assert_eq!(Pattern::new(&"{a}".repeat(65)), None);
        assert!(!matches("{+a}", &"x".repeat(9000)), "the bound");
    }

    proptest! {
        #[test]
        fn what_is_put_in_is_found_again(
            pieces in prop::collection::vec(("[a-z:/.]{0,6}", "[a-zA-Z0-9:.%-]{1,8}"), 0..6), tail in "[a-z]{0,3}",
        ) {
            let template: String = pieces.iter().map(|(l, _)| format!("{l}{{v}}")).collect::<String>() + &tail;
            let uri: String = pieces.iter().map(|(l, v)| format!("{l}{v}")).collect::<String>() + &tail;
            prop_assert!(matches(&template, &uri), "{} {}", template, uri);
        }

        #[test]
        fn no_template_makes_it_slow(template in "[{}a+]{0,200}", uri in "a{0,2000}") {
            if let Some(pattern) = Pattern::new(&template) {
                pattern.matches(&uri);
            }
        }
    }
}
