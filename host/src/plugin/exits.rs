//! How an instance ended, the last times: each death with its cause and its last words.

use std::sync::Arc;

use super::view::LastExit;

/// Deaths that are kept, per instance.
const KEPT: usize = 10;

/// The last deaths of an instance, newest first. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exits(Arc<[Arc<LastExit>]>);

impl Exits {
    /// Adds the newest; the oldest goes when there are too many.
    pub(super) fn push(&mut self, exit: LastExit) {
        let kept = self.0.iter().take(KEPT - 1).cloned();
        self.0 = std::iter::once(Arc::new(exit)).chain(kept).collect();
    }

    /// The newest.
    pub(crate) fn last(&self) -> Option<&LastExit> {
        self.0.first().map(|exit| &**exit)
    }

    /// Those before it, newest first.
    pub(crate) fn earlier(&self) -> impl Iterator<Item = &LastExit> {
        self.0.iter().skip(1).map(|exit| &**exit)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use wharf_core::Generation;
    use wharf_plugin_api::CauseKind;

    use super::{Exits, KEPT, LastExit};

    #[test]
    fn the_newest_is_first_and_the_oldest_goes() {
        let mut exits = Exits::default();
        assert!(exits.last().is_none());
        for n in 1..=12 {
            exits.push(LastExit {
                generation: Generation(n),
                cause: CauseKind::Exited,
                code: Some(1),
                signal: None,
                oom: false,
                note: None,
                uptime_ms: 0,
                at: SystemTime::UNIX_EPOCH,
                stderr_tail: Vec::new(),
            });
        }
        assert_eq!(exits.last().map(|exit| exit.generation), Some(Generation(12)));
        let earlier: Vec<u64> = exits.earlier().map(|exit| exit.generation.0).collect();
        assert_eq!(earlier, (12 - KEPT as u64 + 1..12).rev().collect::<Vec<_>>());
    }
}
