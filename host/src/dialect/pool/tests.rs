use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Body, HttpClient, Place, Sent, Unanswered, path};
use crate::dialect::http_client;
use crate::tasks::Tasks;

struct Server {
    listener: TcpListener,
    url: String,
}

impl Server {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x?y=1", listener.local_addr().unwrap());
        Self { listener, url }
    }

    async fn accept(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    fn request(&self) -> Request<Full<Bytes>> {
        Request::post(&self.url).body(Full::from("hello")).unwrap()
    }
}

/// Reads one request and gives one answer.
async fn answer(stream: &mut TcpStream, body: &str) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\nhello") {
        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
    }
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(request).unwrap()
}

async fn text(body: Body) -> String {
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn call(client: &HttpClient, server: &Server, stream: &mut TcpStream) -> String {
    let (response, request) = tokio::join!(client.request(server.request()), answer(stream, "ok"));
    assert_eq!(text(response.unwrap().into_body()).await, "ok");
    request
}

#[tokio::test]
async fn a_connection_is_used_again_and_a_closed_one_is_not() {
    let (client, server) = (http_client(&Tasks::default()), Server::new().await);
    let (response, mut stream) = tokio::join!(client.request(server.request()), async {
        let mut stream = server.accept().await;
        let request = answer(&mut stream, "ok").await;
        assert!(request.starts_with("POST /x?y=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: {}\r\n", server.listener.local_addr().unwrap())));
        stream
    });
    assert_eq!(text(response.unwrap().into_body()).await, "ok");
    call(&client, &server, &mut stream).await;
    drop(stream);
    // Until the system tells of it.
    let told = async {
        while client.0.idle().all.iter_mut().any(|idle| idle.lane.stands()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), told).await.expect("closed");
    let (response, ()) = tokio::join!(client.request(server.request()), async {
        answer(&mut server.accept().await, "new").await;
    });
    assert_eq!(text(response.unwrap().into_body()).await, "new");
}

#[tokio::test]
async fn an_answer_that_is_not_read_closes_its_connection() {
    let (client, server) = (http_client(&Tasks::default()), Server::new().await);
    let (response, mut stream) = tokio::join!(client.request(server.request()), async {
        let mut stream = server.accept().await;
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabout a half";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    });
    drop(response.unwrap());
    let mut rest = Vec::new();
    // It ends, or is reset: what was sent is not read.
    stream.read_to_end(&mut rest).await.ok();
    assert!(client.0.idle().all.is_empty());
}

#[tokio::test]
async fn where_nobody_listens_nothing_is_sent() {
    let server = Server::new().await;
    let request = server.request();
    drop(server);
    assert!(matches!(http_client(&Tasks::default()).request(request).await, Err(Unanswered::Connect(_))));
}

/// The server closes it at the very moment: the request comes back, or is told that it broke. It never waits.
#[tokio::test]
async fn a_request_on_a_connection_that_ends_is_never_left_alone() {
    let (client, server) = (http_client(&Tasks::default()), Server::new().await);
    for _ in 0..100 {
        let (response, mut stream) = tokio::join!(client.request(server.request()), async {
            let mut stream = server.accept().await;
            answer(&mut stream, "ok").await;
            stream
        });
        assert_eq!(text(response.unwrap().into_body()).await, "ok");
        let request = server.request();
        let to = Place(request.uri().scheme().cloned(), request.uri().authority().cloned());
        let mut lane = client.0.take(&to).expect("it is kept");
        stream.shutdown().await.unwrap();
        drop(stream);
        let mut request = server.request();
        *request.uri_mut() = path(request.uri());
        let sent = tokio::time::timeout(Duration::from_secs(10), lane.send(request)).await;
        assert!(matches!(sent.expect("it ends"), Sent::Unsent(_) | Sent::Failed(_)));
    }
}

#[tokio::test]
async fn one_task_at_a_time_tidies() {
    let tasks = Tasks::default();
    let (client, server) = (http_client(&tasks), Server::new().await);
    let (response, mut stream) = tokio::join!(client.request(server.request()), async {
        let mut stream = server.accept().await;
        answer(&mut stream, "ok").await;
        stream
    });
    assert_eq!(text(response.unwrap().into_body()).await, "ok");
    for _ in 0..50 {
        call(&client, &server, &mut stream).await;
    }
    assert_eq!(tasks.count(), 1);
}
