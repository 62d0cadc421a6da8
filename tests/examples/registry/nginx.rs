//! `deploy/nginx.conf` in a real nginx in front of wharf: streams pass as they come, the token and the name pass, and
//! nothing else does. Debian's package is unpacked into `tests/.deps` and run as the user.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use super::running::Running;
use super::setup::example;
use crate::skipped;
use crate::support::answer::text_of;
use crate::support::host::{Setup, client};
use crate::support::mcp::{BOTH, MODERN, call, enveloped, hello, reply, request};
use crate::support::mockproc::free_port;
use crate::support::sse::Events;
use crate::support::{Answer, TestHost, mock};

const NAME: &str = "mcp.example.com";

#[tokio::test]
async fn nginx_in_front_of_wharf_passes_streams_as_they_come() {
    let Some(nginx) = unpacked() else { return };
    let setup = Setup::new()
        .plugin("mock", &mock().set("groups", vec![toml::Value::from("g")]))
        .flag("--allow-host")
        .flag(NAME);
    let host = setup.start().await;
    host.until_state("mock", "ready").await;
    let front = Front::start(&nginx, &host, "1.1").await;
    front.lets_in_who_has_the_token().await;
    front.shows_the_endpoints_only().await;
    front.passes_large_arguments().await;
    front.streams().await;
    drop(front);
    // Over HTTP/1.0 a stream has no chunks, which nginx would pass on by themselves: the file must do it here.
    Front::start(&nginx, &host, "1.0").await.streams().await;
}

/// nginx before a host.
struct Front<'a> {
    host: &'a TestHost,
    base: String,
    _running: Running,
}

impl<'a> Front<'a> {
    async fn start(nginx: &Nginx, host: &'a TestHost, version: &str) -> Self {
        let port = free_port();
        let home = host.scratch(&format!("nginx-{version}"));
        fs::create_dir(&home).expect("a fresh folder");
        let address = host.base.trim_start_matches("http://");
        let site = fs::read_to_string(example().join("deploy/nginx.conf")).expect("the file");
        let site = swap(&site, "listen 80;", &format!("listen 127.0.0.1:{port};"));
        let site = swap(&site, "server 127.0.0.1:7800;", &format!("server {address};"));
        let site = swap(&site, "proxy_http_version 1.1;", &format!("proxy_http_version {version};"));
        fs::write(home.join("site.conf"), site).expect("the folder is writable");
        fs::write(home.join("nginx.conf"), around()).expect("the folder is writable");
        let tested = nginx.command(&home).arg("-t").output().expect("nginx runs");
        assert!(tested.status.success(), "nginx -t: {}", String::from_utf8_lossy(&tested.stderr));
        let running = Running::start(&mut nginx.command(&home), home.join("said.log"));
        let running = running.ends_by_itself().on(port).await;
        Self { host, base: format!("http://127.0.0.1:{port}"), _running: running }
    }

    fn called(&self, name: &str, method: Method, path: &str) -> RequestBuilder {
        client().request(method, format!("{}{path}", self.base)).header("host", name)
    }

    fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.called(NAME, method, path)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(&self.host.token)
    }

    async fn lets_in_who_has_the_token(&self) {
        for path in ["/sse", "/mcp", "/plugins/mock/sse", "/groups/g/mcp"] {
            Answer::of(self.bare(Method::GET, path)).await.problem(401, "unauthorized");
        }
        let called = self.called("other.example.com", Method::GET, "/sse").bearer_auth(&self.host.token);
        Answer::of(called).await.problem(403, "forbidden");
    }

    async fn shows_the_endpoints_only(&self) {
        assert_eq!(Answer::of(self.bare(Method::GET, "/healthz")).await.status, 200);
        for path in
            ["/api/v1/plugins", "/tools/mock/echo", "/metrics", "/plugins/mock/mcp/x", "/groups/g", "/"]
        {
            assert_eq!(Answer::of(self.request(Method::GET, path)).await.status, 404, "{path}");
        }
    }

    /// Twice of what nginx takes by itself, half of what wharf takes.
    async fn passes_large_arguments(&self) {
        let message = "x".repeat(2 << 20);
        let params = enveloped(call("mock__echo", json!({ "message": message })));
        let sent = self
            .request(Method::POST, "/groups/g/mcp")
            .header("accept", BOTH)
            .header("mcp-protocol-version", MODERN)
            .header("mcp-method", "tools/call")
            .header("mcp-name", "mock__echo")
            .json(&request(1, "tools/call", params));
        let answer = reply(&Answer::of(sent).await, 200);
        assert!(text_of(&answer["result"]) == message, "it is another text");
    }

    /// Each event arrives while its stream stays open.
    async fn streams(&self) {
        let mut events = Events::open(self.request(Method::GET, "/plugins/mock/sse")).await;
        let endpoint = events.until("the endpoint", |event| event.name == "endpoint").await.data;
        for (id, method, params) in [(1, "initialize", hello("2024-11-05")), (2, "tools/list", json!({}))] {
            let sent =
                Answer::of(self.request(Method::POST, &endpoint).json(&request(id, method, params))).await;
            assert_eq!(sent.status, 202, "{}", sent.text());
            let answer = events.until(method, |event| event.name == "message").await.json();
            assert_eq!(answer["id"], id, "{answer}");
        }
    }
}

