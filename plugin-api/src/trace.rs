//! What one hop tells the next of the trace that a call is part of. How it reads is the host's business.

/// A trace in the words of W3C Trace Context and Baggage, each well-formed and fit for a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// `traceparent`: the trace, and the host's own span as the parent of what the plugin does.
    pub parent: Option<String>,
    /// `tracestate`, as the caller gave it.
    pub state: Option<String>,
    /// `baggage`, as the caller gave it.
    pub baggage: Option<String>,
}

impl Trace {
    /// Each under its name, which is the same in `_meta` and as a header.
    #[must_use]
    pub fn pairs(&self) -> [(&'static str, Option<&str>); 3] {
        [
            ("traceparent", self.parent.as_deref()),
            ("tracestate", self.state.as_deref()),
            ("baggage", self.baggage.as_deref()),
        ]
    }
}
