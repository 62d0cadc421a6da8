//! What the chaos does to a host and its plugins, drawn from a seed, and the list of what it did.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::cast::Actor;
use super::seed::Seed;
use crate::support::TestHost;

/// What was done, told when a test fails.
#[derive(Debug)]
pub(super) struct Log {
    seed: u64,
    begun: Instant,
    lines: Vec<String>,
}

impl Log {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, begun: Instant::now(), lines: Vec::new() }
    }

    fn note(&mut self, line: String) {
        self.lines.push(format!("{:8.3} {line}", self.begun.elapsed().as_secs_f64()));
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- WHARF_CHAOS_SEED={} ---\n{}\n---", self.seed, self.lines.join("\n"));
        }
    }
}

/// Acts until `go` says no; then everything is as it should be again.
pub(super) async fn act(
    host: &TestHost,
    cast: &[Actor],
    mut seed: Seed,
    go: watch::Receiver<bool>,
    log: &mut Log,
) {
    let mut idle = Vec::new();
    for edit in 0.. {
        if !*go.borrow() {
            break;
        }
        let actor = seed.pick(cast);
        one(host, actor, edit, &mut seed, &mut idle, log).await;
        tokio::time::sleep(Duration::from_millis(100 + seed.below(300))).await;
    }
    for actor in cast {
        host.put(actor.id, &actor.manifest(u64::MAX));
    }
}

async fn one(
    host: &TestHost,
    actor: &Actor,
    edit: u64,
    seed: &mut Seed,
    idle: &mut Vec<TcpStream>,
    log: &mut Log,
) {
    let id = actor.id;
    let file = host.plugins().join(format!("{id}.toml"));
    let said = match seed.below(14) {
        0 | 1 => format!("kill -9 main: {}", signal(main_of(host, id).await, Signal::SIGKILL)),
        2 => format!("kill -9 shim: {}", signal(shim_of(host, id).await, Signal::SIGKILL)),
        3 => format!("SIGSTOP main: {}", signal(main_of(host, id).await, Signal::SIGSTOP)),
        4 => format!("SIGTERM main: {}", signal(main_of(host, id).await, Signal::SIGTERM)),
        5 => {
            host.put(id, &actor.manifest(edit));
            "a valid edit".to_owned()
        }
        6 => {
            let text = actor.manifest(edit).text(host.mark());
            fs::write(&file, &text[..text.len() / 2]).expect("the folder is writable");
            "an invalid edit".to_owned()
        }
        7 if seed.below(3) == 0 => {
            // It may have been removed before.
            fs::remove_file(&file).ok();
            "removed".to_owned()
        }
        7 | 8 => {
            host.put(id, &actor.manifest(edit));
            "put back".to_owned()
        }
        9 => command(host, id, "restart").await,
        10 => command(host, id, seed.pick::<&str>(&["stop", "start", "start"])).await,
        11 => command(host, id, seed.pick::<&str>(&["disable", "enable", "enable", "drain", "start"])).await,
        12 => format!("reload: {}", host.post("/api/v1/reload", &json!({})).await.status),
        _ => half_a_request(host, seed, idle),
    };
    log.note(format!("{id}: {said}"));
}

async fn command(host: &TestHost, id: &str, action: &str) -> String {
    let answer = host.post(&format!("/api/v1/plugins/{id}/{action}"), &json!({})).await;
    assert!(matches!(answer.status, 202 | 404 | 409 | 503), "{action}: {} {}", answer.status, answer.text());
    format!("{action}: {}", answer.status)
}

/// A client that sends a part of a request and goes, or stays and says nothing; at most eight stay.
fn half_a_request(host: &TestHost, seed: &mut Seed, idle: &mut Vec<TcpStream>) -> String {
    let address = host.base.trim_start_matches("http://");
    let Ok(mut client) = TcpStream::connect(address) else { return "half a request: refused".to_owned() };
    let text =
        format!("POST /api/v1/plugins/calm/tools/count/call HTTP/1.1\r\nhost: {address}\r\ncontent-le");
    let cut = usize::try_from(seed.below(text.len() as u64)).expect("an index");
    // The host may have closed it already.
    client.write_all(&text.as_bytes()[..cut]).ok();
    if seed.below(2) == 0 && idle.len() < 8 {
        idle.push(client);
    } else {
        idle.clear();
    }
    format!("half a request of {cut} bytes, {} stay", idle.len())
}

async fn main_of(host: &TestHost, id: &str) -> Option<u32> {
    let view: Value = host.get(&format!("/api/v1/plugins/{id}")).await.json();
    view["instances"][0]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
}

/// The parent of the main process, if it still is none of the host's own.
async fn shim_of(host: &TestHost, id: &str) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", main_of(host, id).await?)).ok()?;
    let parent: u32 = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
    (parent != host.pid() && parent > 1).then_some(parent)
}

fn signal(pid: Option<u32>, signal: Signal) -> String {
    let Some(pid) = pid else { return "it does not run".to_owned() };
    // It may have ended meanwhile.
    kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), signal).ok();
    pid.to_string()
}
