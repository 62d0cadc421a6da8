//! A tool call that belongs to the proof (`health.canary`): a plugin that lists its tools and cannot do its work is not ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::timeout_at;
use wharf_core::manifest::Canary;
use wharf_core::splice;
use wharf_plugin_api::{Cause, CauseKind, Link, RawValue, Reply, Request, Scope};

use super::prove::{HostScope, Proof};

/// So long before the start's deadline the call is over: its silence has a cause of its own.
const BEFORE: Duration = Duration::from_millis(100);
/// Tools that are named where the one to call is none of them.
const NAMED: usize = 10;

/// Makes the call.
///
/// # Errors
/// If the plugin has no such tool, or does not answer well in time.
pub(super) async fn check(
    link: &dyn Link,
    proof: &Proof,
    canary: &Canary,
    deadline: Instant,
) -> Result<(), Cause> {
    let tool = &canary.tool;
    let failed =
        |what: String| Cause::new(CauseKind::CanaryFailed, format!("health.canary calls {tool:?}: {what}"));
    if !proof.tools.iter().any(|listed| listed.name == *tool) {
        let names: Vec<&str> = proof.tools.iter().map(|listed| listed.name.as_str()).take(NAMED).collect();
        let more = if proof.tools.len() > NAMED { ", .." } else { "" };
        let listed = if names.is_empty() { "none at all".to_owned() } else { names.join(", ") + more };
        return Err(failed(format!("the plugin lists no such tool; it lists {listed}")));
    }
    let params = json!({ "name": tool, "arguments": canary.args });
    let request = Request::new("tools/call", &params).map_err(|error| failed(error.to_string()))?;
    let deadline = deadline.checked_sub(BEFORE).unwrap_or(deadline);
    let scope: Arc<dyn Scope> = HostScope::until(deadline);
    match timeout_at(deadline.into(), link.request(request, scope)).await {
        Ok(Ok(Reply::Result(result))) => judge(&result).map_err(failed),
        Ok(Ok(Reply::Error(error))) => Err(failed(format!("it was answered with an error: {error}"))),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("no answer within the time for a start".to_owned())),
    }
}

fn judge(result: &RawValue) -> Result<(), String> {
    let is = |key: &str, value: &str| splice::field(result, key).is_some_and(|raw| raw.get() == value);
    if is("isError", "true") {
        let said = splice::field(result, "content").map_or("nothing", RawValue::get);
        return Err(format!("the tool failed and said {said}"));
    }
    if is("resultType", "\"input_required\"") {
        return Err("the tool asks for input, and nobody is there to give it".to_owned());
    }
    Ok(())
}