/// Replaces what is there once.
fn swap(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "nginx.conf has {old:?} once");
    text.replace(old, new)
}

/// What Debian's nginx.conf is to a file in `conf.d`. It does not heed the header by which wharf itself asks for streams
/// to pass: the file is to do that.
fn around() -> &'static str {
    "daemon off;
pid pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    proxy_ignore_headers X-Accel-Buffering;
    include site.conf;
}
"
}

// === Debian's package ===

/// An unpacked nginx.
struct Nginx(PathBuf);

impl Nginx {
    fn command(&self, home: &Path) -> Command {
        let mut command = self.bare();
        command.arg("-p").arg(home).arg("-c").arg(home.join("nginx.conf")).args(["-e", "stderr"]);
        command
    }

    /// It finds its own libraries first, where they had to be unpacked too.
    fn bare(&self) -> Command {
        let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
        let folders = ["usr/lib", "lib"].map(|folder| self.0.join(folder).join(&triplet));
        let mut command = Command::new(self.0.join("usr/sbin/nginx"));
        command.env("LD_LIBRARY_PATH", std::env::join_paths(folders).expect("no colon in the path"));
        command
    }

    fn works(&self) -> bool {
        self.bare().arg("-v").stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

/// nginx, unpacked once; `None` after a word about what is missing.
fn unpacked() -> Option<Nginx> {
    let deps = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/.deps");
    fs::create_dir_all(&deps).expect("tests/.deps can be made");
    let lock = File::create(deps.join("nginx.lock")).expect("a lock file");
    lock.lock().expect("the lock file can be locked");
    let home = deps.canonicalize().expect("it was just made").join("nginx");
    let nginx = Nginx(home.clone());
    if !nginx.works() {
        fs::remove_dir_all(&home).ok();
        fs::create_dir(&home).expect("a fresh folder");
        let mut told = unpack(&home, &["nginx"]);
        if told.is_ok() && !nginx.works() {
            told = unpack(&home, &["libpcre2-8-0", "libssl3", "libcrypt1", "zlib1g"]);
        }
        if told.is_err() || !nginx.works() {
            skipped(&format!("nginx is not tried, Debian's package cannot be had: {told:?}"));
            return None;
        }
    }
    Some(nginx)
}

/// Downloads packages and unpacks them: by the machine's lists, else by lists of our own, which need no root.
fn unpack(home: &Path, packages: &[&str]) -> Result<(), String> {
    let lists = home.join("lists");
    fs::create_dir_all(lists.join("partial")).map_err(|error| error.to_string())?;
    let own = [format!("Dir::State::lists={}", lists.display()), format!("Dir::Cache={}", lists.display())];
    let own: Vec<&str> = own.iter().flat_map(|option| ["-o", option]).collect();
    let download = [&["download"], packages].concat();
    if run(home, "apt-get", &download).is_err() {
        // One of many sources may be out of reach; whether it was needed shows when the package is there or not.
        let updated = run(home, "apt-get", &[&own, ["update"].as_slice()].concat());
        let had = run(home, "apt-get", &[&own, download.as_slice()].concat());
        had.map_err(|error| format!("{error} after an update: {updated:?}"))?;
    }
    fs::remove_dir_all(&lists).map_err(|error| error.to_string())?;
    for entry in fs::read_dir(home).map_err(|error| error.to_string())?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|ending| ending == "deb") {
            run(home, "dpkg-deb", &["-x", path.to_str().expect("a UTF-8 path"), "."])?;
            fs::remove_file(&path).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

fn run(folder: &Path, program: &str, args: &[&str]) -> Result<(), String> {
    let mut command = Command::new(program);
    let output = command.args(args).current_dir(folder).stdin(Stdio::null()).output();
    match output.map_err(|error| format!("{program}: {error}"))? {
        output if output.status.success() => Ok(()),
        output => Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}
