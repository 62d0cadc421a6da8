use std::fs;

use wharf_core::manifest::{Dialect, Kind, Late, Manifest, Probe, Remote, Span};

use crate::manifest::{Context, FileReport, Problem, check_file};

/// The configuration of the document that the format is from: both of its pieces in one file.
const SEED: &str = r#"
server_name:
  url: "http://server:8000/mcp"
  transport: "streamable-http"
  priority: 1                    # Lower = higher priority
  namespace: "unique_namespace"   # Tool namespace isolation
  enabled: true
  health_check_interval: 30      # Seconds between health checks
  max_retries: 3                 # Max connection retries
  timeout: 10                    # Request timeout in seconds
  auth:                          # Optional authentication
    type: "bearer"
    token: "${ENV_VAR}"
plain:
  url: "http://server:8001/sse"
global_settings:
  default_timeout: 45
  max_concurrent_connections: 10
  health_check_enabled: true
  reconnect_delay: 5
  log_level: "INFO"
  metrics_enabled: true
  circuit_breaker:
    failure_threshold: 6
    recovery_timeout: 90
    half_open_max_calls: 3
"#;

fn read(text: &str) -> FileReport {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("multi_server_config.yaml");
    fs::write(&path, text).unwrap();
    let context = Context {
        env: Box::new(|name| (name == "ENV_VAR").then(|| "hush-hush".to_owned())),
        state_dir: "/state".into(),
        wharf: "/bin/wharf".into(),
    };
    check_file(&path, &context)
}

fn told(report: &FileReport) -> Vec<(&str, Option<u32>, &str)> {
    report
        .problems()
        .map(|p| (p.pointer.as_str(), p.place.as_ref().map(|at| at.line), p.message.as_str()))
        .collect()
}

fn manifest<'a>(report: &'a FileReport, id: &str) -> &'a Manifest {
    let plugin = report.plugins.iter().find(|plugin| plugin.id.as_str() == id).unwrap();
    plugin.manifest.as_ref().unwrap_or_else(|| panic!("{:?}", plugin.problems))
}

fn remote(manifest: &Manifest) -> &Remote {
    let Kind::Remote(remote) = &manifest.kind else { panic!("not remote") };
    remote
}

fn urls(manifest: &Manifest) -> Vec<String> {
    remote(manifest).targets.iter().map(|target| target.url.render(Late::default())).collect()
}

#[test]
fn every_key_of_the_seed_becomes_something() {
    let report = read(SEED);
    assert_eq!(told(&report), []);
    let m = manifest(&report, "unique_namespace");
    assert_eq!((m.namespace.as_str(), m.enabled, m.retry.max), ("unique_namespace", true, 3));
    assert_eq!(
        (m.limits.call_timeout, m.limits.max_timeout, m.limits.concurrency),
        (Span::secs(10), Span::secs(600), 10)
    );
    assert_eq!((m.health.interval, &m.health.probe), (Span::secs(30), &Probe::Mcp));
    assert_eq!((m.restart.initial, m.restart.max), (Span::secs(5), Span::secs(60)));
    let breaker = (m.breaker.consecutive, m.breaker.open, m.breaker.max_open, m.breaker.half_open);
    assert_eq!(breaker, (6, Span::secs(90), Span::secs(90), 3));
    let [target] = remote(m).targets.as_slice() else { panic!("{m:?}") };
    assert_eq!((target.priority, target.dialect), (1, Some(Dialect::Http)));
    assert_eq!(remote(m).headers[0].1.render(Late::default()), "Bearer hush-hush");
    let plain = manifest(&report, "plain");
    assert_eq!((plain.namespace.as_str(), plain.limits.call_timeout), ("plain", Span::secs(45)));
    assert!(!format!("{report:?}").contains("hush"), "a secret is shown");
}

