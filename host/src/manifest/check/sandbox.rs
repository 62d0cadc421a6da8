//! `[sandbox]` and the limits of a process: paths made absolute, and what would have no effect.

use std::path::{Path, PathBuf};

use wharf_core::manifest::{PluginFile, Sandbox};

use super::expand::Expander;
use super::findings::Findings;

/// Limits that only a process of ours can have.
const OF_A_PROCESS: [&str; 6] = ["memory", "cpu", "pids", "open_files", "file_size", "log_rate"];

/// The sandbox that the host launches with.
pub(super) fn checked(file: &PluginFile, expander: &Expander<'_>, findings: &mut Findings<'_>) -> Sandbox {
    let launched = findings.wrote("/command") || findings.wrote("/library");
    if !launched {
        without_process(findings);
    }
    for (pointer, size) in
        [("/limits/memory", file.limits.memory), ("/limits/file_size", file.limits.file_size)]
    {
        if size.is_some_and(|size| size.0 == 0) {
            findings
                .error(pointer, format!("`{}` must be larger than nothing", super::shape::dotted(pointer)));
        }
    }
    let mut sandbox = file.sandbox.clone();
    if let Some(fs) = &mut sandbox.fs {
        paths("read", &mut fs.read, expander, findings);
        paths("write", &mut fs.write, expander, findings);
    }
    if sandbox.tcp.is_some() && sandbox.is_apart() {
        let message = "`tcp` has no effect beside this `net`: the plugin reaches no other machine";
        findings.error("/sandbox/tcp", message).help = Some("leave one of them out".to_owned());
    }
    sandbox
}

fn without_process(findings: &mut Findings<'_>) {
    let why = "without `command`: nothing is launched for a remote server";
    if findings.wrote("/sandbox") {
        findings.error_at_key("", "sandbox", format!("`sandbox` has no effect {why}"));
    }
    for key in OF_A_PROCESS {
        if findings.wrote(&format!("/limits/{key}")) {
            findings.error_at_key("/limits", key, format!("`limits.{key}` has no effect {why}"));
        }
    }
}

fn paths(key: &str, paths: &mut [PathBuf], expander: &Expander<'_>, findings: &mut Findings<'_>) {
    for (n, path) in paths.iter_mut().enumerate() {
        let pointer = format!("/sandbox/fs/{key}/{n}");
        // It was read from a text.
        let written = path.to_string_lossy().into_owned();
        if let Some((message, help)) = of_a_shell(&written) {
            findings.error(&pointer, message).help = Some(help);
            continue;
        }
        let text = expander.fixed(&pointer, &written, findings);
        if text.is_empty() || text.contains('\0') {
            if !findings.told(&pointer) {
                findings.error(&pointer, "this is no path: it is empty, or holds a NUL character");
            }
            continue;
        }
        *path = expander.plugin_dir.join(Path::new(&text)).components().collect();
    }
}

/// What a shell would put in here, and nobody else does.
fn of_a_shell(path: &str) -> Option<(&'static str, String)> {
    if let Some(rest) = path.strip_prefix('~') {
        let help = if rest.is_empty() || rest.starts_with('/') {
            format!("write \"${{HOME}}{rest}\"")
        } else {
            "write the path of that home".to_owned()
        };
        return Some(("`~` is not expanded here", help));
    }
    path.contains('*').then(|| {
        ("`*` is not expanded here", "name the folder: all that lies below it belongs to it".to_owned())
    })
}
