//! The running host: its journal, and of each plugin its state, manifest, tools, and how calls spread.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use wharf_core::manifest::Manifest;

use super::canary::{self, Tool};
use super::report::Report;
use super::{Args, Info, spread};
use crate::cli::client::Client;
use crate::cli::exit::Complaint;
use crate::cli::ps::{Instance, Plugin};
use crate::manifest::{Context, check_file};

#[derive(Deserialize)]
struct Plugins {
    plugins: Vec<Plugin>,
}

#[derive(Deserialize)]
struct Tools {
    tools: Vec<Tool>,
}

pub(super) async fn examine(
    args: &Args,
    host: &Client,
    info: &Info,
    here: bool,
    report: &mut Report,
) -> Result<(), Complaint> {
    match info.journal.state.as_str() {
        "ok" => report.ok("journal", "-", "what calls do is written down"),
        state => report.failed(
            "journal",
            "-",
            format!("{state}: {}", info.journal.detail.as_deref().unwrap_or("-")),
        ),
    }
    let Plugins { plugins } = host.get(host.path(&["api", "v1", "plugins"])).await?;
    let mut url = host.path(&["api", "v1", "tools"]);
    url.query_pairs_mut().append_pair("detail", "full");
    let Tools { tools } = host.get(url).await?;
    let mut by_plugin: BTreeMap<String, Vec<Tool>> = BTreeMap::new();
    for tool in tools {
        by_plugin.entry(tool.plugin.clone()).or_default().push(tool);
    }
    for plugin in &plugins {
        let manifest = here.then(|| manifest_of(plugin)).flatten();
        let tools = by_plugin.remove(&plugin.id).unwrap_or_default();
        one(args, host, plugin, manifest.as_ref(), &tools, report).await;
    }
    Ok(())
}

async fn one(
    args: &Args,
    host: &Client,
    plugin: &Plugin,
    manifest: Option<&Manifest>,
    tools: &[Tool],
    report: &mut Report,
) {
    let id = plugin.id.as_str();
    if !connection(plugin, report) {
        return;
    }
    health(plugin, report);
    if tools.len() != plugin.tools {
        report.failed("tools", id, format!("{} are counted and {} are listed", plugin.tools, tools.len()));
    }
    let canary = manifest.and_then(|manifest| manifest.health.canary.as_ref());
    let mut call = None;
    for tool in tools {
        let made = canary::examine(tool, canary, host, args.timeout, report).await;
        call = call.or(made);
    }
    let mine = |instance: &&Instance| instance.session.is_none() && instance.state == "ready";
    let newest = plugin.instances.iter().filter_map(|instance| instance.revision).max();
    let ready: Vec<&Instance> =
        plugin.instances.iter().filter(mine).filter(|instance| instance.revision == newest).collect();
    let standby = ready.iter().filter(|instance| instance.role.as_deref() == Some("standby")).count();
    if ready.len() > 1 {
        let about = (id, ready.len(), standby);
        spread::examine(manifest, about, call.as_ref(), (host, args.timeout), report).await;
    }
}

/// Whether it can be called.
fn connection(plugin: &Plugin, report: &mut Report) -> bool {
    let id = plugin.id.as_str();
    let cause = plugin.cause.as_ref();
    let why = cause.map(|cause| format!(": {}: {}", cause.code, cause.detail)).unwrap_or_default();
    match plugin.state.as_str() {
        "ready" => {
            let spoken = [&plugin.kind, &plugin.dialect, &plugin.protocol_version];
            let spoken: Vec<&str> = spoken.into_iter().flatten().map(String::as_str).collect();
            report.ok("connection", id, format!("ready, {}", spoken.join(", ")));
        }
        "degraded" => report.warning("connection", id, format!("degraded{why}")),
        state @ ("disabled" | "stopped") => {
            report.skipped("connection", id, format!("it is {state}, and its tools are not called"));
            return false;
        }
        state => {
            report.failed("connection", id, format!("{state}{why}"));
            report.remedy(cause.map(|cause| cause.remedy.as_str()));
            return false;
        }
    }
    true
}

/// Its manifest, and each instance: whether calls are led to it, and those that would take over are there.
fn health(plugin: &Plugin, report: &mut Report) {
    let id = plugin.id.as_str();
    for problem in &plugin.manifest.problems {
        let line = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
        let detail = format!("{}{line}: {}", plugin.manifest.path, problem.message);
        if problem.severity == "error" {
            report.failed("manifest", id, detail);
        } else {
            report.warning("manifest", id, detail);
        }
        report.remedy(problem.help.as_deref());
    }
    for instance in &plugin.instances {
        let subject = format!("{id}#{}", instance.n);
        let open = instance.breaker.as_ref().filter(|breaker| breaker.state != "closed");
        match (instance.state.as_str(), open) {
            ("ready", None) if plugin.instances.len() == 1 => {}
            ("ready", None) => {
                report.ok(
                    "instance",
                    &subject,
                    format!("ready, {}", instance.role.as_deref().unwrap_or("active")),
                );
            }
            ("ready" | "degraded", Some(breaker)) => {
                let cause = breaker.cause.as_deref().unwrap_or("no cause is told");
                report.failed(
                    "instance",
                    &subject,
                    format!("no calls are led to it ({}): {cause}", breaker.state),
                );
            }
            ("stopped" | "stopping" | "draining", _) => {
                report.skipped("instance", &subject, format!("it is {}", instance.state));
            }
            (state, _) => report.failed("instance", &subject, format!("{state}: it would not take over")),
        }
    }
}

/// The manifest as it stands on this machine.
fn manifest_of(plugin: &Plugin) -> Option<Manifest> {
    let path = Path::new(&plugin.manifest.path);
    let context = Context::of_process(path.parent()?).ok()?;
    let report = check_file(path, &context);
    report.plugins.into_iter().find(|found| found.id.as_str() == plugin.id)?.manifest
}
