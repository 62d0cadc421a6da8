//! Which calls may be handed over once more though they may have run.

use wharf_core::hints::{Hints, reads_only};

use super::call::Call;
use super::scope::CallScope;

impl Call {
    /// Whether running it twice does what running it once does, by the definition with which it was resolved: a plugin that
    /// says otherwise meanwhile changes nothing. Not if its caller tries again by itself, and not if its client was asked
    /// something: a person would be asked twice.
    pub(super) fn may_repeat(&self, scope: &CallScope) -> bool {
        let is_harmless = self.to.tool.as_ref().map_or_else(
            || self.spec.tool.is_none() && reads_only(&self.spec.method),
            |tool| Hints::may_repeat(tool.hints),
        );
        self.to.manifest.retry.trust_hints && is_harmless && !self.spec.repeated && !scope.has_asked()
    }
}
