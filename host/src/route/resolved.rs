//! What a call is led to, and what calls were led to lately.
//!
//! Nearly every call goes where another went just before. What it needs there has four owners, and two threads that serve calls
//! would take the counts of each from each other: so each serving thread keeps them together under a count of its own.
//!
//! What is kept is compared with what is looked up, so that nothing replaced is gone by. A manifest that was replaced without
//! the catalog being looked at again may be in memory until another call takes its place here.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use wharf_core::catalog::Tool;
use wharf_core::manifest::{Dialect, Kind, Manifest};

use super::routing::Routing;
use crate::near::{Best, Near};
use crate::plugin::PluginHandle;

/// Kept for each serving thread, at most. A power of two.
const KEPT: usize = 64;

/// Where a call goes, as it was when the call came.
pub(crate) struct Resolved {
    pub(crate) plugin: Arc<PluginHandle>,
    pub(crate) manifest: Arc<Manifest>,
    /// The tool that it calls, if it calls one.
    pub(crate) tool: Option<Arc<Tool>>,
    pub(crate) routing: Arc<Routing>,
    /// Where the connection that it came by is served best, if that matters.
    pub(crate) best: Option<Best>,
}

/// Where calls went lately.
#[derive(Default)]
pub(crate) struct Lately(Near<Mutex<Places>>);

/// By where the tool is in memory, or the plugin.
struct Places([Option<Arc<Resolved>>; KEPT]);

/// Those of this thread, if nobody else has them at the moment.
pub(crate) struct Here<'a>(Option<MutexGuard<'a, Places>>);

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolved").field("plugin", &self.plugin.core.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Lately {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lately").finish_non_exhaustive()
    }
}

impl Default for Places {
    fn default() -> Self {
        Self([const { None }; KEPT])
    }
}

impl Lately {
    /// Those of this thread. What is looked up while this lives, and kept, is let go by the next [`Lately::forget`].
    pub(crate) fn here(&self) -> Here<'_> {
        // Where several threads are one serving thread, none waits for another.
        Here(match self.0.here().try_lock() {
            Ok(places) => Some(places),
            Err(TryLockError::Poisoned(places)) => Some(places.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        })
    }

    /// Lets go of all, after some of it may have been replaced: no call would be led there any more.
    pub(crate) fn forget(&self) {
        for places in self.0.all() {
            let old = std::mem::take(&mut *places.lock().unwrap_or_else(PoisonError::into_inner));
            // Not under the lock: it may be the last of a plugin.
            drop(old);
        }
    }
}

impl Here<'_> {
    /// These together, counted by this thread.
    pub(crate) fn resolved(
        mut self,
        plugin: &Arc<PluginHandle>,
        manifest: &Arc<Manifest>,
        tool: Option<&Arc<Tool>>,
        routing: &Arc<Routing>,
    ) -> Arc<Resolved> {
        let place = self.0.as_mut().and_then(|places| places.0.get_mut(place_of(plugin, tool)));
        if let Some(Some(kept)) = &place
            && kept.is(plugin, manifest, tool)
        {
            return Arc::clone(kept);
        }
        let new = Arc::new(Resolved::new(plugin, manifest, tool, routing));
        let old = place.and_then(|place| place.replace(Arc::clone(&new)));
        // In this order: what was there may be the last of a plugin.
        drop(self);
        drop(old);
        new
    }
}

/// Multiplied, as what an allocator gives for one kind of thing is far from everywhere (Knuth, The Art of Computer Programming,
/// 6.4).
fn place_of(plugin: &Arc<PluginHandle>, tool: Option<&Arc<Tool>>) -> usize {
    let at = tool.map_or(Arc::as_ptr(plugin).addr(), |tool| Arc::as_ptr(tool).addr());
    ((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - KEPT.ilog2())) as usize
}

/// A pipe is read by one thread; to a server over HTTP each has connections of its own.
fn best(kind: &Kind) -> Option<Best> {
    match kind {
        Kind::Command(command) if command.dialect == Dialect::Stdio => Some(Best::Own),
        Kind::Command(_) | Kind::Remote(_) => Some(Best::Any),
        Kind::Embedded(_) => None,
    }
}

