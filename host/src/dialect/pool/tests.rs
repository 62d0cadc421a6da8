use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Body, FEW, Sent, Server, Unanswered, path};
use crate::dialect::http_client;
use crate::dialect::testkit::within;
use crate::near;
use crate::tasks::Tasks;

/// The other end.
struct Far {
    listener: TcpListener,
    url: String,
}

impl Far {
    async fn new() -> (Self, Server) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x?y=1", listener.local_addr().unwrap());
        let server = http_client(&Tasks::default()).server(url.parse().unwrap());
        (Self { listener, url }, server)
    }

    async fn accept(&self) -> TcpStream {
        within(self.listener.accept()).await.unwrap().0
    }

    fn request(&self) -> Request<Full<Bytes>> {
        Request::post(&self.url).header("content-length", 5).body(Full::from("hello")).unwrap()
    }
}

async fn asked(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\nhello") {
        assert_ne!(within(stream.read_buf(&mut request)).await.unwrap(), 0, "it is closed");
    }
    String::from_utf8(request).unwrap()
}

/// Reads one request and gives one answer.
async fn answer(stream: &mut TcpStream, body: &str) -> String {
    let request = asked(stream).await;
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
    request
}

async fn text(response: Result<Response<Body>, Unanswered>) -> String {
    let body = within(response.expect("answered").into_body().collect()).await;
    String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap()
}

/// One exchange on a connection that is there.
async fn call(server: &Server, far: &Far, stream: &mut TcpStream) -> String {
    let (response, request) = tokio::join!(within(server.request(far.request())), answer(stream, "ok"));
    assert_eq!(text(response).await, "ok");
    request
}

/// One exchange on a new connection.
async fn first(server: &Server, far: &Far) -> TcpStream {
    let (response, stream) = tokio::join!(within(server.request(far.request())), async {
        let mut stream = far.accept().await;
        answer(&mut stream, "ok").await;
        stream
    });
    assert_eq!(text(response).await, "ok");
    stream
}

/// Returns when the system has told of all that was sent and closed here before.
async fn told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    far.write_all(b"x").await.unwrap();
    assert_eq!(within(near.read(&mut [0; 8])).await.unwrap(), 1);
}

