//! From what a user wrote to what the host launches: variables put in, paths made absolute, defaults filled in, and the
//! checks that need the values.

use std::path::{Path, PathBuf};

use wharf_core::manifest::file::PortField;
use wharf_core::manifest::template::Piece;
use wharf_core::manifest::{
    Command, Dialect, Isolation, Kind, Late, Manifest, PluginFile, PortChoice, Probe, Template,
};

use super::expand::Expander;
use super::findings::Findings;
use super::{Subject, env_names, remote, sandbox};
use crate::manifest::context::Context;
use crate::manifest::tree::escape;

/// A manifest, complete if nothing was found wrong.
pub(super) fn assemble(
    file: PluginFile,
    subject: &Subject<'_>,
    ctx: &Context,
    findings: &mut Findings<'_>,
) -> Option<Manifest> {
    let path = std::path::absolute(subject.path).ok()?;
    let plugin_dir = path.parent()?;
    let mut expander = Expander::new(ctx, plugin_dir, subject);
    if let Some(path) = &file.env_file {
        expander.read_env_file(path, findings);
        env_names::check_env_file(&expander, subject, findings);
    }
    let launched = findings.wrote("/command") || findings.wrote("/library");
    let kind = if launched {
        command(&file, ctx, &expander, findings)
    } else {
        remote::remote(&file, &expander, findings)
    };
    let sandbox = sandbox::checked(&file, &expander, findings);
    let namespace = file.namespace.unwrap_or_else(|| subject.id.as_str().to_owned());
    Some(Manifest {
        id: subject.id.clone(),
        path,
        description: file.description,
        kind: kind?,
        wrapper: None,
        required: file.required,
        enabled: file.enabled,
        start: file.start,
        idle_stop: file.idle_stop,
        namespace,
        groups: file.groups.into_iter().map(|group| group.0.into()).collect(),
        era: file.era,
        isolation: file.isolation,
        replicas: file.replicas,
        standby: file.standby,
        balance: file.balance,
        tools: file.tools,
        health: file.health,
        restart: file.restart,
        limits: file.limits,
        retry: file.retry,
        breaker: file.breaker,
        upgrade: file.upgrade,
        stop: file.stop,
        sandbox,
        audit: file.audit,
    })
}

fn command(
    file: &PluginFile,
    ctx: &Context,
    expander: &Expander<'_>,
    findings: &mut Findings<'_>,
) -> Option<Kind> {
    let library = file.library.as_ref().map(|text| {
        let path = expander.fixed("/library", text, findings);
        not_empty("/library", &path, findings);
        expander.plugin_dir.join(path)
    });
    let argv = match &library {
        Some(path) => {
            let worker = [ctx.wharf.as_path(), Path::new("native"), path];
            worker.map(|arg| Template::text(arg.to_string_lossy())).to_vec()
        }
        None => argv(file, expander, findings),
    };
    let cwd = file
        .cwd
        .as_ref()
        .map_or_else(PathBuf::new, |text| PathBuf::from(expander.fixed("/cwd", text, findings)));
    let env = env(file, expander, findings);
    let (dialect, url) = endpoint(file, expander, findings);
    let late = argv.iter().chain(env.iter().map(|(_, value)| value)).chain(&url);
    let uses_port = late.clone().any(Template::uses_port);
    let port = match file.port {
        Some(PortField::Number(port)) => PortChoice::Fixed(port),
        Some(PortField::Auto(_)) | None => PortChoice::Auto,
    };
    port_rules(file, uses_port, url.as_ref(), findings);
    let cwd = expander.plugin_dir.join(cwd).components().collect();
    Some(Kind::Command(Command { argv, cwd, env, dialect, url, port: uses_port.then_some(port), library }))
}

fn argv(file: &PluginFile, expander: &Expander<'_>, findings: &mut Findings<'_>) -> Vec<Template> {
    let mut argv = Vec::with_capacity(file.args.len() + 1);
    if let Some(text) = &file.command {
        let program = expander.template("/command", text, findings);
        let shown = program.render(Late::default());
        not_empty("/command", &shown, findings);
        no_nul("/command", &shown, findings);
        // A name is looked for on the PATH; a relative path means the manifest's folder, wherever the host was started.
        let relative = shown.contains('/') && !shown.starts_with('/');
        argv.push(if relative { prefixed(expander.plugin_dir, program) } else { program });
    }
    for (n, text) in file.args.iter().enumerate() {
        let pointer = format!("/args/{n}");
        let arg = expander.template(&pointer, text, findings);
        no_nul(&pointer, &arg.render(Late::default()), findings);
        argv.push(arg);
    }
    argv
}

fn prefixed(dir: &Path, program: Template) -> Template {
    let mut pieces = vec![Piece::Text(format!("{}/", dir.display()))];
    pieces.extend(program.into_pieces());
    Template::new(pieces)
}

/// `env_file` first, `env` over it, in order of name.
fn env(file: &PluginFile, expander: &Expander<'_>, findings: &mut Findings<'_>) -> Vec<(String, Template)> {
    let of_file = expander
        .env_file
        .iter()
        .map(|(name, value)| (name.clone(), Template::new(vec![Piece::Secret(value.clone())])));
    let mut env: std::collections::BTreeMap<String, Template> = of_file.collect();
    for (name, text) in &file.env {
        let pointer = format!("/env/{}", escape(name));
        let value = expander.template(&pointer, text, findings);
        no_nul(&pointer, &value.render(Late::default()), findings);
        env.insert(name.clone(), value);
    }
    env.into_iter().collect()
}