impl Resolved {
    pub(super) fn new(
        plugin: &Arc<PluginHandle>,
        manifest: &Arc<Manifest>,
        tool: Option<&Arc<Tool>>,
        routing: &Arc<Routing>,
    ) -> Self {
        Self {
            plugin: Arc::clone(plugin),
            manifest: Arc::clone(manifest),
            tool: tool.cloned(),
            routing: Arc::clone(routing),
            best: best(&manifest.kind),
        }
    }

    /// Its plugin is reached over HTTP.
    pub(super) fn is_over_http(&self) -> bool {
        self.best == Some(Best::Any)
    }

    /// How long a call that waits for its client is left in peace by those that wait for their turn.
    pub(super) fn peace(&self) -> Duration {
        self.manifest.limits.queue_wait.0 / 2
    }

    fn is(&self, plugin: &Arc<PluginHandle>, manifest: &Arc<Manifest>, tool: Option<&Arc<Tool>>) -> bool {
        let same_tool = match (&self.tool, tool) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same_tool && Arc::ptr_eq(&self.plugin, plugin) && Arc::ptr_eq(&self.manifest, manifest)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wharf_core::catalog::Tool;

    use super::super::book::Book;
    use super::super::routing::Routing;
    use super::super::tests::tool;
    use super::{KEPT, Lately, Resolved};
    use crate::plugin::testkit::{Kit, Script, manifest};

    fn routing(kit: &Kit) -> Arc<Routing> {
        Routing::new(&kit.services, Arc::new(Book::new(0, Vec::new())), 9)
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_go_the_same_way_share_what_they_need_until_it_is_replaced() {
        let kit = Kit::new(Script::default(), manifest("p"));
        let (lately, routing) = (Lately::default(), routing(&kit));
        let (one, other) = (Arc::new(manifest("p")), Arc::new(manifest("p")));
        let to = |manifest| lately.here().resolved(&kit.plugin, manifest, None, &routing);
        let (first, second, third) = (to(&one), to(&one), to(&other));
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &third));
        assert!(Arc::ptr_eq(&first.manifest, &one) && Arc::ptr_eq(&third.manifest, &other));
        let held = |to: &Arc<Resolved>| Arc::strong_count(to);
        assert_eq!((held(&first), held(&third)), (2, 2), "the newer one took the place of the older");
        lately.forget();
        assert_eq!(held(&third), 1);
    }

    /// More of them than places, so that some have the same.
    #[tokio::test(start_paused = true)]
    async fn no_call_is_led_where_another_goes() {
        let kits = [(); 2].map(|()| Kit::new(Script::default(), manifest("p")));
        let (lately, routing, manifest) = (Lately::default(), routing(&kits[0]), Arc::new(manifest("p")));
        let tools: Vec<Option<Arc<Tool>>> = (0..4 * KEPT).map(|n| (n % 9 > 0).then(|| tool("{}"))).collect();
        for tool in tools.iter().chain(tools.iter().rev()) {
            for plugin in kits.iter().map(|kit| &kit.plugin) {
                let to = lately.here().resolved(plugin, &manifest, tool.as_ref(), &routing);
                let address = |tool: &Arc<Tool>| Arc::as_ptr(tool).addr();
                assert_eq!(to.tool.as_ref().map(address), tool.as_ref().map(address));
                assert!(Arc::ptr_eq(&to.plugin, plugin));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_them_taken_goes_without() {
        let kit = Kit::new(Script::default(), manifest("p"));
        let (lately, routing, manifest) = (Lately::default(), routing(&kit), Arc::new(manifest("p")));
        let to = |here: super::Here<'_>| here.resolved(&kit.plugin, &manifest, None, &routing);
        let first = lately.here();
        let without = to(lately.here());
        assert_eq!(Arc::strong_count(&without), 1);
        assert_eq!(Arc::strong_count(&to(first)), 2);
    }
}
