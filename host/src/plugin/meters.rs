//! What is counted of a plugin, and of the host beside its plugins. It lives with what it is about: with a plugin, all that was
//! counted of it goes. The path of a call only adds to atomics; it finds its meter with the tool in the catalog.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use wharf_core::Code;
use wharf_core::meter::{Histogram, Meter};
use wharf_plugin_api::CauseKind;

/// The methods that are told apart. What a client may name freely would be a label without a bound.
const METHODS: [&str; 11] = [
    "tools/call",
    "prompts/get",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "tasks/get",
    "tasks/update",
    "tasks/cancel",
    "tasks/result",
    "tasks/list",
];
/// The codes of calls that were turned away before an instance was asked.
const REJECTIONS: [Code; 4] = [Code::RateLimited, Code::QueueFull, Code::Overloaded, Code::PluginUnavailable];
/// What is none of those that are told apart: a method, a tool, a plugin.
pub(crate) const OTHER: &str = "_other";
/// Tools that a plugin listed once and does not list any more, of which the counts are kept. The one that was dropped the
/// longest ago is forgotten first. They are not added up elsewhere: there they would look like calls that happen now.
const DROPPED: usize = 64;

/// What is counted of one plugin.
#[derive(Debug)]
pub(crate) struct Meters {
    tools: Mutex<Tools>,
    /// Calls of tools that it does not list.
    pub(crate) unlisted: Arc<Meter>,
    /// By [`METHODS`]; the last is for all others.
    methods: [Meter; METHODS.len() + 1],
    /// From the wish to run until it was ready.
    pub(crate) starts: Histogram,
    /// By cause.
    restarts: [AtomicU64; CauseKind::ALL.len()],
    /// By [`REJECTIONS`].
    rejected: [AtomicU64; REJECTIONS.len()],
}

#[derive(Debug, Default)]
struct Tools {
    /// Counts the lists.
    list: u64,
    /// With the list in which it last stood.
    all: HashMap<Box<str>, (Arc<Meter>, u64)>,
}

/// What is counted beside plugins.
#[derive(Debug)]
pub(crate) struct HostMeters {
    /// Calls that named no plugin, or one that there is not.
    pub(crate) astray: Meter,
    reloads: [AtomicU64; Reload::ALL.len()],
    /// Leave to read all of it: one at a time.
    pub(crate) scrapes: Arc<Semaphore>,
}

/// What a reading of the manifests came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    /// All are right.
    Ok,
    /// Some are wrong; the others were applied.
    Invalid,
    /// They could not be read; nothing was changed.
    Failed,
}

// === impl Meters ===

impl Default for Meters {
    fn default() -> Self {
        Self {
            tools: Mutex::default(),
            unlisted: Arc::default(),
            methods: Default::default(),
            starts: Histogram::default(),
            rejected: Default::default(),
            restarts: [const { AtomicU64::new(0) }; CauseKind::ALL.len()],
        }
    }
}

impl Meters {
    /// The meters of what is listed now, in its order. A tool that is listed again goes on with its counts.
    pub(crate) fn listed<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<Arc<Meter>> {
        let mut tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        tools.list += 1;
        let list = tools.list;
        let meters = names.map(|name| {
            if name == OTHER {
                return Arc::clone(&self.unlisted);
            }
            let (meter, last) = tools.all.entry(name.into()).or_default();
            *last = list;
            Arc::clone(meter)
        });
        let meters = meters.collect();
        tools.forget();
        meters
    }

    /// The meter of a request that is no call of a tool, by its place.
    pub(crate) fn method(&self, place: usize) -> Option<&Meter> {
        self.methods.get(place)
    }

