//! Files that other programs wrote, as they write them: dropped in unchanged, they become plugins that work.

use std::path::PathBuf;

use serde_json::json;

use crate::support::answer::text_of;
use crate::support::fake::{Fake, OnCall};
use crate::support::host::Setup;
use crate::support::ledger::runs;
use crate::support::mockproc::{MockProcess, free_port};
use crate::support::procs::MARK;
use crate::support::{TestHost, WHARF, eventually};

/// A file with the places filled in that differ from machine to machine.
fn filled(setup: &Setup, text: &str) -> String {
    let mark = setup.mark();
    text.replace("WHARF", WHARF).replace("MARK\": \"\"", &format!("{MARK}\": \"{mark}\""))
}

async fn start(text: &str) -> TestHost {
    let setup = Setup::new();
    let text = filled(&setup, text);
    setup.file("team.json", text).start().await
}

async fn echoes(host: &TestHost, id: &str) {
    host.until_state(id, "ready").await;
    assert_eq!(text_of(&host.call(id, "echo", json!({ "message": id })).await), id);
}

#[tokio::test]
async fn of_claude_desktop() {
    // claude_desktop_config.json: settings of the program stand beside the servers.
    let host = start(
        r#"{
  "globalShortcut": "Ctrl+Space",
  "mcpServers": {
    "My Files": {
      "command": "WHARF",
      "args": ["mock"],
      "env": { "MARK": "" }
    }
  }
}"#,
    )
    .await;
    echoes(&host, "my-files").await;
}

#[tokio::test]
async fn of_claude_code() {
    // .mcp.json: `type` is always there, variables may have a default.
    let fake = Fake::start(OnCall::Result("{\"content\":[{\"type\":\"text\",\"text\":\"from afar\"}]}"));
    let text = r#"{
  "mcpServers": {
    "local": {
      "type": "stdio",
      "command": "${MOCK_PROGRAM:-WHARF}",
      "args": ["mock"],
      "env": { "MARK": "", "API_KEY": "${NO_SUCH_KEY:-none}" }
    },
    "far": {
      "type": "http",
      "url": "URL",
      "headers": { "Authorization": "Bearer ${NO_SUCH_TOKEN:-secret}" }
    }
  }
}"#;
    let host = start(&text.replace("URL", &fake.url())).await;
    echoes(&host, "local").await;
    host.until_state("far", "ready").await;
    assert_eq!(text_of(&host.call("far", "odd", json!({})).await), "from afar");
}

#[tokio::test]
async fn of_cursor() {
    // .cursor/mcp.json: comments, trailing commas, and variables of the editor.
    let setup = Setup::new();
    let (folder, home) = (setup.plugins(), setup.scratch("home"));
    let text = filled(
        &setup,
        r#"{
  // servers of the project
  "mcpServers": {
    "project": {
      "command": "WHARF",
      "args": ["mock"], /* no flags */
      "env": {
        "MARK": "",
        "ROOT": "${workspaceFolder}",
        "HOME_OF": "${userHome}/x${pathSeparator}${workspaceFolderBasename}",
      },
    },
  },
}"#,
    );
    let host = setup.env("HOME", home.to_str().unwrap()).file("team.json", text).start().await;
    echoes(&host, "project").await;
    let of = async |name: &str| {
        let said = host.call("project", "env", json!({ "name": name })).await;
        said["structuredContent"]["value"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(PathBuf::from(of("ROOT").await), folder);
    assert_eq!(of("HOME_OF").await, format!("{}/x/plugins", home.display()));
}

#[tokio::test]
async fn of_mcpo() {
    // config.json: `type` in two spellings, and filters of tools.
    let fake = Fake::start(OnCall::Result("{\"content\":[]}"));
    let text = r#"{
  "mcpServers": {
    "memory": {
      "command": "WHARF",
      "args": ["mock"],
      "env": { "MARK": "" },
      "disabledTools": ["sleep"]
    },
    "streamable": { "type": "streamable-http", "url": "URL" },
    "off": { "command": "WHARF", "args": ["mock"], "disabled": true }
  }
}"#;
    let host = start(&text.replace("URL", &fake.url())).await;
    echoes(&host, "memory").await;
    host.try_call("memory", "sleep", json!({})).await.problem(404, "tool_not_found");
    host.until_state("streamable", "ready").await;
    host.until_state("off", "disabled").await;
}

/// The YAML map of remote servers that the example holds.
const SERVER_MAP: &str = include_str!("../../examples/multi-server/multi_server_config.yaml");

