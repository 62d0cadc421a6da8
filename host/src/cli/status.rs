//! `wharf status P`: all that is known of one plugin, for people.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use wharf_plugin_api::{Cause, ExitReport};

use super::client::{Client, parse};
use super::exit::Complaint;
use super::out;
use super::ps::{Breaker, Collision, Instance, LastExit, ListsChanged, Manifest, Plugin, Replicas, Upgrade};
use super::table::{age, span};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The plugin
    plugin: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, host: &Client) -> Result<(), Complaint> {
    let body = host.get_bytes(host.path(&["api", "v1", "plugins", &args.plugin])).await?;
    if args.json {
        return out::line(&String::from_utf8_lossy(&body));
    }
    let plugin: Plugin = parse(&body)?;
    out::data(&out::harmless(&describe(&plugin, SystemTime::now())))
}

fn describe(plugin: &Plugin, now: SystemTime) -> String {
    let mut text = format!("{}: {} for {}\n", plugin.id, plugin.state, age(&plugin.since, now));
    let mut row = |name: &str, value: &str| {
        writeln!(text, "  {name:<10}{value}").ok();
    };
    if let Some(description) = &plugin.description {
        row("about", description);
    }
    if let Some(cause) = &plugin.cause {
        row("cause", &format!("{}: {}", cause.code, cause.detail));
        row("remedy", &cause.remedy);
    }
    if let Some(at) = &plugin.next_attempt_at {
        row("next try", at);
    }
    let spoken = [&plugin.kind, &plugin.dialect, &plugin.protocol_version];
    let spoken: Vec<&str> = spoken.into_iter().flatten().map(String::as_str).collect();
    row("speaks", if spoken.is_empty() { "not known yet".to_owned() } else { spoken.join(", ") }.as_str());
    row("tools", &format!("{}, restarts {}", plugin.tools, plugin.restarts));
    if let Some(Replicas { manifest, wanted }) =
        plugin.replicas.as_ref().filter(|it| it.wanted != it.manifest)
    {
        row("replicas", &format!("{wanted}, as an operator asked; {manifest} in the manifest"));
    }
    if let Some(ListsChanged { at, after, text }) = &plugin.lists_changed {
        row("changed", &format!("{} ago, after a {after}: {text}", age(at, now)));
    }
    for (name, value) in plugin.upgrade.iter().flat_map(|upgrade| tell_upgrade(upgrade, now)) {
        row(name, &value);
    }
    for Collision { kind, key, plugins } in &plugin.collisions {
        let is_name = matches!(kind.as_str(), "tool" | "prompt");
        let remedy = if is_name { "offered for none; change a `namespace`" } else { "each has its own URI" };
        row("collision", &format!("{kind} {key} of {}: {remedy}", plugins.join(", ")));
    }
    if let Some(in_force) = &plugin.in_force {
        let planned = if in_force.planned { " (none of it runs; so it would be)" } else { "" };
        row("held by", &format!("{}{planned}", in_force.containment));
        let limits: Vec<_> = in_force.limits.iter().map(|(key, by)| format!("{key} by {by}")).collect();
        if !limits.is_empty() {
            row("limits", &limits.join(", "));
        }
        for (key, how) in &in_force.sandbox {
            row("sandbox", &format!("{key}: {how}"));
        }
        for gap in &in_force.gaps {
            row("gap", gap);
        }
    }
    row("manifest", &plugin.manifest.path);
    describe_problems(&mut text, &plugin.manifest);
    for instance in &plugin.instances {
        describe_instance(&mut text, instance, now);
    }
    text
}

fn describe_problems(text: &mut String, manifest: &Manifest) {
    for problem in &manifest.problems {
        let place = match (problem.line, problem.column) {
            (Some(line), Some(column)) => format!("{line}:{column}: "),
            (Some(line), None) => format!("{line}: "),
            (None, _) => String::new(),
        };
        writeln!(text, "    {place}{}", problem.message).ok();
        if let Some(help) = &problem.help {
            writeln!(text, "      help: {help}").ok();
        }
    }
}

/// How far the last upgrade has come, and why no further.
fn tell_upgrade(upgrade: &Upgrade, now: SystemTime) -> Vec<(&'static str, String)> {
    let Upgrade { state, from, to, since, until, cause, difference } = upgrade;
    let (from, to, ago) = (format!("revision {from}"), format!("revision {to}"), age(since, now));
    let end = until.as_ref().map(|until| format!(", until {until}")).unwrap_or_default();
    let told = match state.as_str() {
        "proving" => format!("{to} proves itself beside {from} since {ago}{end}"),
        "trial" => format!("{to} serves since {ago}, {from} is warm{end}"),
        "rolled_back" => format!("{to} was rolled back {ago} ago, {from} serves"),
        _ => format!("{to} took over from {from} {ago} ago"),
    };
    let mut rows = vec![("upgrade", told)];
    rows.extend(difference.iter().map(|difference| ("", format!("lists: {}", difference.text))));
    if let Some(cause) = cause {
        rows.push(("", format!("{}: {}", cause.code, cause.detail)));
        // Of what was asked for there is nothing to remedy.
        if cause.code != "requested" {
            rows.push(("", cause.remedy.clone()));
        }
    }
    rows
}

