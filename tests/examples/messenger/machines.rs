//! Server A and server B on two machines: two network namespaces with a cable between them, each with a host of its own.
//! Where namespaces are not permitted, two loopback addresses stand for them, and the test says so.

use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::checkout::{lay, manifest, mock_reply};
use crate::skipped;
use crate::support::command::on;
use crate::support::host::Setup;
use crate::support::{TestHost, eventually};

/// A machine: a process that holds a network of its own.
struct Machine(Child);

impl Machine {
    fn boot() -> Self {
        let mut holder = Command::new("unshare");
        let holder =
            holder.args(["--net", "sh", "-c", "echo up; exec sleep 600"]).stdout(Stdio::piped()).spawn();
        let mut holder = holder.unwrap();
        // What it says, it says in its own network.
        let mut said = [0; 3];
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
        Self(holder)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// Runs a program on it.
    fn run(&self, program: &[&str]) {
        let net = format!("--net=/proc/{}/ns/net", self.pid());
        assert!(Command::new("nsenter").arg(net).args(program).status().unwrap().success(), "{program:?}");
    }

    fn address(&self, cable: &str, address: &str) {
        self.run(&["ip", "link", "set", "lo", "up"]);
        self.run(&["ip", "address", "add", &format!("{address}/24"), "dev", cable]);
        self.run(&["ip", "link", "set", cable, "up"]);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn machines_can_be_made() -> bool {
    let works = |program: &mut Command| {
        program.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    works(
        Command::new("unshare")
            .args(["--net", "ip", "link", "add", "cable", "type", "veth", "peer", "name", "drum"]),
    ) && works(Command::new("nsenter").arg("--version"))
}

/// Two machines with a cable between them: 10.77.0.1 and 10.77.0.2.
fn two_machines() -> (Machine, Machine) {
    let (a, b) = (Machine::boot(), Machine::boot());
    a.run(&["ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", &b.pid()]);
    a.address("cable", "10.77.0.1");
    b.address("cable", "10.77.0.2");
    (a, b)
}

#[tokio::test]
async fn on_two_machines() {
    let a = |url: &str| lay(&[("SERVER_B_URL", url)]).file("server-a.toml", manifest("server-a.toml"));
    let b = |host: &str| lay(&[("HTTP_HOST", host)]).file("server-b.toml", manifest("server-b.toml"));
    if machines_can_be_made() {
        let (one, two) = two_machines();
        // Both manifests as they are: port 8000 is free on a machine of its own.
        let setup_a = a("http://10.77.0.2:8000").on_network_of(one.0.id());
        let setup_b = b("0.0.0.0").on_network_of(two.0.id());
        they_talk(setup_a, setup_b).await;
        drop((one, two));
    } else {
        skipped("this machine allows no network namespaces with a cable; two loopback addresses instead");
        let port = super::checkout::free_port();
        let moved = manifest("server-b.toml").replace("8000", &port.to_string());
        let moved = moved.replace("127.0.0.1", "127.0.0.3");
        let url = format!("http://127.0.0.3:{port}");
        they_talk(a(&url), b("127.0.0.3").file("server-b.toml", moved)).await;
    }
}

async fn they_talk(a: Setup, b: Setup) {
    let a = a.start().await;
    let before = call(&a, &["server-a/check_server_b_health"], 5).await;
    assert!(before.contains("does not answer"), "there is no machine B yet: {before}");
    let mut b = b.start().await;
    ready(&b, "server-b").await;
    let health = call(&a, &["server-a/check_server_b_health"], 0).await;
    assert_eq!(json(&health)["status"], "healthy", "{health}");
    let sent = call(&a, &["server-a/send_message", "message=Hello from Machine A"], 0).await;
    assert_eq!(json(&sent)["aiResponse"], mock_reply(1, "Hello from Machine A"));
    let streamed = call(&a, &["server-a/send_message_stream", "message=stream"], 0).await;
    assert!(streamed.contains("[MOCK STREAM #2]"), "{streamed}");
    let alone = call(&b, &["server-b/health_check"], 0).await;
    assert_eq!(json(&alone)["messagesProcessed"], 2, "it was B's: {alone}");
    assert!(b.end(Signal::SIGTERM).success());
    let gone = call(&a, &["server-a/send_message", "message=x"], 5).await;
    assert!(gone.contains("does not answer"), "{gone}");
    b.again();
    ready(&b, "server-b").await;
    let again = call(&a, &["server-a/send_message", "message=back"], 0).await;
    assert_eq!(json(&again)["aiResponse"], mock_reply(1, "back"));
}

/// Calls a tool through the host's socket, which is reached from everywhere, and expects this exit code.
async fn call(host: &TestHost, what: &[&str], code: i32) -> String {
    let outcome = on(host, &[&["call"], what].concat()).await.expect(code);
    if code == 0 { outcome.stdout } else { outcome.stderr }
}

async fn ready(host: &TestHost, id: &str) {
    eventually("the plugin to be ready", async || {
        let shown = on(host, &["status", id]).await.expect(0).stdout;
        if shown.starts_with(&format!("{id}: ready")) { Ok(()) } else { Err(shown) }
    })
    .await;
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
