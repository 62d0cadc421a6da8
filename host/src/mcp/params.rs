//! The params of a request, looked through once: where stand the members that decide where it goes and what becomes of it.
//! It must not know what they mean.

mod lately;

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::value::RawValue;
use wharf_core::splice::{self, Look, Places};
use wharf_core::trace_context;
use wharf_plugin_api::RpcError;

use super::forward;
use crate::route::durable;

/// The params of a request. Cheap to clone; they are read as the raw value that they are.
#[derive(Clone, Debug)]
pub(crate) struct Params(Arc<Inner>);

/// Not in place: params are handed on often.
#[derive(Debug)]
struct Inner {
    raw: Box<RawValue>,
    looked: Looked,
}

/// What was found in params. Good for them and their copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Looked {
    members: Places<{ MEMBERS.len() }>,
    /// In `_meta`, which begins there.
    meta: Places<{ META.len() }>,
}

/// A member of the params that somebody here must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    Meta,
    /// Of a tool or a prompt.
    Name,
    Uri,
    TaskId,
    /// What a client brings back: its answers, and the token.
    InputResponses,
    RequestState,
    /// A task of 2025-11-25.
    Task,
}

/// The members, in the order of [`Member`].
const MEMBERS: [&str; 7] = ["_meta", "name", "uri", "taskId", "inputResponses", "requestState", "task"];

/// A member of `_meta` that somebody here must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meta {
    // What is between a client and us alone.
    Durable,
    Key,
    Version,
    Info,
    Capabilities,
    LogLevel,
    // What is told to the plugin in our own words.
    ProgressToken = HOP as isize,
    TraceParent,
    TraceState,
    Baggage,
}

/// The member of `_meta` under which a call runs at most once.
pub(crate) const KEY: &str = "wharf/idempotencyKey";
/// The members of `_meta`, in the order of [`Meta`].
pub(crate) const META: [&str; 12] = [
    durable::KEY,
    KEY,
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/serverInfo",
    "io.modelcontextprotocol/subscriptionId",
    "progressToken",
    trace_context::KEYS[0],
    trace_context::KEYS[1],
    trace_context::KEYS[2],
];
/// So many of them, the first, are between a client and us alone.
pub(crate) const HOP: usize = 8;

// === impl Looked ===

impl Looked {
    /// Looks through params.
    pub(crate) fn at(params: &RawValue) -> Self {
        let members = Places::of(params, MEMBERS);
        let meta = members.get(params, Member::Meta as usize);
        let meta = meta.map_or_else(Places::none, |meta| Places::of(meta, META));
        Self { members, meta }
    }

    /// Looks over params in a message that is looked at for the first time.
    pub(crate) fn over(look: &mut Look<'_>) -> Option<Self> {
        let mut meta = Places::none();
        let members = look.places(MEMBERS, |look, member| {
            if member != Member::Meta as usize {
                return look.over();
            }
            meta = lately::over(look)?;
            Some(())
        })?;
        Some(Self { members, meta })
    }

    /// Of the params that were looked through.
    pub(crate) fn member<'a>(&self, params: &'a RawValue, member: Member) -> Option<&'a RawValue> {
        self.members.get(params, member as usize)
    }

    /// Of their `_meta`.
    pub(crate) fn of_meta<'a>(&self, meta: &'a RawValue, key: Meta) -> Option<&'a RawValue> {
        self.meta.get(meta, key as usize)
    }

    /// Whether every reader finds the same in the params, and in their `_meta` if there is one.
    pub(crate) fn is_plain(&self) -> [bool; 2] {
        [self.members.is_plain(), self.meta.is_plain()]
    }
}

// === impl Params ===

impl Params {
    /// Params that were looked through already.
    pub(super) fn looked_through(raw: Box<RawValue>, looked: Looked) -> Self {
        Self(Arc::new(Inner { raw, looked }))
    }

    /// They, and what was found in them.
    pub(super) fn looked(&self) -> (&RawValue, &Looked) {
        (&self.0.raw, &self.0.looked)
    }

    /// A copy of them, to be kept by itself.
    pub(crate) fn copied(&self) -> Arc<RawValue> {
        self.0.raw.clone().into()
    }

    pub(crate) fn member(&self, member: Member) -> Option<&RawValue> {
        self.0.looked.member(&self.0.raw, member)
    }

    pub(crate) fn has(&self, member: Member) -> bool {
        self.0.looked.members.has(member as usize)
    }

