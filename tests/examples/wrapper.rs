//! Tests of `examples/wrapper`: a program that embeds a host, and in it a plugin of its own around the server of
//! `examples/linkedin`.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::linkedin::site::{COOKIE_VALUE, Site};
use crate::support::answer::text_of;
use crate::support::host::client;
use crate::support::mcp::{self, BOTH, LEGACY};
use crate::support::servers::npm_example;
use crate::support::{Answer, built, eventually, procs};

/// The running example. It is killed if a test fails half way; the host's shims see to the rest.
struct Program {
    process: Child,
    home: TempDir,
    base: String,
    http: reqwest::Client,
}

impl Drop for Program {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Program {
    fn start(site: &Site) -> Self {
        npm_example("linkedin");
        let program: PathBuf = built().join("examples/wrapper");
        assert!(
            program.exists(),
            "{program:?} is missing: run `cargo test --workspace`, which builds the examples too"
        );
        let home = TempDir::with_prefix("wharf-wrapper-").expect("a temporary folder");
        let mut process = Command::new(program)
            .arg("127.0.0.1:0")
            .current_dir(home.path())
            .envs([
                ("LINKEDIN_COOKIE", COOKIE_VALUE),
                ("LINKEDIN_BASE_URL", &site.base),
                ("LINKEDIN_DELAY_MS", "1"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let base =
            line.trim().strip_prefix("wharf listening on ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Self { process, home, base, http: client() }
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Answer {
        let token = std::fs::read_to_string(self.home.path().join(".wharf/token")).expect("the host's token");
        let request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(token.trim());
        Answer::of(request.header("accept", BOTH).json(body)).await
    }

    /// The server's process once it is ready, if it is another than `old`.
    async fn ready(&self, old: Option<u32>) -> u32 {
        eventually("the plugin to be ready", async || {
            let view = self.ask(Method::GET, "/api/v1/plugins/linkedin", &json!({})).await;
            let shown = view.json();
            let pid = shown["instances"][0]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            let ready = shown["state"] == "ready" && pid.is_some() && pid != old;
            pid.filter(|_| ready).ok_or_else(|| view.text())
        })
        .await
    }

    async fn read(&self, link: &str) -> Answer {
        self.ask(Method::POST, "/tools/linkedin/read", &json!({ "link": link })).await
    }

    /// Sends it a signal; whether it ended well.
    fn end(&mut self, signal: Signal) -> bool {
        procs::signal(self.process.id(), signal);
        self.process.wait().expect("it ends").success()
    }
}

async fn gone(pid: u32) {
    eventually("the server's process to be gone", async || {
        if procs::is_gone(pid) { Ok(()) } else { Err(pid.to_string()) }
    })
    .await;
}

#[test]
fn it_is_short() {
    let lines = include_str!("../../examples/wrapper/main.rs").lines().count();
    assert!(lines < 80, "{lines} lines");
}

#[tokio::test]
async fn links_are_translated_over_rest_and_mcp() {
    let site = Site::start().await;
    let mut program = Program::start(&site);
    let pid = program.ready(None).await;
    for (link, place, expected) in [
        ("https://www.linkedin.com/in/ada/", "/name", "Ada Example"),
        ("linkedin.com/company/analytical-engines?trk=x", "/industry", "Computer Hardware"),
        ("https://linkedin.com/company/analytical-engines/posts/", "/posts/1/text", "We are hiring."),
        ("https://www.linkedin.com/jobs/view/4001842", "/company", "Analytical Engines"),
    ] {
        let read = program.read(link).await.expect(200);
        assert_eq!(read.pointer(place), Some(&json!(expected)), "{link}: {read}");
    }
    let refused = program.read("https://example.com/in/ada").await.problem(502, "tool_error");
    assert!(refused["detail"].as_str().unwrap().contains("/in/NAME"), "{refused}");
    assert_eq!(site.all().len(), 4, "what it cannot translate reaches nobody");
    let wall = program.read("https://www.linkedin.com/in/wall").await.problem(502, "tool_error");
    assert!(
        wall["detail"].as_str().unwrap().contains("cookie has expired"),
        "what the server says is passed on: {wall}"
    );

    let hello = mcp::request(0, "initialize", mcp::hello(LEGACY));
    let opened = program.ask(Method::POST, "/mcp", &hello).await;
    let session = opened.header("mcp-session-id").to_owned();
    let send = async |message: Value| {
        let token = std::fs::read_to_string(program.home.path().join(".wharf/token")).unwrap();
        let request = program.http.post(format!("{}/mcp", program.base)).bearer_auth(token.trim());
        let request = request.header("accept", BOTH).header("mcp-session-id", &session).json(&message);
        mcp::reply(&Answer::of(request).await, 200)
    };
    let listed = send(mcp::request(1, "tools/list", json!({}))).await;
    assert_eq!(listed["result"]["tools"].as_array().map(Vec::len), Some(1), "{listed}");
    let call = mcp::call("linkedin__read", json!({ "link": "linkedin.com/in/ada" }));
    let called = send(mcp::request(2, "tools/call", call)).await;
    assert!(text_of(&called["result"]).contains("Ada Example"), "{called}");

    assert!(program.end(Signal::SIGINT));
    gone(pid).await;
}

#[tokio::test]
async fn the_server_is_restarted_and_ends_with_the_program_however_that_ends() {
    let site = Site::start().await;
    let mut program = Program::start(&site);
    let old = program.ready(None).await;
    procs::kill9(old);
    let new = program.ready(Some(old)).await;
    program.read("linkedin.com/in/ada").await.expect(200);
    assert!(!program.end(Signal::SIGKILL));
    gone(new).await;
}
