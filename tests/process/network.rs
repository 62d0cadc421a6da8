//! Networks: a plugin with one of its own is reached by its host alone and reaches nobody; in the host's network, whoever
//! takes a plugin's place gets no byte.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use wharf::process::ports::{Door, lease, lease_apart, wait_listening};
use wharf::process::{Launch, Level, Process};
use wharf_core::manifest::{Limits, Net, PortChoice, Sandbox};

use crate::harness::{BOUND, World, kill_hard, line, passes, shim_of, until, within};

mod numbers;

/// What a server in Python begins with. Each argument of a function below is a statement of its own.
const PRELUDE: &str = "import os, signal, socket, sys, time\n\
    def listen(address, port, backlog=16):\n\
    \x20 s = socket.socket(socket.AF_INET6 if \":\" in address else socket.AF_INET)\n\
    \x20 s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
    \x20 s.bind((address, port))\n\
    \x20 s.listen(backlog)\n\
    \x20 return s\n\
    def attempt(name, what):\n\
    \x20 try: what(); print(name, \"ok\", flush=True)\n\
    \x20 except OSError as error: print(name, error.errno, flush=True)\n\
    def serve(s, says):\n\
    \x20 while True:\n\
    \x20   c, _ = s.accept()\n\
    \x20   c.sendall(says)\n\
    \x20   c.close()\n";

fn python(script: &str) -> String {
    format!("exec python3 -c '{PRELUDE}{script}'")
}

fn launch(world: &World, net: Option<Net>, script: &str) -> Launch {
    Launch { sandbox: Sandbox { net, ..Sandbox::default() }, ..world.sh(&python(script)) }
}

async fn start(world: &World, net: Option<Net>, script: &str) -> Process {
    world.spawn(launch(world, net, script)).await.unwrap()
}

/// A server with a loopback of its own.
async fn apart(world: &World, script: &str) -> Process {
    start(world, Some(Net::Loopback), script).await
}

async fn door(world: &World, process: &Process, port: u16) -> Door {
    let deadline = tokio::time::Instant::now() + BOUND;
    within(wait_listening(port, &process.handle, deadline, &world.tasks)).await.unwrap()
}

async fn all(mut stream: TcpStream) -> String {
    let mut text = String::new();
    within(stream.read_to_string(&mut text)).await.unwrap();
    text
}

fn free_port() -> u16 {
    let mut port = lease(PortChoice::Auto, 0).unwrap();
    port.unreserve();
    port.port()
}

fn on(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The worlds in which networks can be made; those in which not are told.
async fn worlds() -> Vec<World> {
    let mut worlds = Vec::new();
    for level in Level::ALL {
        let Some(world) = World::at(level).await else {
            eprintln!("SKIPPED at the level {}: this machine does not have it", level.as_str());
            continue;
        };
        let sandbox = Sandbox { net: Some(Net::Loopback), ..Sandbox::default() };
        match world.machine.in_force(&Limits::default(), &sandbox, None) {
            Ok(_) => worlds.push(world),
            Err(cause) => eprintln!("SKIPPED at the level {}: {cause}", level.as_str()),
        }
    }
    worlds
}

async fn world() -> Option<World> {
    worlds().await.into_iter().next()
}

#[tokio::test]
async fn only_the_host_reaches_a_plugin_with_a_network_of_its_own() {
    let port = lease_apart(PortChoice::Auto, 0).unwrap().port();
    for world in worlds().await {
        for address in ["127.0.0.1", "0.0.0.0", "::1"] {
            let script = format!("serve(listen(\"{address}\", {port}), b\"hello\")");
            let process = apart(&world, &script).await;
            let door = door(&world, &process, port).await;
            assert_eq!(all(door.connect().await.unwrap()).await, "hello");
            let direct = TcpStream::connect(door.address()).await;
            assert_eq!(direct.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused, "{address}");
            let closed = process.handle.dial(on(port + 1)).await;
            assert_eq!(closed.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        }
    }
}

#[tokio::test]
async fn two_plugins_have_the_same_port() {
    let Some(world) = world().await else { return };
    let port = lease_apart(PortChoice::Fixed(8080), 0).unwrap().port();
    let server = |says: &str| format!("serve(listen(\"127.0.0.1\", {port}), b\"{says}\")");
    let one = apart(&world, &server("one")).await;
    let two = apart(&world, &server("two")).await;
    let doors = [door(&world, &one, port).await, door(&world, &two, port).await];
    for _ in 0..3 {
        assert_eq!(all(doors[0].connect().await.unwrap()).await, "one");
        assert_eq!(all(doors[1].connect().await.unwrap()).await, "two");
    }
}

#[tokio::test]
async fn a_plugin_with_a_network_of_its_own_reaches_nothing_of_the_host() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = format!("wharf-test-{}", std::process::id());
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name);
    let _abstract = std::os::unix::net::UnixListener::bind_addr(&address.unwrap()).unwrap();
    let script = format!(
        "attempt(\"tcp\", lambda: socket.create_connection((\"127.0.0.1\", {}), 5))\n\
         u = socket.socket(socket.AF_UNIX)\n\
         attempt(\"abstract\", lambda: u.connect(b\"\\0{name}\"))\n\
         d = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         attempt(\"udp\", lambda: d.connect((\"192.0.2.1\", 9)))\n\
         attempt(\"listen\", lambda: listen(\"127.0.0.1\", 0))\n\
         own = None\n\
         attempt(\"own\", lambda: d.sendto(b\"x\", (\"127.0.0.1\", 9)))",
        tcp.local_addr().unwrap().port()
    );
    let tell = async |world: &World, net| {
        let mut process = start(world, net, &script).await;
        let mut told = Vec::new();
        for _ in 0..5 {
            told.push(line(&mut process).await);
        }
        told
    };
    // ECONNREFUSED, ENETUNREACH. To one that has no loopback, its own addresses are out of reach too.
    for world in worlds().await {
        let open = tell(&world, None).await;
        assert_eq!(open[..2], ["tcp ok", "abstract ok"], "the knob makes the difference");
        let own = ["tcp 111", "abstract 111", "udp 101", "listen ok", "own ok"];
        assert_eq!(tell(&world, Some(Net::Loopback)).await, own);
        let none = tell(&world, Some(Net::None)).await;
        assert_eq!(none[1..], ["abstract 111", "udp 101", "listen ok", "own 101"]);
        assert_eq!(none[0], "tcp 101");
    }
}

#[tokio::test]
async fn a_slow_connection_holds_up_nothing() {
    let Some(world) = world().await else { return };
    let port = 8080;
    // Nobody takes what waits at the first one.
    let script = format!(
        "slow = listen(\"127.0.0.1\", {port}, 0)\nserve(listen(\"127.0.0.1\", {}), b\"quick\")",
        port + 1
    );
    let process = apart(&world, &script).await;
    let quick = door(&world, &process, port + 1).await;
    let slow = || process.handle.dial(on(port));
    let begun = Instant::now();
    let mut waiting: Vec<_> = (0..80).map(|_| Box::pin(slow())).collect();
    // More at once than the shim takes.
    let first = futures_util::future::join_all(waiting.drain(..20));
    let (outcomes, text) = tokio::join!(within(first), async { all(quick.connect().await.unwrap()).await });
    assert_eq!(text, "quick");
    let late =
        outcomes.iter().filter(|o| o.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::TimedOut));
    assert!(late.count() >= 15, "the shim gives up: {outcomes:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "in time");
    // The end of the plugin is seen while others wait.
    let ending = futures_util::future::join_all(waiting);
    let (outcomes, exit) = tokio::join!(within(ending), async {
        all(quick.connect().await.unwrap()).await;
        let begun = Instant::now();
        process.handle.kill();
        within(process.handle.gone()).await;
        begun.elapsed()
    });
    assert!(exit < Duration::from_secs(5), "{exit:?}");
    assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
}

#[tokio::test]
async fn a_shim_that_is_killed_ends_what_waits_for_it() {
    for world in worlds().await {
        let script = "slow = listen(\"127.0.0.1\", 8080, 0)\nserve(listen(\"127.0.0.1\", 8081), b\"quick\")";
        let process = apart(&world, script).await;
        let quick = door(&world, &process, 8081).await;
        let waiting: Vec<_> = (0..10).map(|_| process.handle.dial(on(8080))).collect();
        let kill = async {
            all(quick.connect().await.unwrap()).await;
            kill_hard(shim_of(&process.handle));
            Instant::now()
        };
        let (outcomes, killed) = tokio::join!(within(futures_util::future::join_all(waiting)), kill);
        assert!(killed.elapsed() < Duration::from_secs(5), "not by the time that a connection may take");
        let aborted = |o: &std::io::Result<_>| {
            o.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionAborted)
        };
        assert!(outcomes.iter().filter(|o| aborted(o)).count() >= 5, "{outcomes:?}");
        within(process.handle.gone()).await;
        assert!(aborted(&process.handle.dial(on(8081)).await), "and all later ones");
        assert!(aborted(&quick.connect().await));
    }
}

