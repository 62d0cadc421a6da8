//! The patterns of `[tools]`, checked here so that nobody who filters meets a bad one.

/// Why a pattern is none; `None` if it is one.
#[must_use]
pub fn problem_of(pattern: &str) -> Option<String> {
    if pattern.is_empty() {
        return Some("an empty pattern matches no tool".to_owned());
    }
    globset::Glob::new(pattern).err().map(|error| error.kind().to_string())
}

/// A pattern that matches exactly this name.
#[must_use]
pub fn literal(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if "*?[]{}\\".contains(c) {
            out.extend(['[', c, ']']);
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bad_patterns_are_told() {
        for good in ["*", "get_*", "a?b", "[ab]c", "{a,b}"] {
            assert_eq!(problem_of(good), None, "{good}");
        }
        for bad in ["", "[", "{a", "[z-a]"] {
            assert!(problem_of(bad).is_some(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_literal_matches_itself_only(name in "[a-c*?\\[\\]{}!.\\-]{1,12}", other in "[a-c*?!.]{1,12}") {
            let glob = globset::Glob::new(&literal(&name)).unwrap().compile_matcher();
            prop_assert!(glob.is_match(&name));
            prop_assert_eq!(glob.is_match(&other), name == other);
        }
    }
}
