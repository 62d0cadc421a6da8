//! The trace that a request is part of, as its headers say it.

use std::borrow::Cow;

use http::HeaderMap;
use serde_json::value::RawValue;
use wharf_core::trace_context::{self, KEYS, TraceContext};

use super::heads::{Few, Heads};
use crate::mcp::Params;

/// What the headers say of a trace; nothing, of nearly every request, and then nothing was looked at but that.
#[derive(Clone, Debug)]
pub(super) struct Traced(Option<Box<TraceContext>>);

impl Traced {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self::heard(&Heads::of(headers))
    }

    /// Likewise, of headers that were looked through.
    pub(super) fn heard(heads: &Heads<'_>) -> Self {
        if !heads.has(Few::Traced) {
            return Self(None);
        }
        let headers = heads.all;
        let heard = TraceContext::of_headers(|name| joined(headers, name));
        Self((!heard.is_empty()).then(|| Box::new(heard)))
    }

    /// What a request says of its trace: `_meta` first, then the headers.
    pub(super) fn with(self, meta: Option<&RawValue>) -> Option<Box<TraceContext>> {
        let said = meta.and_then(TraceContext::of_meta);
        match (said, self.0) {
            (None, heard) => heard,
            (Some(said), heard) => Some(Box::new(said.or(heard.as_deref()))),
        }
    }

    /// The params of a message with what the headers say, where its `_meta` says nothing: from here on it is found there.
    pub(super) fn put(&self, params: &mut Option<Params>) {
        if let Some(trace) = self.0.as_ref().and_then(|heard| heard.told())
            && let Some(with) = trace_context::with_default(params.as_deref(), &trace)
        {
            *params = Some(with.into());
        }
    }
}

/// A header that may be a list stands in several lines, or in one. Of a parent there is one, or none can be told.
fn joined<'h>(headers: &'h HeaderMap, name: &str) -> Option<Cow<'h, str>> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?.to_str().ok()?;
    let mut text = Cow::Borrowed(first);
    for line in lines {
        if name == KEYS[0] {
            return None;
        }
        text = Cow::Owned(format!("{text},{}", line.to_str().ok()?));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use serde_json::value::RawValue;

    use super::Traced;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OTHER: &str = "00-11111111111111111111111111111111-2222222222222222-00";

    fn of(lines: &[(&'static str, &str)]) -> Traced {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        Traced::of(&headers)
    }

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn lists_may_stand_in_several_lines_and_a_parent_in_one() {
        let lines =
            [("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2"), ("baggage", "x=1")];
        let said = of(&lines).with(None).unwrap().told().unwrap();
        assert_eq!(said.parent.as_deref(), Some(PARENT));
        assert_eq!((said.state.as_deref(), said.baggage.as_deref()), (Some("a=1,b=2"), Some("x=1")));
        assert!(of(&[("traceparent", PARENT), ("traceparent", OTHER)]).with(None).is_none());
        assert!(of(&[("baggage", "x=1")]).with(None).is_some(), "each of them is seen by itself");
        assert!(of(&[("accept", "*/*")]).with(None).is_none());
        assert!(of(&[("traceparent", "00-bad")]).with(None).is_none());
    }

    #[test]
    fn what_the_body_says_goes_before_it() {
        let meta = raw(&format!(r#"{{"traceparent":"{PARENT}"}}"#));
        let headers = [("traceparent", OTHER), ("tracestate", "a=1"), ("baggage", "x=1")];
        let said = of(&headers).with(Some(&meta)).unwrap().told().unwrap();
        assert_eq!(said.parent.as_deref(), Some(PARENT));
        assert_eq!((said.state, said.baggage.as_deref()), (None, Some("x=1")));
        let broken = raw(r#"{"traceparent":"no"}"#);
        let said = of(&headers).with(Some(&broken)).unwrap().told().unwrap();
        assert_eq!((said.parent.as_deref(), said.state.as_deref()), (Some(OTHER), Some("a=1")));
        assert!(of(&[]).with(Some(&broken)).unwrap().is_empty(), "to be taken out");
        let mut params = Some(raw(r#"{"name":"t"}"#).into());
        of(&headers).put(&mut params);
        assert!(params.unwrap().get().contains(OTHER));
        let mut untouched = Some(raw(r#"{"name" : "t"}"#).into());
        of(&[]).put(&mut untouched);
        assert_eq!(untouched.unwrap().get(), r#"{"name" : "t"}"#);
    }
}
