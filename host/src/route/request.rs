//! The MCP request that a call becomes: raw pieces put together, nothing parsed.

use wharf_core::splice;
use wharf_plugin_api::Request;

use super::spec::CallSpec;

/// Builds the request. For `tools/call` the payload is the arguments, and the name is the tool's at the plugin; absent
/// arguments stay absent (some servers tell them from `{}`).
pub(crate) fn build(spec: &CallSpec, upstream_tool: Option<&str>) -> Result<Request, serde_json::Error> {
    let Some(name) = upstream_tool else {
        return Ok(Request { method: spec.method.clone(), params: spec.payload.clone() });
    };
    let params = splice::call_params(name, spec.payload.as_deref(), spec.meta.as_deref())?;
    Ok(Request { method: spec.method.clone(), params: Some(params.into()) })
}
