//! A checkout in miniature: the example's folder with its packages and its `.env`, and a plugin folder beside `examples`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::support::host::Setup;
use crate::support::servers::Servers;
use crate::support::{Manifest, PATIENCE, TestHost};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/messenger");

/// What the mock answers to its n-th question.
pub(super) fn mock_reply(n: u32, message: &str) -> String {
    format!(
        "[MOCK RESPONSE #{n}] You said: '{message}'. This is a test response without calling any external API."
    )
}

/// What it streams.
pub(super) fn mock_stream(n: u32, message: &str) -> String {
    format!("[MOCK STREAM #{n}] You said: '{message}'. This is a streaming test response.")
}

pub(super) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Lays the example beside an empty plugin folder. Its `.env` is `.env.example` and these lines.
pub(super) fn lay(env: &[(&str, &str)]) -> Setup {
    let setup = Setup::new();
    let here = folder(&setup.plugins());
    fs::create_dir_all(&here).unwrap();
    for entry in fs::read_dir(EXAMPLE).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), here.join(entry.file_name())).unwrap();
    }
    let packages = Servers::venv("messenger", "../../examples/messenger/requirements.txt");
    let packages = packages.bin("python").parent().and_then(Path::parent).unwrap().to_owned();
    std::os::unix::fs::symlink(packages, here.join(".venv")).unwrap();
    let mut text = fs::read_to_string(here.join(".env.example")).unwrap();
    env.iter().for_each(|(name, value)| text += &format!("{name}={value}\n"));
    fs::write(here.join(".env"), text).unwrap();
    setup
}

/// Lays the example and copies both manifests into the plugin folder, as its README says. Only B's port differs: many
/// tests run at a time.
pub(super) fn both(env: &[(&str, &str)]) -> (Setup, u16) {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let setup = lay(&[&[("SERVER_B_URL", url.as_str())], env].concat());
    let b = manifest("server-b.toml");
    let moved = b.replace("port = 8000", &format!("port = {port}"));
    assert_ne!(moved, b, "the manifest has the seed's port");
    (setup.file("server-a.toml", manifest("server-a.toml")).file("server-b.toml", moved), port)
}

/// Both servers, ready.
pub(super) async fn started(env: &[(&str, &str)]) -> (TestHost, u16) {
    let (setup, port) = both(env);
    let host = setup.start().await;
    host.until_state("server-a", "ready").await;
    host.until_state("server-b", "ready").await;
    (host, port)
}

/// The text of a manifest of the example.
pub(super) fn manifest(name: &str) -> String {
    fs::read_to_string(Path::new(EXAMPLE).join(name)).unwrap()
}

/// A server of the example behind one of its other transports, at a port of the host's choice.
pub(super) fn on_port(server: &str, transport: &str, port_variable: &str) -> Manifest {
    let (dialect, path) = if transport == "sse" { ("sse", "/sse") } else { ("http", "/mcp") };
    Manifest::command("../examples/messenger/.venv/bin/python")
        .args([&format!("../examples/messenger/{server}"), transport])
        .set("env_file", "../examples/messenger/.env")
        .set(&format!("env.{port_variable}"), "${port}")
        .set("url", format!("http://127.0.0.1:${{port}}{path}"))
        .set("dialect", dialect)
}

/// Runs a Python program in the example's folder, as the seed does; what it printed.
pub(super) async fn python(host: &TestHost, program: &str) -> String {
    let here = folder(&host.plugins());
    let run = tokio::process::Command::new(here.join(".venv/bin/python"))
        .args(["-c", program])
        .current_dir(&here)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, run).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}\n{said}");
    String::from_utf8(output.stdout).unwrap()
}

fn folder(plugins: &Path) -> PathBuf {
    plugins.with_file_name("examples").join("messenger")
}
