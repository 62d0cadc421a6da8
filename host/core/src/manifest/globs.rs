//! The patterns of `[tools]`: checked, so that nobody who filters meets a bad one, and compiled.

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::sections::ToolFilter;

/// Why a pattern is none; `None` if it is one.
#[must_use]
pub fn problem_of(pattern: &str) -> Option<String> {
    if pattern.is_empty() {
        return Some("an empty pattern matches no tool".to_owned());
    }
    Glob::new(pattern).err().map(|error| error.kind().to_string())
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

/// The compiled patterns of a [`ToolFilter`].
#[derive(Debug)]
pub struct OfferedTools {
    include: GlobSet,
    exclude: GlobSet,
}

impl ToolFilter {
    /// Compiles the patterns. A bad one is told when the manifest is checked; here it matches nothing.
    #[must_use]
    pub fn compile(&self) -> OfferedTools {
        OfferedTools { include: compiled(&self.include), exclude: compiled(&self.exclude) }
    }
}

impl OfferedTools {
    /// Whether the tool of this name at the plugin is offered.
    #[must_use]
    pub fn lets(&self, name: &str) -> bool {
        (self.include.is_empty() || self.include.is_match(name)) && !self.exclude.is_match(name)
    }
}

fn compiled(patterns: &[String]) -> GlobSet {
    let mut builder = GlobSetBuilder::new();
    for glob in patterns.iter().filter_map(|pattern| Glob::new(pattern).ok()) {
        builder.add(glob);
    }
    builder.build().unwrap_or_else(|_| GlobSet::empty())
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

    #[test]
    fn include_then_exclude() {
        let filter = |include: &[&str], exclude: &[&str]| {
            let own = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect();
            ToolFilter { include: own(include), exclude: own(exclude), ..ToolFilter::default() }.compile()
        };
        assert!(filter(&[], &[]).lets("anything"));
        assert!(filter(&["get_*"], &[]).lets("get_a") && !filter(&["get_*"], &[]).lets("set_a"));
        assert!(!filter(&["get_*"], &["get_secret"]).lets("get_secret"));
        assert!(!filter(&[], &["*"]).lets("x"));
    }

    proptest! {
        #[test]
        fn a_literal_matches_itself_only(name in "[a-c*?\\[\\]{}!.\\-]{1,12}", other in "[a-c*?!.]{1,12}") {
            let glob = Glob::new(&literal(&name)).unwrap().compile_matcher();
            prop_assert!(glob.is_match(&name));
            prop_assert_eq!(glob.is_match(&other), name == other);
        }
    }
}