#[tokio::test]
async fn a_connection_is_used_again_and_one_that_was_closed_is_not() {
    let (far, server) = Far::new().await;
    let mut stream = first(&server, &far).await;
    for _ in 0..50 {
        let request = call(&server, &far, &mut stream).await;
        assert!(request.starts_with("POST /x?y=1 HTTP/1.1\r\n"), "{request}");
        drop(stream);
        told().await;
        assert_eq!(server.0.idle().all.len(), 1, "nobody has looked after it");
        // The request comes back from it, and goes over a new one: it arrives once.
        stream = first(&server, &far).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_not_used_is_closed_before_its_server_would() {
    let (far, server) = Far::new().await;
    let mut stream = first(&server, &far).await;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    tokio::time::resume();
    call(&server, &far, &mut stream).await;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(server.0.idle().all.len(), 1, "it was used meanwhile");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    tokio::time::resume();
    assert_eq!(within(stream.read(&mut [0; 8])).await.unwrap(), 0);
    assert!(!server.0.idle().is_tidied, "nobody counts where there is nothing");
}

#[tokio::test]
async fn who_asks_at_the_same_time_has_a_connection_of_its_own() {
    let (far, server) = Far::new().await;
    let mut one = first(&server, &far).await;
    let (a, b, _other) =
        tokio::join!(within(server.request(far.request())), within(server.request(far.request())), async {
            let mut other = far.accept().await;
            // Both are under way before either is answered.
            asked(&mut one).await;
            asked(&mut other).await;
            for (stream, body) in [(&mut other, "other"), (&mut one, "one")] {
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            other
        });
    let mut said = [text(a).await, text(b).await];
    said.sort();
    assert_eq!(said, ["one", "other"]);
    assert_eq!(server.0.idle().all.len(), 2, "both are kept");
}

#[tokio::test]
async fn an_answer_that_is_not_read_closes_its_connection() {
    let (far, server) = Far::new().await;
    let (response, mut stream) = tokio::join!(within(server.request(far.request())), async {
        let mut stream = far.accept().await;
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabout a half";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    });
    drop(response.unwrap());
    // It ends, or is reset: what was sent is not read.
    within(stream.read_to_end(&mut Vec::new())).await.ok();
    assert!(server.0.idle().all.is_empty());
}

#[tokio::test]
async fn a_request_that_is_given_up_closes_its_connection() {
    let (far, server) = Far::new().await;
    for is_new in [true, false] {
        let mut stream = if is_new { None } else { Some(first(&server, &far).await) };
        let mut request = Box::pin(server.request(far.request()));
        let sent = async {
            let stream = match &mut stream {
                Some(stream) => stream,
                none => none.insert(far.accept().await),
            };
            asked(stream).await;
        };
        tokio::select! {
            _ = &mut request => panic!("nobody answers"),
            () = sent => {}
        }
        drop(request);
        assert_eq!(within(stream.unwrap().read(&mut [0; 8])).await.unwrap(), 0, "new: {is_new}");
        assert!(server.0.idle().all.is_empty());
    }
}

#[tokio::test]
async fn a_response_may_be_waited_for_by_another_task() {
    let tasks = Tasks::default();
    let (far, server) = Far::new().await;
    let mut stream = first(&server, &far).await;
    for _ in 0..10 {
        let (server, request) = (server.clone(), far.request());
        let mut waits = Box::pin(async move { text(server.request(request).await).await });
        // Here it is sent, and here it is waited for first.
        poll_fn(|cx| {
            assert!(waits.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        let elsewhere = tasks.spawn(tracing::Span::none(), waits);
        let body = "long ".repeat(100_000);
        answer(&mut stream, &body).await;
        assert_eq!(within(elsewhere).await.unwrap(), body);
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(watch::Sender<usize>);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.send_modify(|n| *n += 1);
    }
}

#[tokio::test]
async fn a_task_is_woken_once_for_an_answer_and_never_for_another_task() {
    let (far, server) = Far::new().await;
    let mut stream = first(&server, &far).await;
    let all: [Arc<Woken>; 2] = Default::default();
    for woken in &all {
        let waker = Waker::from(Arc::clone(woken));
        let mut cx = Context::from_waker(&waker);
        let mut asking = Box::pin(async { text(server.request(far.request()).await).await });
        assert!(asking.as_mut().poll(&mut cx).is_pending());
        answer(&mut stream, "ok").await;
        within(woken.0.subscribe().wait_for(|n| *n > 0)).await.unwrap();
        assert_eq!(asking.as_mut().poll(&mut cx), Poll::Ready("ok".to_owned()));
    }
    // One that is answered in pieces is woken for each.
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    let mut asking = Box::pin(async { text(server.request(far.request()).await).await });
    assert!(asking.as_mut().poll(&mut cx).is_pending());
    asked(&mut stream).await;
    for (n, piece) in ["HTTP/1.1 200 OK\r\n", "content-length: 4\r\n\r\n", "on", "e"].into_iter().enumerate()
    {
        stream.write_all(piece.as_bytes()).await.unwrap();
        within(woken.0.subscribe().wait_for(|woken| *woken > n)).await.unwrap();
        assert!(asking.as_mut().poll(&mut cx).is_pending());
    }
    stream.write_all(b"!").await.unwrap();
    within(woken.0.subscribe().wait_for(|woken| *woken > 4)).await.unwrap();
    assert_eq!(asking.as_mut().poll(&mut cx), Poll::Ready("one!".to_owned()));
    told().await;
    let times = [&all[0], &all[1], &woken].map(|woken| *woken.0.borrow());
    assert_eq!(times, [1, 1, 5]);
}

/// Asks on another serving thread than this one.
fn asked_elsewhere(server: &Server, far: &Far) -> std::thread::JoinHandle<String> {
    let (server, request) = (server.clone(), far.request());
    std::thread::spawn(move || {
        near::belongs_to(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { text(within(server.request(request)).await).await })
    })
}

#[tokio::test]
async fn while_there_are_few_a_connection_of_another_thread_is_used_and_then_no_more() {
    let (far, server) = Far::new().await;
    let mut only = first(&server, &far).await;
    let joined = async |thread: std::thread::JoinHandle<String>| {
        tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap()
    };
    let elsewhere = asked_elsewhere(&server, &far);
    answer(&mut only, "the only one").await;
    assert_eq!(joined(elsewhere).await, "the only one");
    // It was left there, and is found from here.
    call(&server, &far, &mut only).await;
    let (held, _) = tokio::join!(within(server.request(far.request())), answer(&mut only, "held"));
    let (mut all, mut streams) = (vec![held], vec![only]);
    for _ in 0..FEW {
        let (response, stream) = tokio::join!(within(server.request(far.request())), async {
            let mut stream = far.accept().await;
            answer(&mut stream, "held").await;
            stream
        });
        all.push(response);
        streams.push(stream);
    }
    for response in all {
        assert_eq!(text(response).await, "held");
    }
    let elsewhere = asked_elsewhere(&server, &far);
    let mut own = far.accept().await;
    answer(&mut own, "its own").await;
    assert_eq!(joined(elsewhere).await, "its own");
}

#[tokio::test]
async fn where_nobody_listens_nothing_is_sent() {
    let (far, server) = Far::new().await;
    let request = far.request();
    drop(far);
    assert!(matches!(within(server.request(request)).await, Err(Unanswered::Connect(_))));
}

/// The server closes it at the very moment: the request comes back, or is told that it broke. It never waits.
#[tokio::test]
async fn a_request_on_a_connection_that_ends_is_never_left_alone() {
    let (far, server) = Far::new().await;
    for _ in 0..100 {
        let mut stream = first(&server, &far).await;
        let lane = server.0.take().expect("it is kept");
        stream.shutdown().await.unwrap();
        drop(stream);
        let mut request = far.request();
        *request.uri_mut() = path(request.uri());
        let sent = within(lane.send(request)).await;
        assert!(matches!(sent, Sent::Unsent(_) | Sent::Failed(_)));
    }
}

/// It broke after the request was handed over: nobody may send it again.
#[tokio::test]
async fn a_request_that_was_read_is_not_sent_again() {
    let (far, server) = Far::new().await;
    let mut stream = first(&server, &far).await;
    let (response, ()) = tokio::join!(within(server.request(far.request())), async {
        asked(&mut stream).await;
        drop(stream);
    });
    assert!(matches!(response, Err(Unanswered::Broke(_))));
    told().await;
    assert!(tokio::time::timeout(Duration::ZERO, far.listener.accept()).await.is_err(), "it was sent again");
}

#[tokio::test]
async fn one_task_at_a_time_tidies() {
    let (far, server) = Far::new().await;
    let mut stream = first(&server, &far).await;
    for _ in 0..50 {
        call(&server, &far, &mut stream).await;
    }
    assert_eq!(server.tasks().count(), 1);
}

mod waiting;
