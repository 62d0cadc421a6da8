//! Files that other programs wrote, as they write them: dropped in unchanged, they become plugins that work.

use std::path::PathBuf;

use serde_json::json;

use crate::support::answer::text_of;
use crate::support::fake::{Fake, OnCall};
use crate::support::host::Setup;
use crate::support::procs::MARK;
use crate::support::{TestHost, WHARF};

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
