//! The rules that no schema can say: what goes together, what would have no effect.

use std::collections::BTreeMap;

use wharf_core::manifest::file::PortField;
use wharf_core::manifest::{Dialect, PluginFile, Probe, Span, Start, globs};

use super::findings::Findings;
use super::{Subject, env_names};
use crate::manifest::tree::escape;

/// The longest step of an end: after two of these the tree is killed.
const STOP_MOST: Span = Span::secs(60);

/// Checks what does not depend on the values of variables.
pub(super) fn check(file: &PluginFile, subject: &Subject<'_>, findings: &mut Findings<'_>) {
    kind(findings);
    targets(file, findings);
    dialect(file, findings);
    port(file, findings);
    namespace(file, findings);
    tools(file, findings);
    times(file, findings);
    stop(file, findings);
    idle_stop(file, findings);
    env_names::check(file, subject, findings);
}

/// Keys that would have no effect beside the others.
fn kind(findings: &mut Findings<'_>) {
    let [command, url, library] = ["/command", "/url", "/library"].map(|key| findings.wrote(key));
    if library {
        for key in ["command", "url", "args", "dialect", "headers", "auth", "targets"] {
            without_effect(findings, key, "with `library`: the host serves the library itself, on stdio");
        }
    } else if command {
        for key in ["headers", "auth", "targets"] {
            without_effect(findings, key, "with `command`: it is for remote servers");
        }
    } else if url || findings.wrote("/targets") {
        for key in ["args", "cwd", "env", "env_file", "port"] {
            without_effect(findings, key, "without `command`: nothing is launched for a remote server");
        }
    }
}

fn without_effect(findings: &mut Findings<'_>, key: &str, why: &str) {
    if findings.wrote(&format!("/{key}")) {
        findings.error_at_key("", key, format!("`{key}` has no effect {why}"));
    }
}

/// Several endpoints: each is an instance, and there is no other.
fn targets(file: &PluginFile, findings: &mut Findings<'_>) {
    if !findings.wrote("/targets") || findings.wrote("/command") || findings.wrote("/library") {
        return;
    }
    if findings.wrote("/url") {
        findings.error_at_key("", "targets", "`url` and `targets` exclude each other").help =
            Some("write each endpoint as one of `targets`".to_owned());
    } else if file.targets.is_empty() && !findings.told("/targets") {
        findings.error("/targets", "`targets` is empty").help =
            Some("write [[targets]] with a `url` for each endpoint".to_owned());
    }
    if file.replicas > 1 {
        findings.error("/replicas", "`replicas` has no effect with `targets`: each of them is one instance");
    }
    if file.standby > 0 {
        let message = "`standby` has no effect with `targets`: each of them is one instance";
        findings.error("/standby", message).help =
            Some("give those that stand by a higher `priority`".to_owned());
    }
}

fn dialect(file: &PluginFile, findings: &mut Findings<'_>) {
    let (command, url) = (findings.wrote("/command"), findings.wrote("/url"));
    if file.dialect == Some(Dialect::Stdio) && url {
        let message = "the dialect `stdio` has no url";
        findings.error("/dialect", message).help =
            Some("leave out `url`, or write the dialect that the server speaks there".to_owned());
    }
    let listens = url || (command && file.dialect.is_some_and(|dialect| dialect != Dialect::Stdio));
    if !listens && matches!(file.health.probe, Probe::Http(_) | Probe::Tcp) {
        let message = "this probe needs a port, but the plugin speaks on stdin and stdout";
        findings.error("/health/probe", message).help =
            Some("use \"mcp\", or give the plugin a `url`".to_owned());
    }
}

fn port(file: &PluginFile, findings: &mut Findings<'_>) {
    let Some(PortField::Number(port)) = file.port else { return };
    let instances = file.replicas + file.standby;
    if u32::from(port) + instances.saturating_sub(1) > u32::from(u16::MAX) {
        let message = format!("{instances} replicas need the ports from {port} on, but they end at 65535");
        findings.error("/port", message).help = Some("choose a lower port, or \"auto\"".to_owned());
    }
}