/// How a launched server speaks, and where it listens.
fn endpoint(
    file: &PluginFile,
    expander: &Expander<'_>,
    findings: &mut Findings<'_>,
) -> (Dialect, Option<Template>) {
    match (&file.url, file.dialect) {
        (None, None | Some(Dialect::Stdio)) => (Dialect::Stdio, None),
        (None, Some(dialect)) => {
            let start = Piece::Text("http://127.0.0.1:".to_owned());
            (
                dialect,
                Some(Template::new(vec![start, Piece::Port, Piece::Text(dialect.default_path().to_owned())])),
            )
        }
        (Some(text), dialect) => {
            let url = expander.template("/url", text, findings);
            let path = check_url("/url", &url, findings);
            http_probe(file, &url, findings);
            let guess = if path.as_deref().is_some_and(|path| path.ends_with("/sse")) {
                Dialect::Sse
            } else {
                Dialect::Http
            };
            let dialect = dialect.unwrap_or(guess);
            let bare = path.is_some_and(|path| path.is_empty());
            (dialect, Some(if bare { suffixed(url, dialect.default_path()) } else { url }))
        }
    }
}

fn suffixed(url: Template, path: &str) -> Template {
    let mut pieces = url.into_pieces();
    pieces.push(Piece::Text(path.to_owned()));
    Template::new(pieces)
}

fn port_rules(file: &PluginFile, uses_port: bool, url: Option<&Template>, findings: &mut Findings<'_>) {
    if uses_port && url.is_none() && !findings.wrote("/url") {
        let pointer = first_with_port(findings).unwrap_or_default();
        let help = "write where the server listens: url = \"http://127.0.0.1:${port}/mcp\"";
        findings.error(&pointer, "`${port}` is used, but nothing connects to it").help =
            Some(help.to_owned());
    }
    if file.port.is_some() && !uses_port {
        findings.error_at_key("", "port", "`port` has no effect: nothing uses `${port}`");
    }
    if file.replicas + file.standby > 1 && url.is_some_and(|url| !url.uses_port() && !url.uses_replica()) {
        let message = "all replicas would listen at the same address";
        findings.error("/url", message).help = Some("write `${port}` for the port".to_owned());
    }
    if file.isolation == Isolation::Session {
        port_of_sessions(file, url, findings);
    }
}

/// Each session has a process, which listens somewhere else.
fn port_of_sessions(file: &PluginFile, url: Option<&Template>, findings: &mut Findings<'_>) {
    if matches!(file.port, Some(PortField::Number(_))) {
        let message = "`port` is one port, but with isolation = \"session\" each session has a process";
        findings.error("/port", message).help = Some("write port = \"auto\"".to_owned());
    } else if url.is_some_and(|url| !url.uses_port() && !url.uses_replica()) {
        let message =
            "with isolation = \"session\" the processes of all sessions would listen at the same address";
        findings.error("/url", message).help = Some("write `${port}` for the port".to_owned());
    }
}

/// Where `${port}` is written first.
fn first_with_port(findings: &Findings<'_>) -> Option<String> {
    let root = &findings.document.root;
    let args = (0..root.get("args").map_or(0, |_| 1000)).map(|n| format!("/args/{n}"));
    let env = root
        .get("env")
        .and_then(|env| env.table())
        .into_iter()
        .flatten()
        .map(|e| format!("/env/{}", escape(&e.key)));
    std::iter::once("/command".to_owned()).chain(args).chain(env).find(|pointer| {
        root.at(pointer).and_then(|node| node.str()).is_some_and(|text| text.contains("${port}"))
    })
}

/// Checks a url as a launch would see it. Returns its path, empty if it has none.
pub(super) fn check_url(pointer: &str, url: &Template, findings: &mut Findings<'_>) -> Option<String> {
    let text = url.render(Late { port: Some(1), replica: 0 });
    if findings.told(pointer) {
        return None;
    }
    let Some((scheme, rest)) =
        text.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
    else {
        findings.error(pointer, "`url` must begin with http:// or https://");
        return None;
    };
    let uri = text.parse::<http::Uri>().ok();
    let Some(authority) =
        uri.as_ref().and_then(http::Uri::authority).filter(|authority| !authority.host().is_empty())
    else {
        findings.error(pointer, format!("`url` is not valid: write {scheme}://host:port/path"));
        return None;
    };
    if authority.as_str().contains('@') {
        findings.error(pointer, "`url` holds a user or password").help =
            Some("use `auth` or `headers`".to_owned());
    }
    let path = rest.find(['/', '?', '#']).and_then(|at| rest.get(at..)).unwrap_or_default();
    Some(path.split(['?', '#']).next().unwrap_or_default().to_owned())
}

/// A probe over HTTP is a bare exchange, without TLS.
pub(super) fn http_probe(file: &PluginFile, url: &Template, findings: &mut Findings<'_>) {
    let https = url.render(Late::default()).starts_with("https://");
    if https && matches!(file.health.probe, Probe::Http(_)) {
        let message = "this probe speaks plain HTTP, but `url` begins with https://";
        findings.error("/health/probe", message).help = Some("use \"mcp\" or \"tcp\"".to_owned());
    }
}

pub(super) fn not_empty(pointer: &str, text: &str, findings: &mut Findings<'_>) {
    // A missing variable leaves nothing too, but is told already.
    if text.is_empty() && !findings.told(pointer) {
        findings.error(pointer, format!("`{}` is empty", super::shape::dotted(pointer)));
    }
}

fn no_nul(pointer: &str, text: &str, findings: &mut Findings<'_>) {
    if text.contains('\0') {
        findings.error(pointer, format!("`{}` holds a NUL character", super::shape::dotted(pointer)));
    }
}
