//! What a plugin may ask a client: which capability a request needs, and whether the client declared it.
//!
//! Declared is what the client's own `capabilities` hold; an empty object under a key is a yes. A request of a kind that is
//! not known here is asked of nobody.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::splice;

/// What a client must have declared to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// `roots`
    Roots,
    /// `sampling`
    Sampling,
    /// `sampling.tools`: sampling whose request carries tools.
    SamplingTools,
    /// `elicitation`, in the form mode, which an `elicitation` without modes means too.
    ElicitationForm,
    /// `elicitation.url`
    ElicitationUrl,
}

/// What a client declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    roots: bool,
    sampling: bool,
    sampling_tools: bool,
    elicitation_form: bool,
    elicitation_url: bool,
}

#[derive(Default, Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    roots: Option<&'a RawValue>,
    #[serde(borrow)]
    sampling: Option<&'a RawValue>,
    #[serde(borrow)]
    elicitation: Option<&'a RawValue>,
}

/// The capability that a request of a plugin needs; `None` if no client can be asked this.
#[must_use]
pub fn needed(method: &str, params: Option<&RawValue>) -> Option<Capability> {
    let has = |key| params.is_some_and(|params| splice::field(params, key).is_some());
    match method {
        "roots/list" => Some(Capability::Roots),
        "sampling/createMessage" if has("tools") => Some(Capability::SamplingTools),
        "sampling/createMessage" => Some(Capability::Sampling),
        "elicitation/create" => {
            let mode = params.and_then(|params| splice::field(params, "mode")).map(RawValue::get);
            Some(if mode == Some("\"url\"") {
                Capability::ElicitationUrl
            } else {
                Capability::ElicitationForm
            })
        }
        _ => None,
    }
}

// === impl Declared ===

impl Declared {
    /// Reads a `ClientCapabilities` object. What is no object declares nothing.
    #[must_use]
    pub fn of(capabilities: &RawValue) -> Self {
        let wire: Wire<'_> = serde_json::from_str(capabilities.get()).unwrap_or_default();
        let within = |object: Option<&RawValue>, key| object.is_some_and(|o| splice::field(o, key).is_some());
        let url = within(wire.elicitation, "url");
        Self {
            roots: wire.roots.is_some(),
            sampling: wire.sampling.is_some(),
            sampling_tools: within(wire.sampling, "tools"),
            // Before there were modes, the form was the only one.
            elicitation_form: wire.elicitation.is_some() && (within(wire.elicitation, "form") || !url),
            elicitation_url: url,
        }
    }

    /// Whether the client can be asked for this.
    #[must_use]
    pub fn has(self, capability: Capability) -> bool {
        match capability {
            Capability::Roots => self.roots,
            Capability::Sampling => self.sampling,
            Capability::SamplingTools => self.sampling_tools,
            Capability::ElicitationForm => self.elicitation_form,
            Capability::ElicitationUrl => self.elicitation_url,
        }
    }
}

// === impl Capability ===

impl Capability {
    /// Its name, as people know it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Roots => "roots",
            Self::Sampling => "sampling",
            Self::SamplingTools => "sampling.tools",
            Self::ElicitationForm => "elicitation.form",
            Self::ElicitationUrl => "elicitation.url",
        }
    }

    /// The `ClientCapabilities` object that would declare it (`data.requiredCapabilities` of error -32021).
    #[must_use]
    pub fn required(self) -> &'static str {
        match self {
            Self::Roots => r#"{"roots":{}}"#,
            Self::Sampling => r#"{"sampling":{}}"#,
            Self::SamplingTools => r#"{"sampling":{"tools":{}}}"#,
            Self::ElicitationForm => r#"{"elicitation":{"form":{}}}"#,
            Self::ElicitationUrl => r#"{"elicitation":{"url":{}}}"#,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::{Capability, Declared, needed};

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    const ALL: [Capability; 5] = [
        Capability::Roots,
        Capability::Sampling,
        Capability::SamplingTools,
        Capability::ElicitationForm,
        Capability::ElicitationUrl,
    ];

    #[test]
    fn what_would_declare_it_declares_it() {
        for capability in ALL {
            assert!(Declared::of(&raw(capability.required())).has(capability), "{capability:?}");
            assert!(!Declared::default().has(capability));
        }
    }

    #[test]
    fn an_elicitation_without_modes_is_the_form() {
        let plain = Declared::of(&raw(r#"{"elicitation":{}}"#));
        assert!(plain.has(Capability::ElicitationForm) && !plain.has(Capability::ElicitationUrl));
        let url = Declared::of(&raw(r#"{"elicitation":{"url":{}}}"#));
        assert!(!url.has(Capability::ElicitationForm) && url.has(Capability::ElicitationUrl));
        assert_eq!(Declared::of(&raw("[]")), Declared::default());
    }

    #[test]
    fn each_request_needs_its_own() {
        let table = [
            ("roots/list", "{}", Some(Capability::Roots)),
            ("sampling/createMessage", "{}", Some(Capability::Sampling)),
            ("sampling/createMessage", r#"{"tools":[]}"#, Some(Capability::SamplingTools)),
            ("elicitation/create", r#"{"mode":"form"}"#, Some(Capability::ElicitationForm)),
            ("elicitation/create", r#"{"message":"?"}"#, Some(Capability::ElicitationForm)),
            ("elicitation/create", r#"{"mode":"url"}"#, Some(Capability::ElicitationUrl)),
            ("vendor/ask", "{}", None),
        ];
        for (method, params, expected) in table {
            assert_eq!(needed(method, Some(&raw(params))), expected, "{method} {params}");
        }
        assert_eq!(needed("roots/list", None), Some(Capability::Roots));
    }
}
