//! Every bad input by its message and place; the same content in every syntax; reports as a user sees them.

mod bad_inputs;
mod credentials;
mod env_names;
mod sandbox;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use wharf_core::manifest::{Dialect, Kind, Late, Manifest, PortChoice, Span};

use crate::manifest::{Context, FileReport, Problem, ProblemCode, Severity, check_file};

fn context() -> Context {
    with_env(&[("TOKEN", "hush-hush"), ("EMPTY", ""), ("WHARF_INPUT_API_KEY", "hush-key")])
}

fn with_env(pairs: &[(&str, &str)]) -> Context {
    let pairs: Vec<(String, String)> =
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Context {
        env: Box::new(move |name| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone())),
        state_dir: PathBuf::from("/state"),
        wharf: PathBuf::from("/bin/wharf"),
    }
}

fn report_in(dir: &Path, name: &str, text: &str, ctx: &Context) -> FileReport {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    check_file(&path, ctx)
}

fn report(name: &str, text: &str) -> FileReport {
    report_in(tempfile::tempdir().unwrap().path(), name, text, &context())
}

fn problems(text: &str) -> Vec<Problem> {
    report("p.toml", text).problems().cloned().collect()
}

fn manifest(text: &str) -> Manifest {
    let mut report = report("p.toml", text);
    let found: Vec<String> = report.problems().map(ToString::to_string).collect();
    report.plugins.remove(0).manifest.unwrap_or_else(|| panic!("{found:?}"))
}

/// `line:column message`, with the help behind ` / `.
fn told(text: &str) -> Vec<String> {
    let show = |p: &Problem| {
        let place =
            p.place.as_ref().map_or("-".to_owned(), |place| format!("{}:{}", place.line, place.column));
        let help = p.help.as_ref().map(|help| format!(" / {help}")).unwrap_or_default();
        format!("{place} {}{help}", p.message)
    };
    problems(text).iter().map(show).collect()
}

fn command(manifest: &Manifest) -> &wharf_core::manifest::Command {
    match &manifest.kind {
        Kind::Command(command) => command,
        Kind::Remote(_) | Kind::Embedded(_) => panic!("no command"),
    }
}

#[test]
fn each_bad_input_is_told_with_its_place() {
    for (text, expected) in bad_inputs::BAD {
        assert_eq!(told(text), [*expected], "{text}");
    }
}

#[test]
fn keys_of_later_versions_are_told_as_such() {
    let found = told("command = 'x'\ndepends_on = []\n");
    assert!(
        found.len() == 1 && found.iter().all(|p| p.contains("is not supported by this version of wharf")),
        "{found:?}"
    );
    assert!(
        told("url = 'http://a/'\nauth = { oauth = {} }\n")
            .iter()
            .any(|p| p.contains("`auth.oauth` is not supported"))
    );
}

#[test]
fn keys_cannot_steer_a_terminal() {
    let found = told("command = 'x'\n\"a\\u001b[2J\\nb\" = 1\n");
    assert!(
        found.len() == 1 && found.iter().all(|p| p.contains("unknown key `a\u{fffd}[2J; b`")),
        "{found:?}"
    );
}

#[test]
fn a_flood_of_problems_is_cut_and_counted() {
    let keys: String = (0..150).map(|n| format!("bogus{n} = 1\n")).collect();
    let found = told(&format!("command = 'x'\n{keys}"));
    assert_eq!((found.len(), found.last().map(String::as_str)), (101, Some("- 50 more problems")));
}