#[tokio::test]
async fn of_a_multi_server_manager_as_it_is_and_it_fails_over() {
    let setup = Setup::new().env("WEATHER_API_TOKEN", "hush-hush");
    let ports = [free_port(), free_port(), free_port()];
    let ledgers = ["main", "standby", "news"].map(|name| setup.scratch(name));
    let mock = async |n: usize, dialect: &str| {
        MockProcess::listening(dialect, ports[n], &["--ledger", ledgers[n].to_str().unwrap()]).await
    };
    let main = mock(0, "http").await;
    let others = (mock(1, "http").await, mock(2, "sse").await);
    let text = (0..3).fold(SERVER_MAP.to_owned(), |text, n| {
        text.replace(&format!(":{}/", 9001 + n), &format!(":{}/", ports[n]))
    });
    let host = setup.file("multi_server_config.yaml", text).start().await;
    let echoes = async |id: &str| {
        assert_eq!(text_of(&host.call(id, "echo", json!({ "message": id })).await), id);
    };
    host.until_state("news", "ready").await;
    let both = |view: &serde_json::Value| {
        view["instances"].as_array().is_some_and(|all| all.iter().all(|one| one["state"] == "ready"))
    };
    let view = host.until("weather", "ready at both targets", both).await;
    assert_eq!(
        (view["instances"].as_array().unwrap().len(), &view["namespace"]),
        (2, &json!("weather")),
        "{view}"
    );
    assert_eq!(view["manifest"]["problems"], json!([]), "nothing of the file is told as wrong");
    for _ in 0..3 {
        echoes("weather").await;
    }
    echoes("news").await;
    let ran = || [0, 1, 2].map(|n: usize| runs(&ledgers[n], "echo"));
    assert_eq!(ran(), [3, 0, 1], "the lowest priority number takes the calls");

    drop(main);
    echoes("weather").await;
    assert_eq!(ran(), [3, 1, 1], "the same call goes to the other target");
    let main = mock(0, "http").await;
    eventually("the preferred target to take the calls again", async || {
        echoes("weather").await;
        if ran()[0] > 3 { Ok(()) } else { Err(format!("{:?}", ran())) }
    })
    .await;
    assert!(!host.said().contains("hush") && !host.get("/api/v1/plugins").await.text().contains("hush"));
    drop((main, others));
}

#[tokio::test]
async fn servers_of_one_namespace_keep_their_tokens_apart_and_come_and_go_with_the_file() {
    let fakes = ["one", "two", "three"]
        .map(|_| Fake::start(OnCall::Result("{\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}")));
    let quick = "  health_check_interval: 0.1\n  x-wharf: {health: {timeout: 300ms, failures: 1}, upgrade: {trial: 200ms}}\n";
    let server = |n: usize, namespace: &str, more: &str| {
        let url = fakes[n].url();
        format!(
            "s{n}:\n  url: {url}\n  transport: http\n  priority: {n}\n  namespace: {namespace}\n{quick}{more}"
        )
    };
    let auth = "  auth: {type: bearer, token: \"${TOKEN_ONE}\"}\n";
    let settings = "global_settings: {reconnect_delay: 0.05}\n";
    let alone = [server(0, "far", auth), settings.to_owned()].concat();
    let setup = Setup::new().env("TOKEN_ONE", "hush-hush");
    let host = setup.file("servers.yaml", &alone).start().await;
    host.until_state("far", "ready").await;

    // A second target and a second plugin are added.
    host.put_file("servers.yaml", [&*server(1, "far", ""), &server(2, "else", ""), &alone].concat());
    host.until_state("else", "ready").await;
    let ready = |n: usize| {
        move |view: &serde_json::Value| {
            let all = view["instances"].as_array().cloned().unwrap_or_default();
            all.len() == n && all.iter().all(|one| one["state"] == "ready" && one["role"] == "active")
        }
    };
    host.until("far", "ready at two targets", ready(2)).await;
    host.call("far", "odd", json!({})).await;
    assert_eq!(fakes[0].last_call().0["authorization"], "Bearer hush-hush");
    fakes[0].falls_silent(true);
    host.until("far", "without its first target", |view| !ready(2)(view)).await;
    host.call("far", "odd", json!({})).await;
    assert!(!fakes[1].last_call().0.contains_key("authorization"), "{:?}", fakes[1].last_call());

    // One is taken out, and the others stay as they are.
    let before = host.plugin("else").await;
    host.put_file("servers.yaml", [&*server(1, "far", ""), &server(2, "else", ""), settings].concat());
    host.until("far", "ready at one target", ready(1)).await;
    host.call("far", "odd", json!({})).await;
    let after = host.plugin("else").await;
    assert_eq!(before["instances"][0]["generation"], after["instances"][0]["generation"]);
    host.put_file("servers.yaml", [&*server(1, "far", ""), settings].concat());
    eventually("the plugin to be gone", async || {
        let answer = host.get("/api/v1/plugins/else").await;
        if answer.status == 404 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    assert!(!host.said().contains("hush"), "the token is shown");
}

#[tokio::test]
async fn a_server_whose_variable_is_missing_is_misconfigured_alone() {
    let fake = Fake::start(OnCall::Result("{\"content\":[]}"));
    let auth = "  auth: {type: bearer, token: \"${NO_SUCH_TOKEN}\"}\n";
    let server = |name: &str, namespace: &str, more: &str| {
        format!("{name}:\n  url: {}\n  transport: http\n  namespace: {namespace}\n{more}", fake.url())
    };
    let text = [server("a", "a", auth), server("b", "b", ""), server("c1", "c", auth), server("c2", "c", "")]
        .concat();
    let host = Setup::new().file("servers.yaml", text).start().await;
    let view = host.until_cause("a", "missing_variable").await;
    assert_eq!(view["state"], "misconfigured", "{view}");
    assert!(view.to_string().contains("NO_SUCH_TOKEN"), "{view}");
    for id in ["b", "c"] {
        host.until_state(id, "ready").await;
        host.call(id, "odd", json!({})).await;
    }
    let view = host.plugin("c").await;
    let problem = &view["manifest"]["problems"][0];
    assert_eq!((&problem["severity"], &problem["line"]), (&json!("error"), &json!(14)), "{view}");
    assert!(host.said().contains("NO_SUCH_TOKEN"), "it is in the log, too: {}", host.said());
}
