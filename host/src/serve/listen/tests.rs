use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use nix::sys::socket::{getsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream};

use super::{Listening, ServeError, Settings, Shared, bind_unix, is_trusted, keep_alive};
use crate::held::{Held, STUCK};
use crate::serve::auth::{Auth, Via};
use crate::serve::body::JsonBody;
use crate::serve::door::Door;
use crate::serve::framing::{HEAD_DEADLINE, IDLE, STALL, Verdict};
use crate::serve::guard::Guard;
use crate::serve::problem::Problem;
use crate::serve::spare::Seat;
use crate::tasks::Tasks;

/// Tells when it is dropped.
struct Told(Arc<Semaphore>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

struct Stub {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    dropped: Arc<Semaphore>,
    entered: Arc<Semaphore>,
}

fn stub() -> Stub {
    stub_of(Held::default(), 1)
}

fn stub_of(held: Held, connections: usize) -> Stub {
    let (dropped, entered) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (told, inside) = (Arc::clone(&dropped), Arc::clone(&entered));
    let hang = move || async move {
        let _told = Told(told);
        inside.add_permits(1);
        std::future::pending::<()>().await;
    };
    let echo = |body: JsonBody| async move { Ok::<_, Problem>(body.0.unwrap_or_default()) };
    let router = Router::new()
        .route("/healthz", get(|| async { "fine" }))
        .route("/hang", get(hang))
        .route("/big", get(|| async { vec![b'x'; 4 << 20] }))
        .route("/echo", post(echo));
    let shared = Arc::new(Shared {
        drain: Arc::default(),
        door: Door::new(Guard::default(), Auth::Open, router, None),
        held,
        connections: Default::default(),
        tasks: Tasks::default(),
        threads: Weak::default(),
    });
    Stub { shared, room: Arc::new(Semaphore::new(connections)), dropped, entered }
}

impl Stub {
    fn connect(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(256 * 1024);
        let permit = Arc::clone(&self.room).try_acquire_owned().unwrap();
        let (shared, seat) = (Arc::clone(&self.shared), Seat::of(permit));
        self.shared.tasks.spawn(tracing::Span::none(), async move {
            shared.converse(Via::Tcp, far, Verdict::default(), seat.is_spare()).await;
            drop(seat);
        });
        near
    }

    /// Sends bytes and reads until the server closes.
    async fn exchange(&self, sent: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_is_given_up() {
    for partial in ["", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "] {
        let began = Instant::now();
        let answer = stub().exchange(partial).await;
        assert!(!answer.contains("fine"), "{answer}");
        let waited = began.elapsed();
        assert!(
            waited >= HEAD_DEADLINE && waited < HEAD_DEADLINE + Duration::from_secs(2),
            "{partial:?} {waited:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_trickled_head_is_given_up_all_the_same() {
    let stub = stub();
    let began = Instant::now();
    let (mut read, mut write) = tokio::io::split(stub.connect());
    let trickle = async {
        // Ends when the server has closed its side.
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = trickle => {}
        read = read.read_to_end(&mut answer) => assert!(read.is_ok()),
    }
    assert!(began.elapsed() <= HEAD_DEADLINE + Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_between_two_requests_has_more_time_than_a_head_that_has_begun() {
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for begun in [&b""[..], b"GET /healthz HTTP/1.1\r\n"] {
        let stub = stub();
        let mut stream = stub.connect();
        for _ in 0..2 {
            stream.write_all(request).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"fine") {
                assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed too early");
            }
            tokio::time::sleep(IDLE - Duration::from_secs(20)).await;
        }
        let began = Instant::now();
        stream.write_all(begun).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        let (waited, expected) =
            (began.elapsed(), if begun.is_empty() { Duration::from_secs(20) } else { HEAD_DEADLINE });
        assert!(waited >= expected && waited < expected + Duration::from_secs(2), "{begun:?} {waited:?}");
    }
}

#[tokio::test]
async fn a_doubly_framed_request_is_refused_and_the_connection_closed() {
    let next = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for head in
        ["Content-Length: 2\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 2"]
    {
        let sent = format!(
            "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{head}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n{next}"
        );
        let answer = stub().exchange(&sent).await;
        assert_eq!(status(&answer), "400", "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    }
}

#[tokio::test]
async fn nothing_follows_a_chunked_body() {
    let sent = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
                2\r\n{}\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = stub().exchange(sent).await;
    assert_eq!(status(&answer), "200", "{answer}");
    assert!(answer.ends_with("{}") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
}

#[tokio::test]
async fn heads_are_bounded() {
    let many: String = (0..101).map(|n| format!("X-{n}: 1\r\n")).collect();
    let long = format!("X: {}\r\n", "x".repeat(70 * 1024));
    for headers in [many, long] {
        let answer =
            stub().exchange(&format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")).await;
        assert_eq!(status(&answer), "431", "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_drops_its_request() {
    let stub = stub();
    let mut stream = stub.connect();
    stream.write_all(b"GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let bound = Duration::from_secs(10);
    tokio::time::timeout(bound, stub.entered.acquire()).await.unwrap().unwrap().forget();
    drop(stream);
    tokio::time::timeout(bound, stub.dropped.acquire())
        .await
        .expect("the request lives on")
        .unwrap()
        .forget();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_gives_its_place_back() {
    let stub = stub();
    let mut stream = stub.connect();
    stream.write_all(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let began = Instant::now();
    tokio::time::timeout(4 * STALL, stub.room.acquire())
        .await
        .expect("the connection is held")
        .unwrap()
        .forget();
    assert!(began.elapsed() >= STALL);
    drop(stream);
}

const BIG: &[u8] = b"GET /big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn clients_that_read_nothing_cannot_hold_more_than_there_is_room_for() {
    let held = Held::new(9 << 20, 9 << 20);
    let stub = stub_of(held.clone(), 8);
    let mut clients = Vec::new();
    for n in 0..8 {
        let mut stream = stub.connect();
        stream.write_all(BIG).await.unwrap();
        clients.push(stream);
        // The clock goes on when there is nothing else to do.
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!((held.bytes(), held.cut_off()), ((n + 1).min(2) << 22, (n as u64).saturating_sub(1)));
    }
    assert_eq!(stub.room.available_permits(), 6, "who was cut off gave its place back");
    let mut answer = Vec::new();
    clients.pop().unwrap().read_to_end(&mut answer).await.unwrap();
    assert!(answer.len() > 4 << 20, "who reads has its answer, {} bytes", answer.len());
    drop(clients);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(held.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_a_slow_reader_and_not_for_one_that_takes_nothing() {
    let stub = stub_of(Held::default(), 2);
    let (mut slow, mut stopped) = (stub.connect(), stub.connect());
    slow.write_all(BIG).await.unwrap();
    stopped.write_all(BIG).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let mut taken = 0;
    let read = async {
        let mut part = vec![0; 256 << 10];
        loop {
            tokio::time::sleep(STUCK / 2).await;
            match slow.read(&mut part).await.unwrap() {
                0 => return,
                n => taken += n,
            }
        }
    };
    let (left, ()) =
        tokio::join!(stub.shared.drain.end(&stub.shared.tasks, Duration::from_secs(600), || 0), read);
    assert!(taken > 4 << 20, "the answer in flight came to its end, {taken} bytes");
    assert_eq!((left, stub.room.available_permits()), (0, 2));
    drop(stopped);
    let stub = stub_of(Held::default(), 1);
    let mut stopped = stub.connect();
    stopped.write_all(BIG).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let began = Instant::now();
    assert_eq!(stub.shared.drain.end(&stub.shared.tasks, Duration::from_secs(600), || 0).await, 0);
    assert!(began.elapsed() < 2 * STUCK, "{:?}", began.elapsed());
    drop(stopped);
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let stub = stub();
    let mut stream = stub.connect();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    assert_eq!(stub.shared.drain.end(&stub.shared.tasks, Duration::from_secs(10), || 0).await, 0);
}

#[tokio::test]
async fn a_request_that_is_there_as_the_end_comes_is_answered() {
    const ASKS: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let stub = stub();
    let mut stream = stub.connect();
    stream.write_all(ASKS).await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    // Both wake the connection at once.
    stream.write_all(ASKS).await.unwrap();
    assert_eq!(stub.shared.drain.end(&stub.shared.tasks, Duration::from_secs(10), || 0).await, 0);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    let answers = String::from_utf8_lossy(&rest).matches("HTTP/1.1 ").count();
    assert_eq!(answers, 1, "{}", String::from_utf8_lossy(&rest));
}

fn settings(state: &std::path::Path, listen: &str, auth: bool) -> Settings {
    Settings {
        listen: listen.parse().unwrap(),
        state: state.to_owned(),
        auth,
        allow_hosts: Vec::new(),
        allow_origins: Vec::new(),
        threads: 0,
    }
}

#[tokio::test]
async fn without_a_token_only_loopback_is_served() {
    let state = tempfile::tempdir().unwrap();
    let open = Listening::bind(&settings(state.path(), "0.0.0.0:0", false)).await;
    assert!(matches!(open, Err(ServeError::OpenToAll(_))));
    assert!(!state.path().join("token").exists());
    let local = Listening::bind(&settings(state.path(), "127.0.0.1:0", false)).await.unwrap();
    assert!(local.token().is_none() && local.address().port() != 0);
    let everywhere = Listening::bind(&settings(state.path(), "0.0.0.0:0", true)).await.unwrap();
    assert!(everywhere.token().is_some());
    let taken = Listening::bind(&settings(state.path(), &local.address().to_string(), false)).await;
    assert!(taken.unwrap_err().to_string().contains("--listen"));
}

#[tokio::test]
async fn the_unix_socket_is_ours_alone_and_replaces_a_stale_one() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("wharf.sock");
    drop(bind_unix(&path).unwrap());
    assert!(path.exists(), "a socket that was not cleaned up");
    let listener = bind_unix(&path).unwrap();
    let found = std::fs::metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    let (client, served) = tokio::join!(tokio::net::UnixStream::connect(&path), listener.accept());
    let _client = client.unwrap();
    assert!(is_trusted(served.unwrap().0.peer_cred().unwrap().uid()));
    assert!(!is_trusted(nix::unistd::geteuid().as_raw().wrapping_add(1).max(1)));
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_not_replaced() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("wharf.sock");
    std::fs::write(&path, "precious").unwrap();
    assert!(bind_unix(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_client_that_vanished_is_asked_for_and_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, served) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (_client, (served, _)) = (client.unwrap(), served.unwrap());
    keep_alive(&served).unwrap();
    assert!(getsockopt(&served, sockopt::KeepAlive).unwrap());
    let silent = getsockopt(&served, sockopt::TcpKeepIdle).unwrap()
        + getsockopt(&served, sockopt::TcpKeepInterval).unwrap()
            * getsockopt(&served, sockopt::TcpKeepCount).unwrap();
    assert_eq!((silent, getsockopt(&served, sockopt::TcpUserTimeout).unwrap()), (120, 300_000));
}

/// Asks over a connection which stays open for the thread that serves it.
async fn served_by(address: std::net::SocketAddr) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /thread HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b".") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
    }
    let name = String::from_utf8(answer).unwrap().rsplit_once("\r\n").unwrap().1.to_owned();
    (stream, name)
}

#[tokio::test]
async fn many_connections_are_spread_and_end_with_the_edge() {
    let state = tempfile::tempdir().unwrap();
    let settings = Settings { threads: 2, ..settings(state.path(), "127.0.0.1:0", false) };
    let listening = Listening::bind(&settings).await.unwrap();
    let address = listening.address();
    let name = || async { format!("{}.", std::thread::current().name().unwrap_or_default()) };
    let routes = Router::new().route("/thread", get(name));
    let server = listening.serve_routes(Tasks::default(), Held::default(), routes).unwrap();
    let mut kept = Vec::new();
    for _ in 0..35 {
        kept.push(served_by(address).await);
    }
    let by = |number| kept.iter().filter(move |(_, name)| name == number).count();
    assert!(!kept[..16].iter().any(|(_, name)| name.starts_with("serve-")), "few stay on its own thread");
    assert_eq!((by("serve-1."), by("serve-2.")), (10, 9), "the rest is shared");
    assert_eq!(server.stop(Duration::from_secs(10)).await, 0);
    for (mut stream, _) in kept {
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "closed");
    }
}