/// In a process of its own: other tests open and close descriptors too.
#[test]
fn connections_leave_no_descriptors() {
    let mut program = std::process::Command::new(std::env::current_exe().unwrap());
    passes(&mut program, "network::descriptor_program");
}

#[tokio::test]
#[ignore = "a program for another test"]
async fn descriptor_program() {
    let Some(world) = world().await else { return };
    let script = "slow = listen(\"127.0.0.1\", 8080, 0)\nserve(listen(\"127.0.0.1\", 8081), b\"quick\")";
    let process = apart(&world, script).await;
    let quick = door(&world, &process, 8081).await;
    let open = |pid: &str| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let shim = shim_of(&process.handle).to_string();
    let count = || (open("self"), open(&shim));
    let round = async || {
        for _ in 0..100 {
            all(quick.connect().await.unwrap()).await;
            process.handle.dial(on(8082)).await.unwrap_err();
            // Nobody waits for this one when it comes.
            drop(futures_util::FutureExt::now_or_never(process.handle.dial(on(8081))));
        }
        // Answers come in order: after this one, all before it have come.
        all(quick.connect().await.unwrap()).await;
    };
    round().await;
    let before = count();
    for _ in 0..4 {
        round().await;
    }
    // The shim lets go of its own end after it has passed it.
    let kept = || {
        let now = count();
        now.0 <= before.0 && now.1 <= before.1
    };
    until("as few descriptors as before", kept).await;
}