fn describe_instance(text: &mut String, instance: &Instance, now: SystemTime) {
    let Instance { n, generation, state, since, inflight, .. } = instance;
    write!(text, "  instance {n}#{generation}: {state} for {}, {inflight} in flight", age(since, now)).ok();
    if instance.role.as_deref() == Some("standby") {
        text.push_str(", stands by");
    }
    if let Some(pid) = instance.pid {
        write!(text, ", pid {pid}").ok();
    }
    if let Some(port) = instance.port {
        write!(text, ", port {port}").ok();
    }
    if let Some(bytes) = instance.rss_bytes {
        write!(text, ", {} MiB", bytes / (1024 * 1024)).ok();
    }
    if let Some(revision) = instance.revision.filter(|revision| *revision > 1) {
        write!(text, ", revision {revision}").ok();
    }
    if let Some(session) = &instance.session {
        write!(text, ", for session {session}").ok();
    }
    text.push('\n');
    if let Some(breaker) = instance.breaker.as_ref().filter(|breaker| breaker.state != "closed") {
        let Breaker { state, cause, next_try_at, opened } = breaker;
        let next = next_try_at.as_ref().map(|at| format!(", tried again at {at}")).unwrap_or_default();
        let cause = cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        writeln!(text, "    breaker {}, opened {opened} times{next}{cause}", state.replace('_', " ")).ok();
    }
    let Some(exit) = &instance.last_exit else { return };
    let said = if exit.stderr_tail.is_empty() { "it had said nothing" } else { "its last lines on stderr:" };
    let up = span(Duration::from_millis(exit.uptime_ms));
    writeln!(text, "    last exit: {}; after {up}, {} ago; {said}", how(exit), age(&exit.at, now)).ok();
    for line in &exit.stderr_tail {
        writeln!(text, "      {line}").ok();
    }
}

/// Why the host says that it ended, and how its process did.
fn how(exit: &LastExit) -> String {
    let LastExit { cause, code, signal, oom, note, .. } = exit;
    // For want of memory a signal ended it, and that one is told too.
    let report = ExitReport { code: *code, signal: *signal, note: note.clone(), ..ExitReport::default() };
    let want = if *oom { "for want of memory, " } else { "" };
    format!("{cause}: {want}{}", Cause::of_exit(report).detail)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;

    use super::{describe, how};
    use crate::cli::ps::tests::plugin;

    #[test]
    fn all_that_helps_is_told() {
        let text = describe(&plugin(), UNIX_EPOCH + Duration::from_secs(60));
        let expected = "db: backoff for 60s
  cause     exited: exited with code 1
more
  remedy    look
  speaks    external, stdio
  tools     2, restarts 3
  changed   30s ago, after a start: tools: -x (none is left)
  collision tool x__t of db, x: offered for none; change a `namespace`
  held by   pid_namespace
  limits    memory by cgroup v1, pids by pid_max (up to 811)
  sandbox   no_new_privs: on
  gap       limits.cpu = 0.5 is not held: no
  manifest  /p/db.toml
    3:1: bad
      help: better
  instance 0#4: backoff for 60s, 0 in flight, pid 10, 2 MiB
    last exit: exited: exited with code 1: its JavaScript heap was full; after 90s, 60s ago; its last lines on stderr:
      boom
  instance 1#1: backoff for 60s, 0 in flight, pid 11, for session 0a1b2c3d
";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_exit_is_told_with_its_cause_and_its_signal() {
        let told = |exit| how(&serde_json::from_value(exit).unwrap());
        let common = json!({"at": "x", "stderr_tail": [], "uptime_ms": 1});
        let exit = |more: serde_json::Value| {
            let mut exit = common.clone();
            exit.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            told(exit)
        };
        let killed = json!({"cause": "out_of_memory", "signal": 9, "oom": true, "note": "it held 9 MiB"});
        assert_eq!(
            exit(killed),
            "out_of_memory: for want of memory, ended by signal 9 (SIGKILL): it held 9 MiB"
        );
        let segv = json!({"cause": "signalled", "signal": 11});
        assert_eq!(exit(segv), "signalled: ended by signal 11 (SIGSEGV)");
        let lost = json!({"cause": "link_lost", "signal": 15});
        assert_eq!(exit(lost), "link_lost: ended by signal 15 (SIGTERM)");
        assert_eq!(exit(json!({})), "unknown: ended; its exit status is not known", "of an older host");
    }
}
