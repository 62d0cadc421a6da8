//! `sandbox.tcp`.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use wharf::process::ports::lease;
use wharf_core::manifest::{PortChoice, Sandbox, Tcp};

use super::{Ground, off};

#[tokio::test]
async fn only_the_ports_that_are_written_can_be_connected_to() {
    let ground = Ground::new().await;
    let (one, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let code = format!(
        "for port in ({}, {}): print(attempt(lambda: socket.create_connection(('127.0.0.1', port))))",
        port(&one),
        port(&other)
    );
    assert_eq!(ground.python(&code, off()).await, "ok\nok\n");
    let tcp = Tcp { connect: vec![port(&one)], bind: Vec::new() };
    assert_eq!(ground.python(&code, Sandbox { tcp: Some(tcp), ..off() }).await, "ok\nEACCES\n");
}

#[tokio::test]
async fn only_the_ports_that_are_written_and_its_own_can_be_listened_on() {
    let ground = Ground::new().await;
    let mut leases: Vec<_> = (0..3).map(|_| lease(PortChoice::Auto, 0).unwrap()).collect();
    leases.iter_mut().for_each(|lease| lease.unreserve());
    let [own, written, other] = [0, 1, 2].map(|n| leases[n].port());
    let code = format!(
        "for port in ({own}, {written}, {other}): print(attempt(lambda: socket.create_server(('127.0.0.1', port))))"
    );
    assert_eq!(ground.python(&code, off()).await, "ok\nok\nok\n");
    let tcp = Tcp { connect: Vec::new(), bind: vec![written] };
    let code = format!("{}{code}", super::ATTEMPT);
    let sandbox = Sandbox { tcp: Some(tcp), ..off() };
    let mut launch = ground.launch("/bin/sh", &["-c", "exec python3 -c \"$0\"", &code], sandbox);
    launch.port = Some(own);
    assert_eq!(ground.said(launch).await, "ok\nok\nEACCES\n");
}

#[tokio::test]
async fn unix_sockets_without_a_file_stay_inside() {
    let ground = Ground::new().await;
    let name = ground.text("abstract");
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let code = format!("print(attempt(lambda: socket.socket(socket.AF_UNIX).connect('\\0{name}')))");
    assert_eq!(ground.python(&code, off()).await, "ok\n");
    let tcp = Some(Tcp { connect: vec![443], bind: Vec::new() });
    assert_eq!(ground.python(&code, Sandbox { tcp, ..off() }).await, "EPERM\n");
}