/// Listens until it gets SIGUSR1, then tells `closed`, and listens again when it gets a second one.
fn wavering(port: u16) -> String {
    format!(
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n\
         s = listen(\"127.0.0.1\", {port})\n\
         signal.sigwait([signal.SIGUSR1])\n\
         s.close()\n\
         print(\"closed\", flush=True)\n\
         signal.sigwait([signal.SIGUSR1])\n\
         s = listen(\"127.0.0.1\", {port})\n\
         print(\"again\", flush=True)\n\
         serve(s, b\"again\")"
    )
}

fn usr1(process: &Process) {
    let pid = process.handle.pid().to_string();
    assert!(std::process::Command::new("kill").args(["-USR1", &pid]).status().unwrap().success());
}

#[tokio::test]
async fn whoever_takes_the_place_of_a_plugin_gets_no_byte() {
    let world = World::new().await;
    let port = free_port();
    let mut process = start(&world, None, &wavering(port)).await;
    let door = door(&world, &process, port).await;
    drop(door.connect().await.unwrap());
    usr1(&process);
    assert_eq!(line(&mut process).await, "closed");
    let squatter = TcpListener::bind(on(port)).unwrap();
    let refused = within(door.connect()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    let stranger = within(door.squatted()).await;
    assert_eq!(stranger.pid, Some(std::process::id()), "{stranger}");
    assert_eq!(stranger.address, on(port));
    assert!(refused.to_string().contains(&format!("pid {}", std::process::id())), "{refused}");
    let mut got = Vec::new();
    squatter.accept().unwrap().0.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"");
}

#[tokio::test]
async fn a_plugin_that_listens_again_is_reached_again() {
    let world = World::new().await;
    let port = free_port();
    let mut process = start(&world, None, &wavering(port)).await;
    let door = door(&world, &process, port).await;
    usr1(&process);
    assert_eq!(line(&mut process).await, "closed");
    let nobody = within(door.connect()).await.unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::ConnectionRefused);
    usr1(&process);
    assert_eq!(line(&mut process).await, "again");
    assert_eq!(all(within(door.connect()).await.unwrap()).await, "again");
}

#[tokio::test]
async fn nothing_goes_to_the_port_of_a_dead_plugin() {
    let world = World::new().await;
    let port = free_port();
    let process = start(&world, None, &wavering(port)).await;
    let door = door(&world, &process, port).await;
    process.handle.kill();
    within(process.handle.gone()).await;
    let squatter = TcpListener::bind(on(port)).unwrap();
    squatter.set_nonblocking(true).unwrap();
    let refused = within(door.connect()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionAborted);
    assert!(squatter.accept().is_err(), "it is not even connected to");
}

#[tokio::test]
async fn a_stranger_on_the_other_loopback_is_not_the_plugin() {
    let world = World::new().await;
    if TcpListener::bind("[::1]:0").is_err() {
        println!("SKIPPED: this machine has no IPv6 loopback");
        return;
    }
    let port = free_port();
    let process = start(&world, None, &format!("serve(listen(\"::1\", {port}), b\"plugin\")")).await;
    door(&world, &process, port).await;
    let _squatter = TcpListener::bind(on(port)).unwrap();
    let door = door(&world, &process, port).await;
    assert_eq!(door.address().to_string(), format!("[::1]:{port}"));
    assert_eq!(all(door.connect().await.unwrap()).await, "plugin");
}