fn namespace(file: &PluginFile, findings: &mut Findings<'_>) {
    let Some(name) = &file.namespace else { return };
    if name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        let help = "at most 64 letters, digits, `_` and `-`";
        findings.error("/namespace", "`namespace` is no part of a tool's name").help = Some(help.to_owned());
    }
}

fn tools(file: &PluginFile, findings: &mut Findings<'_>) {
    for (key, patterns) in [("include", &file.tools.include), ("exclude", &file.tools.exclude)] {
        for (n, pattern) in patterns.iter().enumerate() {
            if let Some(why) = globs::problem_of(pattern) {
                findings.error(&format!("/tools/{key}/{n}"), format!("this is no pattern: {why}"));
            }
        }
    }
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for (old, new) in &file.tools.rename {
        let pointer = format!("/tools/rename/{}", escape(old));
        let legal = new.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b));
        if new.is_empty() || new.len() > 128 || !legal {
            findings.error(&pointer, "a tool's name is 1 to 128 letters, digits, `_`, `-`, `.` and `/`");
        } else if let Some(other) = taken.insert(new, old) {
            findings.error(&pointer, format!("`{other}` is renamed to `{new}` as well"));
        }
    }
}

fn times(file: &PluginFile, findings: &mut Findings<'_>) {
    for (pointer, span) in [
        ("/health/interval", file.health.interval),
        ("/health/timeout", file.health.timeout),
        ("/health/start_timeout", file.health.start_timeout),
        ("/health/prepare_timeout", file.health.prepare_timeout),
        ("/limits/call_timeout", file.limits.call_timeout),
        ("/limits/max_timeout", file.limits.max_timeout),
        ("/restart/decay", file.restart.decay),
    ] {
        if span == Span::secs(0) {
            findings
                .error(pointer, format!("`{}` must be longer than nothing", super::shape::dotted(pointer)));
        }
    }
    if file.limits.result.0 == 0 {
        findings.error("/limits/result", "`limits.result` must be larger than nothing");
    }
    let mut order = |low: &str, small: Span, high: &str, large: Span| {
        if small > large {
            // At the one that was written; both defaults are in order.
            let (pointer, other) = if findings.wrote(high) { (high, low) } else { (low, high) };
            let message = format!(
                "`{}` ({small}) is longer than `{}` ({large})",
                super::shape::dotted(low),
                super::shape::dotted(high)
            );
            findings.error(pointer, message).help =
                Some(format!("change it, or write `{}` too", super::shape::dotted(other)));
        }
    };
    order("/limits/call_timeout", file.limits.call_timeout, "/limits/max_timeout", file.limits.max_timeout);
    order("/restart/initial", file.restart.initial, "/restart/max", file.restart.max);
    order("/retry/initial", file.retry.initial, "/retry/max_delay", file.retry.max_delay);
}

/// What is not lazy runs for as long as it is wanted.
fn idle_stop(file: &PluginFile, findings: &mut Findings<'_>) {
    let Some(span) = file.idle_stop else { return };
    if file.start != Start::Lazy {
        findings.error_at_key("", "idle_stop", "`idle_stop` has no effect without start = \"lazy\"").help =
            Some("write start = \"lazy\", or leave it out".to_owned());
    } else if span < Span::secs(1) {
        let message = format!("`idle_stop` ({span}) is shorter than 1s");
        findings.error("/idle_stop", message).help =
            Some("a plugin that is started for every single call costs more than it saves".to_owned());
    }
}

/// The end of a launch that failed is waited for, and so is the end of the host.
fn stop(file: &PluginFile, findings: &mut Findings<'_>) {
    for (pointer, span) in [("/stop/grace", file.stop.grace), ("/stop/term", file.stop.term)] {
        if span > STOP_MOST {
            let message = format!("`{}` ({span}) is longer than {STOP_MOST}", super::shape::dotted(pointer));
            findings.error(pointer, message).help =
                Some("give calls in flight their time with `stop.drain`".to_owned());
        }
    }
}
