//! What a connection and a network of its own cost. Measurements, run by hand: `cargo test -p wharf --test process -- --ignored
//! --nocapture --test-threads=1 network::numbers`.

use super::*;

fn median(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    (at(50), at(95))
}

/// Not a test: `--ignored --nocapture network::numbers` prints what connections and networks cost.
#[tokio::test]
#[ignore = "a measurement"]
async fn numbers() {
    let Some(world) = world().await else { return };
    for net in [None, Some(Net::Loopback)] {
        let port = free_port();
        let process = start(&world, net, &format!("serve(listen(\"127.0.0.1\", {port}), b\"x\")")).await;
        let door = door(&world, &process, port).await;
        let mut times = Vec::new();
        for _ in 0..500 {
            let begun = Instant::now();
            let mut stream = door.connect().await.unwrap();
            stream.read_u8().await.unwrap();
            times.push(begun.elapsed());
        }
        println!("{net:?}: connection and first byte, median and p95: {:?}", median(times));
        if net.is_none() {
            let mut times = Vec::new();
            for _ in 0..500 {
                let begun = Instant::now();
                TcpStream::connect(on(port)).await.unwrap().read_u8().await.unwrap();
                times.push(begun.elapsed());
            }
            println!("without the owner check: {:?}", median(times));
            let _held: Vec<_> = (0..1000)
                .map(|_| {
                    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                    (std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap(), listener)
                })
                .collect();
            let mut times = Vec::new();
            for _ in 0..500 {
                let begun = Instant::now();
                door.connect().await.unwrap().read_u8().await.unwrap();
                times.push(begun.elapsed());
            }
            println!("with 2000 sockets and more: {:?}", median(times));
            let begun = Instant::now();
            let bytes = std::fs::read("/proc/net/tcp").unwrap().len();
            println!("reading /proc/net/tcp ({bytes} bytes): {:?}", begun.elapsed());
        } else {
            let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", shim_of(&process.handle)));
            let rollup = rollup.unwrap_or_default();
            let sizes: Vec<_> =
                rollup.lines().filter(|l| l.starts_with("Pss:") || l.starts_with("Rss:")).collect();
            println!("shim: {sizes:?}");
        }
    }
}

/// Likewise `network::spawn_numbers`: what a network adds to a launch.
#[tokio::test]
#[ignore = "a measurement"]
async fn spawn_numbers() {
    let Some(world) = world().await else { return };
    for net in [None, Some(Net::Loopback), None, Some(Net::Loopback)] {
        let mut times = Vec::new();
        for _ in 0..200 {
            let launch = world.launch("/bin/true", &[]);
            let launch = Launch { sandbox: Sandbox { net, ..Sandbox::default() }, ..launch };
            let begun = Instant::now();
            let process = world.spawn(launch).await.unwrap();
            times.push(begun.elapsed());
            within(process.handle.gone()).await;
        }
        println!("{net:?}: spawn of /bin/true, median and p95: {:?}", median(times));
    }
}