    /// Whether every reader finds the same members.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.looked.members.is_plain()
    }

    /// A member that must be a string.
    ///
    /// # Errors
    /// That it is missing, or no string.
    pub(crate) fn text(&self, member: Member) -> Result<Cow<'_, str>, RpcError> {
        let text = self.0.looked.members.text(&self.0.raw, member as usize).and_then(splice::said);
        text.ok_or_else(|| forward::no_text(MEMBERS.get(member as usize).copied().unwrap_or_default()))
    }

    pub(crate) fn meta(&self) -> Option<&RawValue> {
        self.member(Member::Meta)
    }

    pub(crate) fn says(&self, key: Meta) -> bool {
        self.0.looked.meta.has(key as usize)
    }

    pub(crate) fn said(&self, key: Meta) -> Option<&RawValue> {
        // Looked for first: nearly none is there.
        if self.says(key) { self.0.looked.of_meta(self.meta()?, key) } else { None }
    }

    /// Whether `_meta` holds nothing but what is between a client and us.
    pub(crate) fn is_all_hop(&self) -> bool {
        self.0.looked.meta.are_all(0..HOP)
    }

    /// Whether `_meta` holds anything that is between a client and us.
    pub(crate) fn has_hop(&self) -> bool {
        (0..HOP).any(|key| self.0.looked.meta.has(key))
    }

    /// The params with other members, each of which must be JSON. `None` if they are no object.
    pub(crate) fn with<const M: usize>(&self, set: [(Member, &str); M]) -> Option<Box<RawValue>> {
        let Inner { raw, looked } = &*self.0;
        let here = looked.members.with(raw, set.map(|(member, value)| (member as usize, value)));
        here.or_else(|| {
            // A key that stands twice, or is spelled otherwise, is rare enough to go over them once for each.
            set.into_iter().try_fold(raw.clone(), |params, (member, value)| {
                let value: &RawValue = serde_json::from_str(value).ok()?;
                splice::with_field(&params, MEMBERS.get(member as usize)?, value)
            })
        })
    }
}

impl From<Box<RawValue>> for Params {
    fn from(raw: Box<RawValue>) -> Self {
        let looked = Looked::at(&raw);
        Self::looked_through(raw, looked)
    }
}

impl Deref for Params {
    type Target = RawValue;

    fn deref(&self) -> &RawValue {
        &self.0.raw
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use wharf_core::trace_context;

    use super::{HOP, MEMBERS, META, Member, Meta, Params};

    fn params(json: &str) -> Params {
        RawValue::from_string(json.to_owned()).unwrap().into()
    }

    #[test]
    fn the_names_stand_in_the_order_of_their_numbers() {
        let last = [MEMBERS[Member::Task as usize], META[Meta::Baggage as usize]];
        assert_eq!(last, ["task", trace_context::KEYS[2]]);
        for (member, name) in [(Member::Name, "name"), (Member::InputResponses, "inputResponses")] {
            assert_eq!(MEMBERS[member as usize], name);
        }
        assert_eq!(META[Meta::ProgressToken as usize], "progressToken");
        assert_eq!(META[Meta::Capabilities as usize], "io.modelcontextprotocol/clientCapabilities");
        assert_eq!(HOP, Meta::ProgressToken as usize, "what follows goes on in our words");
    }

    #[test]
    fn members_are_found_where_they_stand_and_nowhere_else() {
        let found = params(r#"{"name":"t","arguments":{"uri":1},"_meta":{"progressToken":7}}"#);
        assert_eq!(found.text(Member::Name).unwrap(), "t");
        assert!(!found.has(Member::Uri) && found.member(Member::Uri).is_none());
        assert_eq!(found.said(Meta::ProgressToken).map(RawValue::get), Some("7"));
        assert!(!found.has_hop() && !found.is_all_hop());
        for none in ["[]", "null", r#"{"_meta":1}"#, r#"{"_meta":[{"progressToken":1}]}"#] {
            assert!(params(none).said(Meta::ProgressToken).is_none(), "{none}");
        }
        let error = params(r#"{"name":1}"#).text(Member::Name).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (-32602, "params.name must be a string"));
    }

    #[test]
    fn what_is_put_in_stands_where_the_old_one_stood() {
        for (given, expected) in [
            (r#"{ "name" : "t","_meta":{"a":1} }"#, r#"{ "name" : "n","_meta":{} }"#),
            (r#"{"_meta":{"a":1},"name":"t","x":1.0}"#, r#"{"_meta":{},"name":"n","x":1.0}"#),
            (r#"{"n\u0061me":"t","_meta":1}"#, r#"{"n\u0061me":"n","_meta":{}}"#),
            (r#"{"name":"t","name":"u","_meta":1}"#, r#"{"name":"n","name":"n","_meta":{}}"#),
        ] {
            assert_eq!(
                params(given).with([(Member::Meta, "{}"), (Member::Name, "\"n\"")]).unwrap().get(),
                expected
            );
        }
    }
}