#[test]
fn all_problems_of_a_file_come_together_in_its_order() {
    let found = told(
        "comand = 'x'\nargs = ['${NOPE}']\nnamespace = '?'\n[limits]\nqueue = 'x'\n[tools]\ninclude = ['[']\n",
    );
    let starts: Vec<&str> = found.iter().map(|p| p.split(' ').next().unwrap()).collect();
    assert_eq!(starts, ["-", "1:1", "3:13", "5:9", "7:12"], "{found:?}");
    let found = told("command = 'x'\nargs = ['${NOPE}']\nnamespace = '?'\nbogus = 1\n");
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn reports_look_like_this() {
    let dir = tempfile::tempdir().unwrap();
    let text = "command = \"x\"\nargs = [\"--token\", \"${API_TOKEN}\"]\n";
    let shown = report_in(dir.path(), "p.toml", text, &context()).render(false);
    let expected = "\
error: the variable API_TOKEN is not set
 --> p.toml:2:21
  |
2 | args = [\"--token\", \"${API_TOKEN}\"]
  |                     ^^^^^^^^^^^^
  |
  = help: set it in the host's environment or in `env_file`, or give a default: ${API_TOKEN:-default}

";
    assert_eq!(shown.replace(&format!("{}/", dir.path().display()), ""), expected);

    let text = "comand = \"x\"\n[env]\nLD_PRELOAD = \"/x\"\n";
    let shown = report_in(dir.path(), "p.toml", text, &context()).render(false);
    let expected = "\
error: nothing to run
--> p.toml
 = help: write `command` (a program), `url` or `targets` (a remote server) or `library` (a native plugin)

error: unknown key `comand`
 --> p.toml:1:1
  |
1 | comand = \"x\"
  | ^^^^^^
  |
  = help: did you mean `command`?

warning: `LD_PRELOAD` makes a program load other code
 --> p.toml:3:1
  |
3 | LD_PRELOAD = \"/x\"
  | ^^^^^^^^^^
  |
  = help: make sure that you know the code that it names

";
    assert_eq!(shown.replace(&format!("{}/", dir.path().display()), ""), expected);
    assert!(report_in(dir.path(), "p.toml", text, &context()).render(true).contains("\u{1b}["));
}

#[test]
fn variables_are_put_in_and_secrets_stay_hidden() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), "hush-file\n").unwrap();
    std::fs::write(dir.path().join(".env"), "FROM_FILE=hush-env\nBOTH=file\n").unwrap();
    let text = r#"command = "./bin/x"
args = ["${TOKEN}", "${env:TOKEN}", "${NOPE:-d}", "${EMPTY:-e}", "${file:key}", "${input:api-key}", "$TOKEN", "$${TOKEN}", "${data_dir}",
        "${plugin_dir}", "${wharf}", "${replica}", "${port}", "${FROM_FILE}"]
url = "http://127.0.0.1:${port}"
cwd = "sub"
env_file = ".env"
env = { BOTH = "manifest" }
"#;
    let mut report = report_in(dir.path(), "p.toml", text, &context());
    let manifest = report.plugins.remove(0).manifest.unwrap();
    let command = command(&manifest);
    let late = Late { port: Some(99), replica: 3 };
    let here = dir.path().display().to_string();
    let argv: Vec<String> = command.argv.iter().map(|arg| arg.render(late)).collect();
    let program = format!("{here}/./bin/x");
    assert_eq!(
        argv,
        [
            program.as_str(),
            "hush-hush",
            "hush-hush",
            "d",
            "e",
            "hush-file",
            "hush-key",
            "$TOKEN",
            "${TOKEN}",
            "/state/data/p",
            here.as_str(),
            "/bin/wharf",
            "3",
            "99",
            "hush-env",
        ]
    );
    assert_eq!(command.cwd, dir.path().join("sub"));
    assert_eq!((command.dialect, command.port), (Dialect::Http, Some(PortChoice::Auto)));
    assert_eq!(
        command.url.as_ref().unwrap().render(late),
        "http://127.0.0.1:99/mcp",
        "the dialect's own path"
    );
    let env: Vec<(String, String)> =
        command.env.iter().map(|(name, value)| (name.clone(), value.render(late))).collect();
    assert_eq!(env, [("BOTH".into(), "manifest".into()), ("FROM_FILE".into(), "hush-env".into())]);
    let shown = format!("{manifest:?}");
    assert!(!shown.contains("hush"), "{shown}");
    assert!(manifest.secrets().any(|secret| secret == "hush-file"));
}

#[test]
fn no_message_holds_a_value() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".env"), "hush-hush\nA='hush-hush\n").unwrap();
    let ctx = with_env(&[("A", "hush-hush\nhush-hush"), ("U", "hush-hush://x")]);
    for text in [
        "url = '${U}'\nheaders = { x = '${A}' }\nauth = { bearer = '${A}' }\n",
        "command = 'x'\nenv_file = '.env'\n",
        "url = 'http://${A}/'\n",
        "command = 'x'\nreplicas = 'hush-hush'\nenv = { A = ['hush-hush'] }\n[stop]\ngrace = 'hush-hush'\n",
    ] {
        let report = report_in(dir.path(), "p.toml", text, &ctx);
        assert!(report.has_errors(), "{text}");
        for problem in report.problems() {
            assert!(!format!("{problem} {:?}", problem.help).contains("hush"), "{problem}");
        }
    }
}

