//! The MCP request that a call becomes: raw pieces put together, nothing parsed.

use std::sync::Arc;

use memchr::memmem;
use serde_json::value::RawValue;
use wharf_core::{splice, trace_context};
use wharf_plugin_api::{Request, Trace};

use super::spec::{CallSpec, Payload};

/// Builds the request. Absent arguments stay absent (some servers tell them from `{}`). Where the caller said anything of a
/// trace, `trace` is what the plugin is told in its place.
pub(crate) fn build(
    spec: &CallSpec,
    upstream_tool: Option<&str>,
    trace: Option<&Trace>,
) -> Result<Request, serde_json::Error> {
    let params = match (&spec.payload, upstream_tool) {
        (Payload::Call { arguments, meta }, name) => {
            let name = name.or(spec.tool.as_deref()).unwrap_or_default();
            Some(splice::call_params(name, arguments.as_deref(), meta.as_deref())?.into())
        }
        (Payload::Params(Some(params)), Some(name)) if spec.tool.is_some() => Some(named(params, name)?),
        (Payload::Params(params) | Payload::Named(params), _) => params.clone(),
    };
    let params = match spec.trace {
        Some(_) => trace_context::stamped(params.as_deref(), trace).map(Into::into),
        None => params,
    };
    Ok(Request { method: spec.method.clone(), params })
}

/// The params with the tool's name at the plugin; the same bytes where that is the name they hold.
fn named(params: &Arc<RawValue>, name: &str) -> Result<Arc<RawValue>, serde_json::Error> {
    let name = serde_json::value::to_raw_value(name)?;
    // Told without parsing where it is another one, as on every face of several plugins.
    let may_be = memmem::find(params.get().as_bytes(), name.get().as_bytes()).is_some();
    // One that stands twice is changed at both places: the plugin could read the other.
    if may_be
        && let Some([Some(given)]) = splice::plain_fields(params, ["name"])
        && given.get() == name.get()
    {
        return Ok(Arc::clone(params));
    }
    Ok(splice::with_field(params, "name", &name).map_or_else(|| Arc::clone(params), Into::into))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::value::RawValue;
    use wharf_core::PluginId;
    use wharf_core::trace_context::TraceContext;
    use wharf_plugin_api::Caller;

    use super::build;
    use crate::route::{CallSpec, Payload};

    fn raw(json: &str) -> Arc<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap().into()
    }

    fn spec() -> CallSpec {
        CallSpec::tool(PluginId::new("p").unwrap(), "offered", None, Caller::new("test"))
    }

    #[test]
    fn params_of_a_client_keep_every_byte_but_the_name() {
        let sent = r#"{ "x":1.0, "name" : "offered" ,"arguments":{"b":[ 1e2 ]},"task":{"ttl":5}}"#;
        let spec = CallSpec { payload: Payload::Params(Some(raw(sent))), ..spec() };
        let built = build(&spec, Some("own"), None).unwrap().params.unwrap();
        assert_eq!(built.get(), sent.replace("offered", "own"));
        let same = build(&spec, Some("offered"), None).unwrap().params.unwrap();
        assert_eq!(same.get(), sent);
        let twice = raw(r#"{"name":"other","name":"own"}"#);
        let spec = CallSpec { payload: Payload::Params(Some(twice)), ..spec };
        let built = build(&spec, Some("own"), None).unwrap().params.unwrap();
        assert_eq!(built.get(), r#"{"name":"own","name":"own"}"#, "a plugin may read either");
    }

    #[test]
    fn a_trace_stands_in_place_of_what_the_caller_said_of_one() {
        let parent = "00-11111111111111111111111111111111-2222222222222222-01";
        let meta = raw(&format!(r#"{{"k":1.0,"traceparent":"{parent}","tracestate":5}}"#));
        let heard = TraceContext::of_meta(&meta).unwrap();
        let payload = Payload::Call { arguments: None, meta: Some(meta) };
        let spec = CallSpec { payload, trace: Some(Box::new(heard.clone())), ..spec() };
        let told = build(&spec, Some("own"), heard.told().as_ref()).unwrap().params.unwrap();
        assert_eq!(told.get(), format!(r#"{{"name":"own","_meta":{{"k":1.0,"traceparent":"{parent}"}}}}"#));
        let bare = build(&spec, Some("own"), None).unwrap().params.unwrap();
        assert_eq!(bare.get(), r#"{"name":"own","_meta":{"k":1.0}}"#, "what is malformed goes no further");
    }

    #[test]
    fn absent_arguments_stay_absent() {
        let built = build(&spec(), Some("own"), None).unwrap().params.unwrap();
        assert_eq!(built.get(), r#"{"name":"own"}"#);
    }
}
