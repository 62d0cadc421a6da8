//! The trace that a call is part of (W3C Trace Context and Baggage), as a caller says it and as the next hop is told it.
//!
//! What a caller says is taken only if it is well-formed; what is not is dropped, and is no error. Nothing is made up: where
//! no trace comes in, none goes out. The keys are those of SEP-414, without a prefix, in `_meta`; HTTP has them as headers.

mod grammar;
mod parent;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde_json::value::{RawValue, to_raw_value};
use wharf_plugin_api::Trace;

pub use self::parent::TraceParent;
use crate::splice;

/// The keys in `_meta`, and the names of the headers.
pub const KEYS: [&str; 3] = ["traceparent", "tracestate", "baggage"];
const META: &str = "_meta";
static TRACE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"trace"));
static BAGGAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"baggage\""));

/// What a caller said of its trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// Which trace, and who asks in it.
    parent: Option<TraceParent>,
    /// What the vendors on the way want to find again; only with a parent.
    state: Option<Box<str>>,
    /// What the application wants to have everywhere.
    baggage: Option<Box<str>>,
}

impl TraceContext {
    /// Reads what stands in `_meta`. `None`: it says nothing of a trace.
    ///
    /// One that is empty is not `None`: what it was read from is malformed, and has to be taken out.
    #[must_use]
    pub fn of_meta(meta: &RawValue) -> Option<Self> {
        let meta = Some(meta).filter(|meta| may_hold(meta.get()))?;
        let said = KEYS.map(|key| splice::field(meta, key));
        if said.iter().all(Option::is_none) {
            return None;
        }
        let [parent, state, baggage] = said.map(|said| serde_json::from_str::<String>(said?.get()).ok());
        Some(Self::parsed(parent.as_deref(), state.as_deref(), baggage.as_deref()))
    }

    /// This, and what another says of what it leaves open. A state goes with its parent.
    #[must_use]
    pub fn or(self, other: Option<&Self>) -> Self {
        let Some(other) = other else { return self };
        let of = if self.parent.is_some() { &self } else { other };
        let (parent, state) = (of.parent, of.state.clone());
        Self { parent, state, baggage: self.baggage.or_else(|| other.baggage.clone()) }
    }

    /// Reads headers, each found by its name.
    #[must_use]
    pub fn of_headers<'h>(header: impl Fn(&str) -> Option<Cow<'h, str>>) -> Self {
        let [parent, state, baggage] = KEYS.map(header);
        Self::parsed(parent.as_deref(), state.as_deref(), baggage.as_deref())
    }

    fn parsed(parent: Option<&str>, state: Option<&str>, baggage: Option<&str>) -> Self {
        let parent = parent.and_then(TraceParent::parse);
        let state = state.filter(|state| parent.is_some() && grammar::is_state(state));
        let baggage = baggage.filter(|baggage| grammar::is_baggage(baggage));
        Self { parent, state: state.map(Into::into), baggage: baggage.map(Into::into) }
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parent.is_none() && self.baggage.is_none()
    }

    /// Which trace and who asks in it, if the caller said so.
    #[must_use]
    pub fn parent(&self) -> Option<TraceParent> {
        self.parent
    }

    /// The name of the trace: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> Option<String> {
        Some(self.parent?.trace_id())
    }

    /// What the caller said, which is what the next hop is told: who has no spans of its own to show must not stand between
    /// two that have (W3C Trace Context, section 4.3). `None`, if there is nothing to tell.
    #[must_use]
    pub fn told(&self) -> Option<Trace> {
        (!self.is_empty()).then(|| Trace {
            parent: self.parent.map(|parent| parent.to_string()),
            state: self.state.as_deref().map(ToOwned::to_owned),
            baggage: self.baggage.as_deref().map(ToOwned::to_owned),
        })
    }
}

/// Whether a text may hold one of the keys. False is certain.
fn may_hold(text: &str) -> bool {
    // A key may be spelled with escapes.
    TRACE.find(text.as_bytes()).is_some() || BAGGAGE.find(text.as_bytes()).is_some() || text.contains('\\')
}

/// The params with this in their `_meta`, in place of whatever of the kind is there. What is no object stays as it is.
#[must_use]
pub fn stamped(params: Option<&RawValue>, trace: Option<&Trace>) -> Option<Box<RawValue>> {
    let none: [(&str, Option<&str>); 3] = KEYS.map(|key| (key, None));
    let values = trace.map_or(none, Trace::pairs);
    let Some(params) = params else {
        return trace.and_then(|_| wrapped(&with_values(&empty()?, values)?));
    };
    let meta = splice::field(params, META).filter(|meta| meta.get() != "null");
    if meta.is_none() && trace.is_none() {
        return Some(params.to_owned());
    }
    let meta = with_values(&meta.map_or_else(empty, |meta| Some(meta.to_owned()))?, values);
    let edited = meta.and_then(|meta| splice::with_field(params, META, &meta));
    Some(edited.unwrap_or_else(|| params.to_owned()))
}

/// The metadata with this, where it does not say so itself: what an application writes goes before what a header says.
#[must_use]
pub fn with_default(params: Option<&RawValue>, trace: &Trace) -> Option<Box<RawValue>> {
    let meta = params.and_then(|params| splice::field(params, META));
    let has = |key: &str| meta.is_some_and(|meta| splice::field(meta, key).is_some());
    let (traced, laden) = (has(KEYS[0]) || has(KEYS[1]), has(KEYS[2]));
    let own = |key: &str| meta.and_then(|meta| serde_json::from_str(splice::field(meta, key)?.get()).ok());
    let [parent, state, baggage] = KEYS.map(own);
    let added = Trace {
        parent: if traced { parent } else { trace.parent.clone() },
        state: if traced { state } else { trace.state.clone() },
        baggage: if laden { baggage } else { trace.baggage.clone() },
    };
    stamped(params, Some(&added))
}

fn with_values(meta: &RawValue, values: [(&str, Option<&str>); 3]) -> Option<Box<RawValue>> {
    let absent: Vec<&str> = values.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| *key).collect();
    let mut meta = splice::without_fields(meta, &absent)?;
    for (key, value) in values {
        if let Some(value) = value {
            meta = splice::with_field(&meta, key, &to_raw_value(value).ok()?)?;
        }
    }
    Some(meta)
}

fn empty() -> Option<Box<RawValue>> {
    RawValue::from_string("{}".to_owned()).ok()
}

fn wrapped(meta: &RawValue) -> Option<Box<RawValue>> {
    RawValue::from_string(format!("{{\"{META}\":{meta}}}")).ok()
}
