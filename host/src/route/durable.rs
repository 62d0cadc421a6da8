//! Calls whose journal must survive the loss of power: who wants that, and the waits for it, before the first byte goes out and
//! before the answer goes back.

use std::sync::LazyLock;
use std::time::Duration;

use memchr::memmem::Finder;
use serde_json::value::RawValue;
use wharf_core::journal::{Entry, Settled};
use wharf_core::{Code, splice};
use wharf_plugin_api::Delivery;

use super::call::Call;
use super::failure::Failure;
use super::spec::{CallSpec, Payload};
use super::trace::CallTrace;

/// The key in `_meta` that asks for it.
pub(crate) const KEY: &str = "wharf/durable";
/// Each call is searched for it: to make the finder anew costs more than to use it.
static WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("durable"));

/// Whether a call is to be durable, by its spec or by its `_meta`.
///
/// # Errors
/// If `_meta` says neither true nor false.
pub(crate) fn is_wanted(spec: &CallSpec) -> Result<bool, Failure> {
    let said = match &spec.payload {
        Payload::Call { meta, .. } => meta.as_deref().and_then(|meta| splice::field(meta, KEY)),
        Payload::Params(params) | Payload::Named(params) => params.as_deref().and_then(of_params),
    };
    match said.map(RawValue::get) {
        None | Some("false") => Ok(spec.durable),
        Some("true") => Ok(true),
        Some(other) => {
            let shown: String = other.chars().take(40).collect();
            let detail = format!("_meta[{KEY:?}] is either true or false, not {shown}");
            Err(Failure {
                plugin: Some(spec.plugin.as_str().into()),
                ..Failure::new(Code::BadRequest, detail)
            })
        }
    }
}

fn of_params(params: &RawValue) -> Option<&RawValue> {
    // The way of nearly every call: one look, nothing parsed. The slash of the key may be escaped.
    WORD.find(params.get().as_bytes())?;
    splice::field(splice::field(params, "_meta")?, KEY)
}

impl Call {
    /// Writes down that the call is handed over, and waits until the disk has it.
    ///
    /// # Errors
    /// If it does not: then nothing was handed over.
    pub(super) async fn write_down(&self, trace: &CallTrace) -> Result<(), Failure> {
        let mut entry = Vec::with_capacity(128);
        trace.note(&mut entry);
        let journal = &self.to.routing.journal;
        journal.durably(&entry).await.map_err(|error| {
            let why = journal.view().detail.unwrap_or_else(|| error.to_string());
            let detail = format!("the call is marked durable, and nothing was done: {why}");
            Failure {
                delivery: Some(Delivery::Queued),
                retry_after: Some(Duration::from_secs(1)),
                ..self.failure(Code::NotDurable, detail)
            }
        })
    }

    /// Writes down how it ended. An answer is not kept from its caller where that fails: after a loss of power the call reads
    /// as unknown, which is the safe side.
    pub(super) async fn write_end(&self, settled: Settled) {
        let mut entry = Vec::with_capacity(64);
        Entry::Settled(settled).put(&mut entry);
        self.to.routing.journal.durably(&entry).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use wharf_core::{Code, PluginId};
    use wharf_plugin_api::Caller;

    use super::is_wanted;
    use crate::route::{CallSpec, Payload};

    fn said(params: &str) -> Result<bool, Code> {
        let params = RawValue::from_string(params.to_owned()).unwrap();
        let plugin = PluginId::new("p").unwrap();
        let spec = CallSpec::new(plugin, "tools/call", Some(params.into()), Caller::new("me"));
        is_wanted(&spec).map_err(|failure| failure.code)
    }

    #[test]
    fn who_wants_it_says_so_in_meta() {
        assert_eq!(said(r#"{"name":"t","_meta":{"wharf/durable":true}}"#), Ok(true));
        assert_eq!(said(r#"{"name":"t","_meta":{"wharf\/durable": true}}"#), Ok(true));
        assert_eq!(said(r#"{"name":"t","_meta":{"wharf/durable":false}}"#), Ok(false));
        assert_eq!(said(r#"{"name":"t","arguments":{"wharf/durable":true}}"#), Ok(false), "not ours");
        assert_eq!(said(r#"{"name":"t"}"#), Ok(false));
        assert_eq!(said(r#"{"_meta":{"wharf/durable":"yes"}}"#), Err(Code::BadRequest));
        assert_eq!(said(r#"{"_meta":{"wharf/durable":null}}"#), Err(Code::BadRequest));
    }

    #[test]
    fn and_over_rest_in_the_meta_of_the_call() {
        let meta = RawValue::from_string(r#"{"wharf/durable":true}"#.to_owned()).unwrap();
        let spec = CallSpec::tool(PluginId::new("p").unwrap(), "t", None, Caller::new("me"));
        assert!(!is_wanted(&spec).unwrap());
        let payload = Payload::Call { arguments: None, meta: Some(meta.into()) };
        let marked = CallSpec { payload, ..spec };
        assert!(is_wanted(&marked).unwrap());
        let of_header = CallSpec { durable: true, payload: Payload::Params(None), ..marked };
        assert!(is_wanted(&of_header).unwrap());
    }
}