    /// All tools that were called, by name.
    pub(crate) fn tools(&self) -> Vec<(Box<str>, Arc<Meter>)> {
        let tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        let called = tools.all.iter().filter(|(_, (meter, _))| !meter.is_blank());
        let mut all: Vec<_> = called.map(|(name, (meter, _))| (name.clone(), Arc::clone(meter))).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    /// All other requests, by method.
    pub(crate) fn others(&self) -> impl Iterator<Item = (&'static str, &Meter)> {
        METHODS.into_iter().chain([OTHER]).zip(&self.methods)
    }

    /// A call failed with this code; counted if no instance was asked.
    pub(crate) fn failed(&self, code: Code) {
        let place = REJECTIONS.iter().position(|reason| *reason == code);
        if let Some(count) = place.and_then(|place| self.rejected.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The reasons for which calls were turned away, and how often.
    pub(crate) fn rejections(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.rejected.iter().map(|count| count.load(Ordering::Relaxed));
        REJECTIONS.iter().map(|code| code.as_str()).zip(counts)
    }

    /// An instance ended for this reason and is to be started again.
    pub(crate) fn restarted(&self, cause: CauseKind) {
        let place = CauseKind::ALL.iter().position(|kind| *kind == cause);
        if let Some(count) = place.and_then(|place| self.restarts.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The reasons that there were, and how often.
    pub(crate) fn restarts(&self) -> impl Iterator<Item = (CauseKind, u64)> {
        let counts = self.restarts.iter().map(|count| count.load(Ordering::Relaxed));
        CauseKind::ALL.iter().copied().zip(counts).filter(|(_, count)| *count > 0)
    }
}

/// The place of a method, for [`Meters::method`].
pub(crate) fn place(method: &str) -> usize {
    METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len())
}

/// The word for a method that may be a label.
pub(crate) fn label(method: &str) -> &'static str {
    METHODS.get(place(method)).copied().unwrap_or(OTHER)
}

// === impl Tools ===

impl Tools {
    fn forget(&mut self) {
        let list = self.list;
        self.all.retain(|_, (meter, last)| *last == list || !meter.is_blank());
        let mut dropped: Vec<u64> =
            self.all.values().map(|(_, last)| *last).filter(|last| *last != list).collect();
        if let Some(over) = dropped.len().checked_sub(DROPPED).filter(|over| *over > 0) {
            dropped.sort_unstable();
            let oldest = dropped.get(over - 1).copied().unwrap_or_default();
            // Those of one list go together: fewer are kept then, never more.
            self.all.retain(|_, (_, last)| *last > oldest);
        }
    }
}

// === impl HostMeters ===

impl Default for HostMeters {
    fn default() -> Self {
        Self { astray: Meter::default(), reloads: Default::default(), scrapes: Arc::new(Semaphore::new(1)) }
    }
}

impl HostMeters {
    pub(crate) fn reloaded(&self, result: Reload) {
        if let Some(count) = self.reloads.get(result as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn reloads(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reload::ALL
            .iter()
            .map(|result| result.as_str())
            .zip(self.reloads.iter().map(|n| n.load(Ordering::Relaxed)))
    }
}

// === impl Reload ===

impl Reload {
    const ALL: [Self; 3] = [Self::Ok, Self::Invalid, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wharf_core::Outcome;
    use wharf_plugin_api::CauseKind;

    use super::{DROPPED, Meters, OTHER, label, place};

    fn list(meters: &Meters, names: &[String]) {
        for meter in meters.listed(names.iter().map(String::as_str)) {
            meter.record(Outcome::Ok, Duration::ZERO);
        }
    }

    #[test]
    fn a_tool_that_is_listed_again_goes_on_and_one_that_is_not_is_kept_for_a_while() {
        let meters = Meters::default();
        let named = |n: usize| vec![format!("t{n}")];
        list(&meters, &named(0));
        list(&meters, &named(1));
        list(&meters, &named(0));
        let counts: Vec<_> = meters
            .tools()
            .iter()
            .map(|(name, meter)| (name.to_string(), meter.read().next().unwrap().1.count))
            .collect();
        assert_eq!(counts, [("t0".to_owned(), 2), ("t1".to_owned(), 1)]);
        for n in 2..2000 {
            list(&meters, &named(n));
        }
        let names: Vec<_> = meters.tools().into_iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(names.len(), DROPPED + 1);
        assert!(names.contains(&"t1999".to_owned()) && names.contains(&"t1936".to_owned()), "{names:?}");
    }

    #[test]
    fn what_was_never_called_is_not_kept() {
        let meters = Meters::default();
        meters.listed(["a", "b"].into_iter());
        meters.listed(["a"].into_iter());
        assert!(meters.tools().is_empty());
        assert_eq!(meters.tools.lock().unwrap().all.len(), 1);
    }

    #[test]
    fn a_plugin_that_drops_thousands_at_once_keeps_no_more_than_a_few() {
        let meters = Meters::default();
        list(&meters, &(0..5000).map(|n| format!("t{n}")).collect::<Vec<_>>());
        list(&meters, &["new".to_owned()]);
        assert!(meters.tools().len() <= DROPPED + 1, "{}", meters.tools().len());
    }

    #[test]
    fn a_method_that_nobody_knows_has_no_label_of_its_own() {
        assert_eq!((label("prompts/get"), label("vendor/x")), ("prompts/get", OTHER));
        let meters = Meters::default();
        meters.method(place("vendor/x")).unwrap().record(Outcome::RpcError, Duration::ZERO);
        let read: Vec<_> =
            meters.others().filter(|(_, meter)| !meter.is_blank()).map(|(name, _)| name).collect();
        assert_eq!(read, [OTHER]);
    }

    #[test]
    fn restarts_are_counted_by_their_cause() {
        let meters = Meters::default();
        for kind in [CauseKind::ALL[0], CauseKind::ALL[1], CauseKind::ALL[0]] {
            meters.restarted(kind);
        }
        assert_eq!(meters.restarts().collect::<Vec<_>>(), [(CauseKind::ALL[0], 2), (CauseKind::ALL[1], 1)]);
    }
}
