//! The GET stream of streamable HTTP: what the server says that belongs to no call.
//!
//! A server without one says 405. One that breaks is opened again, ever more slowly, while the connection lives.
//!
//! Some servers ask for input on this stream alone, and lose what they ask while nobody listens: a connection is not ready
//! before its stream was answered once.

use std::time::Duration;

use std::sync::{Arc, PoisonError};

use http::StatusCode;
use tokio::sync::{mpsc, oneshot};

use super::Wire;
use super::session::Session;
use crate::dialect::messages::{Messages, is_message};
use crate::dialect::pending::Stream;
use crate::dialect::web;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long the first answer is waited for. A server may send the head of its answer together with the first event.
pub(super) const FIRST_ANSWER: Duration = Duration::from_secs(1);

/// How long an answer waits at most for what was said before it on the other stream.
const CATCHING_UP: Duration = Duration::from_millis(50);
/// Those that wait for it at a time; who finds no room does not.
const WAITING: usize = 64;

/// Asks the listener to say when it has read what is there.
pub(super) type Listener = mpsc::Sender<oneshot::Sender<()>>;

/// How a stream ended.
enum End {
    /// The server has none.
    None,
    /// The session is gone; another request will open a new one.
    Session,
    /// It broke; `heard` if it brought something.
    Broken { heard: bool, retry: Option<Duration> },
}

/// Listens until the connection closes or the server says that there is no stream. `answered` is dropped with the first
/// answer, whatever it is.
pub(super) async fn run(wire: Wire, answered: oneshot::Sender<()>) {
    let closing = wire.core.closing.clone();
    tokio::select! {
        () = closing.cancelled() => {}
        () = listen(&wire, answered) => {}
    }
}

async fn listen(wire: &Wire, answered: oneshot::Sender<()>) {
    let mut answered = Some(answered);
    let mut sessions = wire.core.session.subscribe();
    let mut wait = FIRST_WAIT;
    let mut after = String::new();
    let mut epoch = 0;
    loop {
        let session = Arc::clone(&sessions.borrow_and_update());
        if session.epoch != epoch {
            epoch = session.epoch;
            after.clear();
        }
        let renewed = async { sessions.wait_for(|next| next.epoch != epoch).await.is_ok() };
        tokio::pin!(renewed);
        let end = tokio::select! {
            true = &mut renewed => continue,
            end = stream(wire, &session, &mut after, &mut answered) => end,
        };
        match end {
            End::None => return,
            End::Session => {
                if !renewed.await {
                    return;
                }
            }
            End::Broken { heard, retry } => {
                wait = if heard { FIRST_WAIT } else { (wait * 2).min(LONGEST_WAIT) };
                tokio::time::sleep(retry.unwrap_or(wait).clamp(Duration::from_millis(100), LONGEST_WAIT))
                    .await;
            }
        }
    }
}

async fn stream(
    wire: &Wire,
    session: &Session,
    after: &mut String,
    answered: &mut Option<oneshot::Sender<()>>,
) -> End {
    let core = &wire.core;
    let response = web::send(&core.endpoint.server, core.listen(session, after)).await;
    drop(answered.take());
    let Ok(response) = response else {
        return End::Broken { heard: false, retry: None };
    };
    match response.status() {
        status if status.is_success() => {}
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST if session.id.is_some() => return End::Session,
        status if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => {
            return End::Broken { heard: false, retry: None };
        }
        _ => return End::None,
    }
    if !web::is_events(&response) {
        return End::None;
    }
    let mut messages = Messages::of(response, core.options.max_message);
    let (listener, mut waiting) = mpsc::channel(WAITING);
    *core.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    let mut heard = false;
    loop {
        let next = tokio::select! {
            biased;
            next = messages.next() => next,
            // Nothing more is there.
            Some(done) = waiting.recv() => {
                // Whoever waited may have gone.
                done.send(()).ok();
                continue;
            }
        };
        let (id, retry) = messages.resume();
        if !id.is_empty() {
            *after = id;
        }
        match next {
            Ok(Some(event)) if is_message(&event) => {
                heard = true;
                wire.take(&event, Stream::default());
            }
            Ok(Some(_)) => {}
            Ok(None) => return End::Broken { heard, retry },
            Err(error) => {
                core.options.note("wharf", &format!("the HTTP stream of the plugin: {}", error.detail));
                return End::Broken { heard, retry };
            }
        }
    }
}

impl Wire {
    /// Resolves when what the server has said on its GET stream by now is read. Servers say there what belongs to a call, and
    /// the call's answer, said later, would come first.
    pub(super) async fn caught_up(&self) {
        let listener = self.core.listener.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(listener) = listener else { return };
        let (done, read) = oneshot::channel();
        if listener.try_send(done).is_ok() {
            // A stream that ends drops it.
            tokio::time::timeout(CATCHING_UP, read).await.ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;

    use super::super::{Flavor, Wire};
    use crate::dialect::testkit::fake::endpoint;
    use crate::dialect::testkit::{Ear, options, within};

    #[tokio::test]
    async fn what_was_said_before_an_answer_is_heard_before_it() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = server.local_addr().expect("an address");
        let (ear, options) = (Ear::default(), options());
        let inbox = Arc::new(ear.clone());
        let (wire, _lost) =
            Wire::new(Flavor::Http, endpoint(&format!("http://{at}/mcp")), inbox, options.clone());
        within(wire.caught_up()).await;

        let (answering, answered) = oneshot::channel();
        drop(options.tasks.spawn(tracing::Span::none(), super::run(wire.clone(), answering)));
        let (mut stream, _) = within(server.accept()).await.expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            within(stream.read_buf(&mut head)).await.expect("a request");
        }
        let events = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        stream.write_all(events).await.expect("open");
        within(answered).await.expect_err("it is dropped");

        // Where the answer comes.
        let mut other = TcpStream::connect(at).await.expect("connected");
        let (mut answers, _) = within(server.accept()).await.expect("a connection");
        let said = b"data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n";
        for before in 0..5 {
            stream.write_all(said).await.expect("open");
            answers.write_all(b"x").await.expect("open");
            within(other.read(&mut [0; 8])).await.expect("an answer");
            // This one is told of it first: without more, it would go on.
            assert_eq!(ear.heard.all().len(), before);
            within(wire.caught_up()).await;
            assert_eq!(ear.heard.all().len(), before + 1);
        }
        wire.core.closing.cancel();
    }
}
