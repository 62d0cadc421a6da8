use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::held::Held;
use crate::near::{Best, wishes};
use crate::serve::{Listening, Server, Settings};
use crate::tasks::Tasks;

const PATIENCE: Duration = Duration::from_secs(20);

/// An edge with one thread beside the test's, whose routes tell by which they are served, and what they wish.
async fn edge(state: &tempfile::TempDir) -> (Server, SocketAddr) {
    let listen = "127.0.0.1:0".parse().unwrap();
    let settings = Settings { auth: false, threads: 1, ..Settings::new(listen, state.path()) };
    let listening = Listening::bind(&settings).await.unwrap();
    let address = listening.address();
    let wishing = |best| {
        get(move |Path(number): Path<usize>| async move {
            wishes(best);
            let is_beside = std::thread::current().name() == Some("serve-1");
            format!("<{number} {is_beside}>")
        })
    };
    let routes = Router::new()
        .route("/any/{number}", wishing(Some(Best::Any)))
        .route("/own/{number}", wishing(Some(Best::Own)))
        .route("/none/{number}", wishing(None));
    (listening.serve_routes(Tasks::default(), Held::default(), routes).unwrap(), address)
}

/// Asks so many times, one after the other, and reads who served each.
async fn asks(stream: &mut TcpStream, path: &str, times: usize) -> Vec<bool> {
    let mut beside = Vec::new();
    for _ in 0..times {
        beside.extend(asks_at_once(stream, path, 1).await);
    }
    beside
}

/// The same, without waiting for the answers in between. Each is answered once, in its turn.
async fn asks_at_once(stream: &mut TcpStream, path: &str, times: usize) -> Vec<bool> {
    let request = |number| format!("GET /{path}/{number} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all((0..times).map(request).collect::<String>().as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while read.iter().filter(|byte| **byte == b'>').count() < times {
        let n = timeout(PATIENCE, stream.read_buf(&mut read)).await.expect("an answer is lost").unwrap();
        assert_ne!(n, 0, "closed");
    }
    let read = String::from_utf8(read).unwrap();
    let answers = read.split('<').skip(1).enumerate().map(|(number, answer)| {
        let (said, rest) = answer.split_once('>').unwrap();
        let is_last = number + 1 == times;
        assert_eq!(rest.is_empty(), is_last, "after the last one comes nothing: {rest}");
        said.strip_prefix(&format!("{number} ")).expect("in its turn") == "true"
    });
    answers.collect()
}

/// Asks until it is served there. A connection moves when it has nothing to do, so it may take a few more than are needed.
async fn until(stream: &mut TcpStream, path: &str, beside: bool) {
    for _ in 0..200 {
        if asks(stream, path, 1).await == [beside] {
            return;
        }
    }
    panic!("it was not moved");
}

#[tokio::test]
async fn a_connection_goes_where_its_calls_are_served_best_and_comes_back() {
    let state = tempfile::tempdir().unwrap();
    let (server, address) = edge(&state).await;
    let mut many = Vec::new();
    for number in 0..17 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(asks(&mut stream, "any", 2).await, [false; 2], "two calls move nothing");
        assert_eq!(asks(&mut stream, "none", 8).await, [false; 8], "nor do requests that are no calls");
        if number < 16 {
            assert_eq!(asks(&mut stream, "any", 8).await, [false; 8], "there is room for it here");
            asks(&mut stream, "none", 1).await;
        } else {
            until(&mut stream, "any", true).await;
            assert_eq!(asks(&mut stream, "none", 8).await, [true; 8], "it stays there");
            // All at once, while it may move: each is answered, once.
            assert_eq!(asks_at_once(&mut stream, "own", 100).await.len(), 100);
            until(&mut stream, "own", false).await;
            until(&mut stream, "any", true).await;
        }
        // Nothing more came than was asked for.
        assert!(stream.try_read(&mut [0]).is_err());
        many.push(stream);
    }
    assert_eq!(server.stop(Duration::from_secs(10)).await, 0);
    for mut stream in many {
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "closed");
    }
}