#[test]
fn servers_of_one_namespace_are_targets_with_their_own_credentials() {
    let report = read(
        "first:\n  url: http://a/mcp\n  namespace: n\n  priority: 2\n  timeout: 7\n\
         second:\n  url: http://b/mcp\n  namespace: n\n  priority: 1\n  timeout: 9\n  auth: {type: bearer, token: '${ENV_VAR}'}\n\
         off:\n  url: http://c/mcp\n  namespace: n\n  enabled: false\n\
         other:\n  url: http://d/mcp\n  namespace: N2\n",
    );
    let m = manifest(&report, "n");
    assert_eq!(urls(m), ["http://a/mcp", "http://b/mcp"]);
    assert_eq!(m.limits.call_timeout, Span::secs(9), "that of the preferred one");
    let headers: Vec<usize> = remote(m).targets.iter().map(|target| target.headers.len()).collect();
    assert_eq!(
        (headers.as_slice(), remote(m).headers.len()),
        (&[0, 1][..], 0),
        "a token goes to its own server"
    );
    assert!(m.secrets().any(|secret| secret == "hush-hush"), "it is known as a secret");
    let warning = "a plugin has one of these: `timeout` of \"second\" counts, not that of \"first\"";
    assert_eq!(told(&report), [("/first", Some(1), warning)]);
    assert_eq!(urls(manifest(&report, "n2")), ["http://d/mcp"]);

    let off = read(
        "a: {url: http://a/mcp, namespace: n, enabled: false}\nb: {url: http://b/mcp, namespace: n, enabled: false}\n",
    );
    assert!(!manifest(&off, "n").enabled);
}

#[test]
fn a_missing_variable_takes_out_its_own_server_only() {
    let text =
        "a:\n  url: http://a/mcp\n  auth: {type: bearer, token: '${NOT_SET}'}\nb: {url: http://b/mcp}\n";
    let report = read(text);
    assert_eq!(urls(manifest(&report, "b")), ["http://b/mcp"]);
    assert!(report.plugins.iter().any(|plugin| plugin.id.as_str() == "a" && plugin.manifest.is_none()));

    let both = "a:\n  url: http://a/mcp\n  namespace: n\n  auth: {type: bearer, token: '${NOT_SET}'}\n\
                b: {url: http://b/mcp, namespace: n}\n";
    let report = read(both);
    assert_eq!(urls(manifest(&report, "n")), ["http://b/mcp"], "the other one serves");
    let problems: Vec<(bool, Option<u32>)> =
        report.problems().map(|p| (p.is_error(), p.place.as_ref().map(|at| at.line))).collect();
    assert_eq!(problems, [(true, Some(4)), (false, Some(1))], "{:?}", told(&report));
    assert!(report.has_errors(), "`wharf validate` tells it");
}

#[test]
fn what_cannot_be_mapped_is_told_at_its_place() {
    let report = read(
        "servers:\n  a:\n    url: http://a/mcp\n    transport: websocket\n  b:\n    url: http://b/mcp\n    auth: {type: basic, user: x}\n  \
         c:\n    url: http://c/mcp\n    max_retries: 50\n  d:\n    url: http://d/mcp\n    timeout: soon\n  e:\n    priority: 1\n  \
         f: {url: http://f/mcp, health_check_interval: -1}\n  g: {url: http://g/mcp, weight: 2}\nglobal_settings:\n  \
         default_timeout: long\n  log_level: LOUD\n  metrics_enabled: false\n  pool: 1\n  circuit_breaker: 5\nversion: 1\n",
    );
    assert_eq!(
        told(&report),
        [
            ("/version", Some(24), "keys of another program have no effect here: `version`"),
            (
                "/global_settings/default_timeout",
                Some(19),
                "`default_timeout` must be a number of seconds, at most 86400"
            ),
            (
                "/global_settings/log_level",
                Some(20),
                "`log_level` must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL"
            ),
            (
                "/global_settings/metrics_enabled",
                Some(21),
                "`metrics_enabled` has no effect: /metrics is always there, behind the token"
            ),
            ("/global_settings/pool", Some(22), "the key `pool` of another program has no effect here"),
            ("/global_settings/circuit_breaker", Some(23), "`circuit_breaker` must be a table"),
            ("/servers/a/transport", Some(4), "`dialect` must be one of `stdio`, `http`, `sse`, `sse-post`"),
            ("/servers/b/auth", Some(7), "`auth.type` must be `bearer` or `none`"),
            ("/servers/c/max_retries", Some(10), "`retry.max` must be at most 10"),
            ("/servers/d/timeout", Some(13), "`timeout` must be a number of seconds, at most 86400"),
            ("/servers/e", Some(14), "a server of this file must be a table with a `url`"),
            (
                "/servers/f/health_check_interval",
                Some(16),
                "`health_check_interval` must be a number of seconds, at most 86400"
            ),
            ("/servers/g/weight", Some(17), "the key `weight` of another program has no effect here"),
        ]
    );
    let runs: Vec<&str> = report
        .plugins
        .iter()
        .filter(|plugin| plugin.manifest.is_some())
        .map(|plugin| plugin.id.as_str())
        .collect();
    assert_eq!(runs, ["g"], "a warning stops nothing");
}

