//! The MCP request that a call becomes: raw pieces put together, nothing parsed.

use std::sync::Arc;

use serde_json::value::RawValue;
use wharf_plugin_api::Request;

use super::spec::CallSpec;

/// Builds the request. For `tools/call` the payload is the arguments, and the name is the tool's at the plugin; absent
/// arguments stay absent (some servers tell them from `{}`).
pub(crate) fn build(spec: &CallSpec, upstream_tool: Option<&str>) -> Result<Request, serde_json::Error> {
    let Some(name) = upstream_tool else {
        return Ok(Request { method: spec.method.clone(), params: spec.payload.clone() });
    };
    let mut params = format!("{{\"name\":{}", serde_json::to_string(name)?);
    let fields = [("arguments", &spec.payload), ("_meta", &spec.meta)];
    for (key, raw) in fields.iter().filter_map(|(key, raw)| raw.as_ref().map(|raw| (key, raw))) {
        params.push_str(",\"");
        params.push_str(key);
        params.push_str("\":");
        params.push_str(raw.get());
    }
    params.push('}');
    let params: Arc<RawValue> = RawValue::from_string(params)?.into();
    Ok(Request { method: spec.method.clone(), params: Some(params) })
}