#[test]
fn missing_variables_have_a_code_of_their_own() {
    let found = problems("command = 'x'\nargs = ['${NOPE}']\nbogus = 1\n");
    let codes: Vec<(ProblemCode, &str)> = found.iter().map(|p| (p.code, p.pointer.as_str())).collect();
    assert_eq!(codes, [(ProblemCode::MissingVariable, "/args/0"), (ProblemCode::Invalid, "/bogus")]);
    assert_eq!(found.first().unwrap().cause_kind().as_str(), "missing_variable");
}

#[test]
fn kinds_and_dialects_come_out_right() {
    let m = manifest("command = 'x'\ndialect = 'sse-post'\n");
    assert_eq!(command(&m).url.as_ref().unwrap().to_string(), "http://127.0.0.1:${port}/sse");
    let m = manifest("command = 'x'\nurl = 'http://127.0.0.1:${port}/sse'\nport = 9000\nreplicas = 2\n");
    assert_eq!((command(&m).dialect, command(&m).port), (Dialect::Sse, Some(PortChoice::Fixed(9000))));
    let m = manifest("library = 'lib.so'\n");
    let argv: Vec<String> = command(&m).argv.iter().map(ToString::to_string).collect();
    assert_eq!(argv, ["/bin/wharf", "native", command(&m).library.as_ref().unwrap().to_str().unwrap()]);
    assert_eq!(m.kind_name(), "native");
    let m = manifest(
        "url = 'https://a.example/mcp'\nheaders = { X-Team = 'a' }\nauth = { bearer = '${TOKEN}' }\n",
    );
    let Kind::Remote(remote) = &m.kind else { panic!("launched") };
    assert_eq!(remote.targets[0].dialect, None);
    let headers: Vec<(String, String)> =
        remote.headers.iter().map(|(n, v)| (n.clone(), v.to_string())).collect();
    assert_eq!(headers, [("x-team".into(), "a".into()), ("authorization".into(), "Bearer ***".into())]);
    let literal =
        manifest("url = 'http://a/'\nheaders = { Authorization = 'Basic abc', X-Api-Key = 'def' }\n");
    assert_eq!(literal.secrets().collect::<Vec<_>>(), ["abc", "def"]);
}

#[test]
fn the_environments_defaults_count_where_the_manifest_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = with_env(&[("EXTERNAL_MCP_TIMEOUT", "900"), ("EXTERNAL_MCP_MAX_RETRIES", "7")]);
    let read = |text: &str| report_in(dir.path(), "p.toml", text, &ctx).plugins.remove(0).manifest.unwrap();
    let m = read("command = 'x'\n");
    assert_eq!(
        (m.limits.call_timeout, m.limits.max_timeout, m.retry.max),
        (Span::secs(900), Span::secs(900), 7)
    );
    let m = read("command = 'x'\n[limits]\nmax_timeout = '100s'\n[retry]\nmax = 1\n");
    assert_eq!(
        (m.limits.call_timeout, m.limits.max_timeout, m.retry.max),
        (Span::secs(100), Span::secs(100), 1)
    );
    let m = read("command = 'x'\n[limits]\ncall_timeout = '5s'\n");
    assert_eq!((m.limits.call_timeout, m.limits.max_timeout), (Span::secs(5), Span::secs(600)));
    let ctx = with_env(&[("EXTERNAL_MCP_TIMEOUT", "soon"), ("EXTERNAL_MCP_MAX_RETRIES", "99")]);
    let report = report_in(dir.path(), "p.toml", "command = 'x'\n", &ctx);
    assert_eq!(report.loose.iter().filter(|p| p.severity == Severity::Warning).count(), 2);
    assert_eq!(report.plugins.first().unwrap().manifest.as_ref().unwrap().retry.max, 2);
}

#[test]
fn env_files_are_told_by_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("e"), "A=1\nB\n").unwrap();
    let report = report_in(dir.path(), "p.toml", "command = 'x'\nenv_file = 'e'\n", &context());
    let message = report.problems().next().unwrap().message.clone();
    assert!(message.ends_with("/e:2: no `=`: write NAME=value"), "{message}");
    let report = report_in(dir.path(), "p.toml", "command = 'x'\nenv_file = 'none'\n", &context());
    assert!(report.problems().next().unwrap().message.ends_with("/none does not exist"));
}

