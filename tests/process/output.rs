//! stderr and stdout in the log, and listening sockets.

use std::net::TcpListener;
use std::time::Duration;

use tokio::time::Instant;
use wharf::process::ports::{lease, wait_listening};
use wharf_core::manifest::PortChoice;
use wharf_plugin_api::CauseKind;

use crate::harness::{BOUND, World, within};

#[tokio::test]
async fn the_last_words_are_in_the_log_when_the_process_is_gone() {
    let world = World::with(&["s3cr3t-value"], None).await;
    let mut launch = world.sh("echo out; echo 'token s3cr3t-value' >&2; exit 1");
    launch.stdout = false;
    let process = world.spawn(launch).await.unwrap();
    assert!(process.stdout.is_none());
    within(process.handle.gone()).await;
    let mut lines: Vec<_> = world.log.tail_of(0, 1, 5).into_iter().map(|l| (l.stream, l.text)).collect();
    lines.sort();
    assert_eq!(lines, [("stderr", "token ***".to_owned()), ("stdout", "out".to_owned())]);
}

#[tokio::test]
async fn a_flood_of_stderr_neither_blocks_nor_fills_memory() {
    let world = World::new().await;
    let before = own_rss();
    let process = world.run("yes 'a line of the flood' | head -c 100000000 >&2; echo last >&2; exit 5").await;
    assert_eq!(within(process.handle.gone()).await.code, Some(5));
    let grown = own_rss().saturating_sub(before);
    assert!(grown < 32 * 1024 * 1024, "{grown} bytes more");
    let lines = world.log.tail(usize::MAX);
    assert_eq!(lines.last().unwrap().text, "last");
    assert!(lines.iter().any(|line| line.stream == "wharf" && line.text.contains("dropped")));
}

fn own_rss() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// A server in a grandchild. The interpreter is looked up as a plugin's would be.
fn server(address: &str, port: u16) -> String {
    format!(
        "python3 -c 'import socket, time\n\
         s = socket.socket(socket.AF_INET6 if \":\" in \"{address}\" else socket.AF_INET)\n\
         s.bind((\"{address}\", {port}))\ns.listen()\ntime.sleep(1000)' & wait"
    )
}

#[tokio::test]
async fn a_listener_of_the_tree_is_found_where_it_is() {
    let world = World::new().await;
    for (address, expected) in [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")] {
        let mut port = lease(PortChoice::Auto, 0).unwrap();
        port.unreserve();
        let process = world.run(&server(address, port.port())).await;
        let found =
            within(wait_listening(port.port(), &process.handle, Instant::now() + BOUND, &world.tasks)).await;
        assert_eq!(found.unwrap().address().to_string(), format!("{expected}:{}", port.port()));
    }
}

#[tokio::test]
async fn a_stranger_s_listener_is_not_taken_for_the_plugin_s() {
    let world = World::new().await;
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stranger.local_addr().unwrap().port();
    let process = world.run("sleep 1000").await;
    let cause = within(wait_listening(port, &process.handle, Instant::now() + BOUND, &world.tasks))
        .await
        .unwrap_err();
    assert!(cause.kind == CauseKind::PortInUse && cause.detail.contains("not the plugin"), "{cause}");
}

#[tokio::test]
async fn what_never_listens_is_told_with_where_it_listens_instead() {
    let world = World::new().await;
    let (mut asked, mut other) = (lease(PortChoice::Auto, 0).unwrap(), lease(PortChoice::Auto, 0).unwrap());
    asked.unreserve();
    other.unreserve();
    let process = world.run(&server("127.0.0.1", other.port())).await;
    within(wait_listening(other.port(), &process.handle, Instant::now() + BOUND, &world.tasks))
        .await
        .unwrap();
    let soon = Instant::now() + Duration::from_millis(50);
    let cause = within(wait_listening(asked.port(), &process.handle, soon, &world.tasks)).await.unwrap_err();
    assert!(
        cause.kind == CauseKind::StartTimeout && cause.detail.contains(&other.port().to_string()),
        "{cause}"
    );
    process.handle.kill();
    within(process.handle.gone()).await;
    let cause =
        within(wait_listening(asked.port(), &process.handle, Instant::now() + BOUND, &world.tasks)).await;
    assert_eq!(cause.unwrap_err().kind, CauseKind::Signalled);
}