#[test]
fn switches_and_long_times_are_taken_as_they_are_meant() {
    let report = read(
        "a: {url: http://a/mcp, timeout: 900, x-wharf: {limits: {queue: 3}}}\nglobal_settings: {health_check_enabled: false, \
         reconnect_delay: 120, log_level: debug}\n",
    );
    let m = manifest(&report, "a");
    assert_eq!(
        (m.limits.call_timeout, m.limits.max_timeout, m.limits.queue),
        (Span::secs(900), Span::secs(900), 3)
    );
    assert_eq!(
        (&m.health.probe, m.restart.initial, m.restart.max),
        (&Probe::None, Span::secs(120), Span::secs(120))
    );
    let warnings: Vec<&Problem> = report.problems().collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(!warnings[0].is_error() && warnings[0].help.as_ref().unwrap().contains("LOG_LEVEL"));
}

#[test]
fn two_namespaces_with_one_id_are_told_and_an_empty_one_is_shared_by_nobody() {
    let report = read("a: {url: http://a/mcp, namespace: N}\nb: {url: http://b/mcp, namespace: n}\n");
    assert!(told(&report).iter().any(|(at, _, why)| *at == "/b" && why.contains("both become the id n")));
    let report = read("a: {url: http://a/mcp, namespace: ''}\nb: {url: http://b/mcp, namespace: ''}\n");
    assert_eq!(
        (manifest(&report, "a").namespace.as_str(), manifest(&report, "b").namespace.as_str()),
        ("", "")
    );
}

#[test]
fn a_server_named_as_a_namespace_is_of_it_in_either_order() {
    let named = "GitHub: {url: http://a/mcp}\n";
    let other = "b: {url: http://b/mcp, namespace: GitHub}\n";
    for (text, targets) in [
        (format!("{named}{other}"), ["http://a/mcp", "http://b/mcp"]),
        (format!("{other}{named}"), ["http://b/mcp", "http://a/mcp"]),
    ] {
        let report = read(&text);
        assert_eq!(told(&report), [], "{text}");
        assert_eq!(report.plugins.len(), 1, "{text}");
        let m = manifest(&report, "github");
        assert_eq!(
            (urls(m), m.namespace.as_str()),
            (targets.map(str::to_owned).to_vec(), "GitHub"),
            "{text}"
        );
    }
    // One that is wrong is left out, and one with an empty namespace shares its name with nobody.
    let wrong = "GitHub: {priority: 1}\n";
    let alone = "GitHub: {url: http://a/mcp, namespace: ''}\n";
    for text in [format!("{wrong}{other}"), format!("{other}{wrong}")] {
        let text = format!("servers:\n  {}", text.trim_end().replace('\n', "\n  "));
        let report = read(&text);
        assert_eq!(urls(manifest(&report, "github")), ["http://b/mcp"], "{text}");
        assert!(report.has_errors(), "{text}");
    }
    for text in [format!("{alone}{other}"), format!("{other}{alone}")] {
        let report = read(&text);
        assert!(told(&report).iter().any(|(_, _, why)| why.contains("both become the id github")), "{text}");
    }
}

#[test]
fn a_manifest_of_ours_is_none_of_these() {
    for text in
        ["env: {url: x}\nhealth: {interval: 5s}\n", "url: http://a/mcp\nheaders: {url: x}\n", "comand: x\n"]
    {
        let report = read(text);
        let ids: Vec<&str> = report.plugins.iter().map(|plugin| plugin.id.as_str()).collect();
        assert_eq!(ids, ["multi_server_config"], "{text}");
    }
}

#[test]
fn the_example_is_valid() {
    let text = include_str!("../../../../../examples/multi-server/multi_server_config.yaml");
    let report = read(&text.replace("WEATHER_API_TOKEN", "ENV_VAR"));
    assert_eq!(told(&report), []);
    assert_eq!(remote(manifest(&report, "weather")).targets.len(), 2);
}