#[test]
fn the_schema_and_the_reference_hold_every_key() {
    let schema = crate::manifest::schema();
    assert!(!schema.to_string().contains("null"), "nothing is written as null");
    let reference = crate::manifest::reference_markdown();
    for row in [
        "| `command` | string |  | The program to run: a path, or a name on the PATH. Never a shell string. |",
        "| `health.interval` | duration | `\"10s\"` | Time between probes. |",
        "| `balance` | `least_inflight`, `round_robin`, `sticky` | `\"least_inflight\"` | Which instance takes the next call. |",
        "| `limits.result` | size | `\"16MiB\"` | The largest message that the plugin may send. |",
        "| `replicas` | integer | `1` | How many instances run side by side. |",
        "| `tools.rename` | table of strings |  | Upstream name = offered name. |",
    ] {
        assert!(reference.contains(row), "{row}\n{reference}");
    }
}

const VALID: [(&str, &str); 5] = [
    (
        "p.toml",
        "command = 'x' # ä\nargs = ['${TOKEN}', '$${']\n[limits]\nqueue = 7\n[tools]\nrename = { a = 'b' }\n",
    ),
    (
        "p.yaml",
        "command: x # ä\nargs: ['${TOKEN}', &a '$${', *a]\nlimits:\n  queue: 7\ntools: {rename: {a: b}}\n",
    ),
    (
        "p.json",
        "{\"command\": \"x\", /* ä */ \"args\": [\"${TOKEN}\", \"\\u0041\"], \"limits\": {\"queue\": 7,},}",
    ),
    ("p.json", "{\"mcpServers\": {\"a\": {\"url\": \"http://ä/${TOKEN}\", \"type\": \"sse\", \"zz\": 1}}}"),
    (
        "p.yaml",
        "a: {url: http://a, priority: 1, timeout: 1.5, namespace: n}\nglobal_settings: {reconnect_delay: 5}\n",
    ),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_files_are_told_and_shown(which in 0_usize..5, at in 0_usize..120, cut in 0_usize..6, put in "[ -~\\n\\täß$\\{\\}\\[\\]\"']{0,4}") {
        let (name, text) = VALID[which];
        let mut chars: Vec<char> = text.chars().collect();
        let start = at.min(chars.len());
        let end = (start + cut).min(chars.len());
        chars.splice(start..end, put.chars());
        let damaged: String = chars.into_iter().collect();
        let report = report(name, &damaged);
        prop_assert!(report.has_errors() || report.plugins.iter().all(|plugin| plugin.manifest.is_some()));
        let shown = report.render(false);
        prop_assert!(report.problems().all(|problem| shown.contains(problem.message.trim_end())), "{}", shown);
        prop_assert!(!shown.contains("hush"), "{}", shown);
        for problem in report.problems() {
            let lines = u32::try_from(damaged.split('\n').count()).unwrap();
            prop_assert!(problem.place.as_ref().is_none_or(|place| (1..=lines).contains(&place.line)), "{problem}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_syntax_gives_the_same_manifest(
        args in prop::collection::vec("[ -~äß]{0,12}", 0..4), value in "[ -~]{0,12}", queue in 0_u32..1000, factor in 1_u32..5, required: bool,
    ) {
        let args: Vec<String> = args.iter().map(|arg| wharf_core::manifest::variables::escape(arg)).collect();
        let value = wharf_core::manifest::variables::escape(&value);
        let json = serde_json::json!({
            "command": "x", "args": args, "env": {"V": value}, "required": required,
            "limits": {"queue": queue}, "restart": {"factor": f64::from(factor)},
        });
        let toml = toml::to_string(&json).unwrap();
        // Flow YAML is JSON, but for the tags that tell the two readers apart.
        let yaml = format!("---\ncommand: x\nargs: {}\nenv: {}\nrequired: {required}\nlimits:\n  queue: {queue}\nrestart:\n  factor: {factor}\n",
            json["args"], json["env"]);
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            let mut manifest = report_in(dir.path(), name, text, &context()).plugins.remove(0).manifest.unwrap();
            manifest.path = PathBuf::new();
            manifest
        };
        let of_toml = read("p.toml", &toml);
        prop_assert_eq!(&of_toml, &read("p.json", &json.to_string()));
        prop_assert_eq!(&of_toml, &read("p.yaml", &yaml));
    }
}
