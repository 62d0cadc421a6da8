//! One checker for every source of manifests: the schema, then the rules that no schema can say, then the variables.
//! All that is wrong with a plugin is found in one go.

mod assemble;
mod env_names;
mod expand;
mod findings;
mod later;
mod remote;
mod rules;
mod sandbox;
mod shape;

use std::path::Path;

use serde_json::Value;
use wharf_core::PluginId;
use wharf_core::manifest::{Manifest, PluginFile};

use super::context::{Context, Defaults};
use super::problem::Problem;
pub(crate) use findings::{Document, Findings};

/// Who wrote a document, and for what.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) id: &'a PluginId,
    /// The file that the plugin stands in.
    pub(crate) path: &'a Path,
    /// The source that was written for other programs, if there is one: not all that we would run is taken from it.
    pub(crate) foreign: Option<usize>,
}

/// Checks a document. The manifest is there if no problem is an error.
pub(crate) fn check(
    document: &Document,
    subject: &Subject<'_>,
    ctx: &Context,
    defaults: &Defaults,
) -> (Option<Manifest>, Vec<Problem>) {
    let mut findings = Findings::new(document);
    let mut json = document.root.to_json();
    shape::check(&json, &mut findings);
    // What has the wrong shape is told; the rest is checked as if that were not there.
    let wrong: Vec<String> = findings.pointers().map(str::to_owned).collect();
    wrong.iter().for_each(|pointer| remove(&mut json, pointer));
    let manifest = match serde_json::from_value::<PluginFile>(json) {
        Ok(mut file) => {
            apply(defaults, &mut file, &findings);
            rules::check(&file, subject, &mut findings);
            assemble::assemble(file, subject, ctx, &mut findings)
        }
        Err(error) => {
            if !findings.any_error() {
                findings.error("", error.to_string());
            }
            None
        }
    };
    let manifest = manifest.filter(|_| !findings.any_error());
    (manifest, findings.into_problems())
}

fn remove(json: &mut Value, pointer: &str) {
    let Some((parent, step)) = pointer.rsplit_once('/') else { return };
    let step = step.replace("~1", "/").replace("~0", "~");
    match json.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.remove(&step);
        }
        // A list's other items keep their places, so that pointers stay right.
        Some(Value::Array(items)) => {
            if let Some(item) = step.parse::<usize>().ok().and_then(|n| items.get_mut(n)) {
                *item = Value::String(String::new());
            }
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {}
    }
}

/// The environment's defaults, where the manifest says nothing.
fn apply(defaults: &Defaults, file: &mut PluginFile, findings: &Findings<'_>) {
    let (call, max) = (findings.wrote("/limits/call_timeout"), findings.wrote("/limits/max_timeout"));
    if let Some(timeout) = defaults.call_timeout.filter(|_| !call) {
        if max {
            file.limits.call_timeout = timeout.min(file.limits.max_timeout);
        } else {
            file.limits.call_timeout = timeout;
            file.limits.max_timeout = file.limits.max_timeout.max(timeout);
        }
    }
    if let Some(retries) = defaults.max_retries.filter(|_| !findings.wrote("/retry/max")) {
        file.retry.max = retries;
    }
}

#[cfg(test)]
mod tests;
