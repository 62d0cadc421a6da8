//! Tests of the tests' own tools: a search that finds nothing, or a reader that reads nothing, would let all else pass.

use std::process::{Child, Command, Stdio};

use crate::support::fake::{Fake, OnCall};
use crate::support::host::client;
use crate::support::procs::{MARK, is_gone, kill9, left, peak_rss};
use crate::support::servers::Servers;
use crate::support::{Manifest, eventually, mock};

/// A process that ends with its test, however that ends.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        kill9(self.0.id());
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn the_search_for_leftovers_finds_by_mark_folder_and_argument() {
    let home = tempfile::TempDir::new().unwrap();
    let nowhere = home.path().join("x");
    let sleep = || {
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    };
    let mut read = Command::new("sh");
    read.args(["-c", "read line"]).arg(&nowhere).stdin(Stdio::piped());
    let marked = Kept(sleep().env(MARK, "selftest-mark").spawn().unwrap());
    let inside = Kept(sleep().current_dir(home.path()).spawn().unwrap());
    let named = Kept(read.spawn().unwrap());
    let pids = [marked.0.id(), inside.0.id(), named.0.id()];
    // A child that was only just spawned may not show an environment and arguments of its own yet.
    eventually("all three to be found", async || {
        let found = left("selftest-mark", home.path());
        let is_found = |pid: &u32| found.iter().any(|line| line.starts_with(&format!("{pid}:")));
        if pids.iter().all(is_found) { Ok(()) } else { Err(format!("of {pids:?} only {found:?}")) }
    })
    .await;
    drop((marked, inside, named));
    assert!(pids.into_iter().all(is_gone));
    assert_eq!(left("selftest-mark", home.path()), Vec::<String>::new());
}

#[test]
fn peak_memory_is_read() {
    assert!(peak_rss(std::process::id()) > 1 << 20);
}

#[test]
fn a_manifest_is_written_as_toml() {
    let text = mock().arg("a \"b\"\n").set("limits.queue", 3).set("env.X", "${port}").text("m");
    let read: toml::Table = text.parse().unwrap();
    assert_eq!(read["args"].as_array().unwrap()[1].as_str(), Some("a \"b\"\n"));
    assert_eq!(read["limits"]["queue"].as_integer(), Some(3));
    assert_eq!((read["env"]["X"].as_str(), read["env"][MARK].as_str()), (Some("${port}"), Some("m")));
    assert!(!Manifest::url("http://x/mcp").text("m").contains(MARK), "a remote plugin has no environment");
}

#[tokio::test]
async fn the_fake_answers_byte_for_byte() {
    let fake = Fake::start(OnCall::Result("{ \"a\" :1.50}"));
    let call = serde_json::json!({ "jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": {} });
    let text = client().post(fake.url()).json(&call).send().await.unwrap().text().await.unwrap();
    assert_eq!(text, "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":{ \"a\" :1.50}}");
    assert_eq!(fake.calls(), 1);
}

#[test]
fn the_real_servers_can_be_installed() {
    let (node, python, broken) = (Servers::node(), Servers::python(), Servers::broken());
    for name in ["mcp-server-everything", "mcp-server-memory", "mcp-server-filesystem"] {
        assert!(node.bin(name).is_file());
    }
    assert!(python.bin("mcp-server-time").is_file() && python.bin("mcp-server-git").is_file());
    let crash =
        Command::new(broken.bin("mcp-server-sqlite")).args(["--db-path", "/nowhere/x.db"]).output().unwrap();
    assert_eq!(crash.status.code(), Some(1), "it must crash at import: {crash:?}");
}
