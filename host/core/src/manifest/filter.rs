//! `[tools]`, compiled: which tools of a plugin are offered.

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::sections::ToolFilter;

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
    use crate::manifest::ToolFilter;

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
}
