//! Manifests that are wrong in every way: each is told with its place and a remedy, and touches nobody else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::host::Setup;
use crate::support::{Manifest, TestHost, mock};

/// A host with a healthy plugin, into whose folder bad things are dropped.
struct Beside {
    host: TestHost,
    pid: u32,
}

impl Beside {
    async fn start() -> Self {
        Self::with(Setup::new()).await
    }

    async fn with(setup: Setup) -> Self {
        let host = setup.plugin("well", &mock()).start().await;
        let pid = host.pid_of("well").await;
        Self { host, pid }
    }

    /// Drops a manifest in, waits for the cause, and looks after the healthy plugin.
    async fn drop_in(&self, name: &str, text: impl AsRef<[u8]>, state: &str, cause: &str) -> Value {
        self.host.put_file(name, text);
        let id = name.split_once('.').expect("a name with an ending").0;
        let view = self.host.until_cause(id, cause).await;
        assert_eq!(view["state"], state, "{view}");
        assert_eq!(self.host.pid_of("well").await, self.pid, "the healthy plugin is not touched");
        self.host.call("well", "echo", json!({ "message": "well" })).await;
        self.host.try_call(id, "echo", json!({})).await.problem(503, "plugin_unavailable");
        view
    }

    /// Drops in a manifest that does not pass the checks; its problems.
    async fn misconfigured(&self, name: &str, text: impl AsRef<[u8]>) -> Vec<Value> {
        let view = self.drop_in(name, text, "misconfigured", "invalid_manifest").await;
        problems(&view)
    }
}

fn problems(view: &Value) -> Vec<Value> {
    let problems = view["manifest"]["problems"].as_array().cloned().unwrap_or_default();
    assert!(!problems.is_empty(), "no problem is told: {view}");
    problems
}

/// Whether a problem speaks of this, in its message or its help.
fn tells(problem: &Value, what: &str) -> bool {
    [&problem["message"], &problem["help"]]
        .iter()
        .any(|text| text.as_str().is_some_and(|text| text.contains(what)))
}

#[tokio::test]
async fn an_unknown_key_is_told_with_its_place_and_the_likely_one() {
    let beside = Beside::start().await;
    let problems = beside.misconfigured("typo.toml", "command = \"x\"\nreplica = 2\n").await;
    assert!(tells(&problems[0], "replica") && tells(&problems[0], "replicas"), "{problems:?}");
    assert_eq!((&problems[0]["line"], &problems[0]["column"]), (&json!(2), &json!(1)), "{problems:?}");
}

#[tokio::test]
async fn all_problems_of_a_file_are_told_at_once() {
    let beside = Beside::start().await;
    let text = "comand = \"x\"\nreplicas = \"many\"\n[limits]\ncall_timeout = \"soon\"\n";
    let problems = beside.misconfigured("thrice.toml", text).await;
    for what in ["comand", "replicas", "call_timeout"] {
        let told = |p: &Value| tells(p, what) || p["pointer"].as_str().is_some_and(|at| at.contains(what));
        assert!(problems.iter().any(told), "{what} is not told: {problems:#?}");
    }
}

#[tokio::test]
async fn a_wrong_type_is_told_with_its_place() {
    let beside = Beside::start().await;
    let problems = beside.misconfigured("type.toml", "command = \"x\"\nargs = \"not a list\"\n").await;
    assert_eq!(problems[0]["line"], 2, "{problems:?}");
    assert!(problems[0]["pointer"].as_str().is_some_and(|at| at.starts_with("/args")), "{problems:?}");
}

#[tokio::test]
async fn a_missing_variable_is_told_by_name_and_place() {
    let beside = Beside::start().await;
    let text = "command = \"x\"\n[env]\nKEY = \"${env:WHARF_E2E_NOBODY_SETS_THIS}\"\n";
    let view = beside.drop_in("unset.toml", text, "misconfigured", "missing_variable").await;
    let problems = problems(&view);
    assert!(tells(&problems[0], "WHARF_E2E_NOBODY_SETS_THIS"), "{problems:?}");
    assert_eq!(problems[0]["line"], 3, "{problems:?}");
}

#[tokio::test]
async fn two_files_for_one_id_are_told_by_name() {
    let beside = Beside::start().await;
    beside.host.put("twin", &mock());
    let pid = beside.host.pid_of("twin").await;
    beside.host.put_file("twin.yaml", "command: ${wharf}\nargs: [mock]\n");
    let view =
        beside.host.until("twin", "told twice", |view| view["manifest"]["problems"][0].is_object()).await;
    let problems = problems(&view);
    assert!(problems.iter().any(|p| tells(p, "twin.yaml") || tells(p, "twin.toml")), "{problems:?}");
    assert_eq!(beside.host.pid_of("twin").await, pid, "the running one stays");
    assert_eq!(beside.host.pid_of("well").await, beside.pid);
}

