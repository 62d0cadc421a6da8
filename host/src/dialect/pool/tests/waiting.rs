//! Requests that wait for a connection which is slow to come about.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::super::wanted::LEFT;
use super::super::{Exchange, Server};
use super::{Far, answer, asked_elsewhere, call, first, text, told};
use crate::dialect::testkit::within;
use crate::dialect::way::{Dial, Way};
use crate::dialect::web::client;
use crate::tasks::Tasks;

/// A way to the server on which the first connection comes at once, and every other when it is let through; how many were
/// begun, and how many of them are still under way or there.
struct Slow {
    through: Arc<Semaphore>,
    begun: Arc<AtomicUsize>,
    alive: Arc<()>,
}

impl Slow {
    async fn new() -> (Self, Far, Server) {
        let (far, _) = Far::new().await;
        let address = far.listener.local_addr().unwrap();
        let slow =
            Self { through: Arc::new(Semaphore::new(0)), begun: Arc::default(), alive: Arc::default() };
        let (through, begun, alive) =
            (Arc::clone(&slow.through), Arc::clone(&slow.begun), Arc::clone(&slow.alive));
        let dial: Dial = Arc::new(move || {
            let (n, through) = (begun.fetch_add(1, Ordering::Relaxed), Arc::clone(&through));
            let alive = Arc::clone(&alive);
            Box::pin(async move {
                let _alive = alive;
                if n > 0 {
                    through.acquire().await.unwrap().forget();
                }
                TcpStream::connect(address).await
            })
        });
        let server = client(Way::Given(dial), Tasks::default()).server(far.url.parse().unwrap());
        (slow, far, server)
    }

    /// Those that are begun and not there yet; one is of the way itself, one of this.
    fn under_way(&self) -> usize {
        Arc::strong_count(&self.alive) - 2
    }
}

/// Two requests at once: the one is answered on the connection that there is, and then the other one on the same.
async fn one_after_the_other(server: &Server, far: &Far, stream: &mut TcpStream) {
    let one = server.request(far.request());
    let two = within(server.request(far.request()));
    let answers = async {
        answer(stream, "one").await;
        answer(stream, "two").await;
    };
    let (one, two, ()) = tokio::join!(async { text(within(one).await).await }, two, answers);
    assert_eq!((one.as_str(), text(two).await.as_str()), ("one", "two"));
}

/// A request that has waited, and was given the connection that there is; it has not taken it yet.
async fn given<'a>(server: &'a Server, far: &Far, stream: &mut TcpStream) -> Exchange<'a> {
    let (one, _) = tokio::join!(within(server.request(far.request())), answer(stream, "one"));
    let mut asking = server.request(far.request());
    assert!((&mut asking).now_or_never().is_none(), "it waits for a connection");
    assert_eq!(text(one).await, "one");
    asking
}

#[tokio::test]
async fn who_waits_for_a_connection_takes_one_that_is_given_back_and_finds_the_new_one_next_time() {
    let (slow, far, server) = Slow::new().await;
    let mut stream = first(&server, &far).await;
    one_after_the_other(&server, &far, &mut stream).await;
    assert_eq!((slow.begun.load(Ordering::Relaxed), slow.under_way()), (2, 1));
    slow.through.add_permits(1);
    let mut new = far.accept().await;
    within(async {
        while server.0.idle().all.len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (one, two, _, _) = tokio::join!(
        within(server.request(far.request())),
        within(server.request(far.request())),
        answer(&mut stream, "ok"),
        answer(&mut new, "ok")
    );
    assert_eq!((text(one).await.as_str(), text(two).await.as_str()), ("ok", "ok"));
    assert_eq!(slow.begun.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn only_so_many_connections_come_about_for_nobody() {
    let (slow, far, server) = Slow::new().await;
    let mut stream = first(&server, &far).await;
    for _ in 0..LEFT + 3 {
        one_after_the_other(&server, &far, &mut stream).await;
    }
    assert_eq!((slow.begun.load(Ordering::Relaxed), slow.under_way()), (LEFT + 4, LEFT));
    assert_eq!(server.0.left.available_permits(), 0);
}

#[tokio::test]
async fn a_connection_that_was_given_to_who_is_gone_is_kept() {
    let (_slow, far, server) = Slow::new().await;
    let mut stream = first(&server, &far).await;
    let gone = given(&server, &far, &mut stream).await;
    assert_eq!(server.0.idle().all.len(), 0, "it was given on");
    drop(gone);
    assert_eq!(server.0.idle().all.len(), 1);
    call(&server, &far, &mut stream).await;
}

#[tokio::test]
async fn who_was_given_one_that_is_closed_waits_for_its_own() {
    let (slow, far, server) = Slow::new().await;
    let mut stream = first(&server, &far).await;
    let mut asking = given(&server, &far, &mut stream).await;
    drop(stream);
    told().await;
    assert!((&mut asking).now_or_never().is_none(), "that one was closed");
    assert_eq!(server.0.idle().wanted.waiting(), 0, "it takes no other one that is given back");
    slow.through.add_permits(2);
    let served = async {
        // The one that it had begun first, and its own.
        let (mut left, mut own) = (far.accept().await, far.accept().await);
        tokio::select! {
            _ = answer(&mut left, "two") => {}
            _ = answer(&mut own, "two") => {}
        }
        (left, own)
    };
    let (two, _open) = tokio::join!(within(asking), served);
    assert_eq!((text(two).await.as_str(), slow.begun.load(Ordering::Relaxed)), ("two", 3));
}

#[tokio::test]
async fn while_there_are_few_one_that_is_given_back_goes_to_another_thread_too() {
    let (_slow, far, server) = Slow::new().await;
    let mut stream = first(&server, &far).await;
    let (one, _) = tokio::join!(within(server.request(far.request())), answer(&mut stream, "one"));
    let elsewhere = asked_elsewhere(&server, &far);
    within(async {
        while server.0.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (one, two) = tokio::join!(text(one), answer(&mut stream, "two"));
    assert_eq!((one.as_str(), two.is_empty()), ("one", false));
    assert_eq!(tokio::task::spawn_blocking(|| elsewhere.join().unwrap()).await.unwrap(), "two");
}