#[tokio::test]
async fn a_manifest_without_anything_to_run_is_told() {
    let beside = Beside::start().await;
    let problems = beside.misconfigured("idle.toml", "description = \"does nothing\"\n").await;
    for key in ["command", "url", "library"] {
        assert!(problems.iter().any(|p| tells(p, key)), "{key} is not told: {problems:?}");
    }
}

#[tokio::test]
async fn an_impossible_id_is_told() {
    let beside = Beside::start().await;
    beside.host.put_file("Not An Id.toml", "command = \"x\"\n");
    let mut events = crate::support::sse::Events::open(
        beside.host.request(reqwest::Method::GET, "/api/v1/events").header("last-event-id", "0"),
    )
    .await;
    let error = events.until("the file is told", |event| event.name == "manifest.error").await;
    assert!(error.data.contains("Not An Id"), "{error:?}");
    assert_eq!(beside.host.pid_of("well").await, beside.pid);
}

#[tokio::test]
async fn a_missing_program_is_told_by_name() {
    let beside = Beside::start().await;
    let text = Manifest::command("wharf-e2e-no-such-program").text(beside.host.mark());
    let view = beside.drop_in("absent.toml", text, "fatal", "not_found").await;
    assert!(view["cause"]["detail"].as_str().unwrap().contains("wharf-e2e-no-such-program"), "{view}");
}

#[tokio::test]
async fn a_file_that_may_not_be_executed_is_told_until_it_may() {
    let beside = Beside::start().await;
    let program = beside.host.scratch("program");
    fs::write(&program, "#!/bin/sh\nexec sleep 600\n").unwrap();
    let text = Manifest::command(&program).text(beside.host.mark());
    let view = beside.drop_in("plain.toml", text, "fatal", "not_executable").await;
    assert!(view["cause"]["detail"].as_str().unwrap().contains(program.to_str().unwrap()), "{view}");
    fs::write(&program, format!("#!/bin/sh\nexec {} mock\n", crate::support::WHARF)).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    beside.host.command("plain", "start").await;
    beside.host.until_state("plain", "ready").await;
}

#[tokio::test]
async fn a_missing_working_directory_is_told() {
    let beside = Beside::start().await;
    let text = mock().set("cwd", "no/such/folder").text(beside.host.mark());
    beside.host.put_file("homeless.toml", text);
    let view = beside.host.until_cause("homeless", "missing_file").await;
    assert!(view.to_string().contains("no/such/folder"), "{view}");
    assert_eq!(beside.host.pid_of("well").await, beside.pid);
}

#[tokio::test]
async fn a_huge_manifest_is_refused_by_its_size() {
    let beside = Beside::start().await;
    let mut text = String::from("command = \"x\"\n");
    while text.len() < 10 << 20 {
        text.push_str("# padding, padding, padding, padding, padding, padding, padding\n");
    }
    let problems = beside.misconfigured("huge.toml", text).await;
    assert!(
        ["size", "large", "big", "MiB", "bytes"].iter().any(|word| tells(&problems[0], word)),
        "{problems:?}"
    );
}

#[tokio::test]
async fn bytes_that_are_no_text_are_told() {
    let beside = Beside::start().await;
    beside
        .misconfigured("binary.toml", [b"command = \"".as_slice(), &[0xff, 0xfe, 0, 1], b"\"\n"].concat())
        .await;
}

#[tokio::test]
async fn a_manifest_can_be_wrong_from_the_start_and_be_put_right() {
    let beside = Beside::with(Setup::new().file("late.toml", "command = \n")).await;
    let view = beside.host.until_cause("late", "invalid_manifest").await;
    assert_eq!(problems(&view)[0]["line"], 1, "{view}");
    beside.host.put("late", &mock());
    beside.host.pid_of("late").await;
    assert_eq!(beside.host.plugin("late").await["manifest"]["problems"], json!([]));
}

#[tokio::test]
async fn a_file_whose_name_is_no_text_costs_nobody_anything() {
    use std::os::unix::ffi::OsStringExt;

    let host = TestHost::with([("well", mock())]).await;
    let pid = host.pid_of("well").await;
    let name = std::ffi::OsString::from_vec(b"odd-\xff.toml".to_vec());
    fs::write(host.plugins().join(name), "command = \"true\"\n").unwrap();
    let reload = host.post("/api/v1/reload", &json!({})).await;
    assert_eq!(reload.status, 200, "{}", reload.text());
    host.put("later", &mock());
    host.until_state("later", "ready").await;
    assert_eq!(host.pid_of("well").await, pid);
}
