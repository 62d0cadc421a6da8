//! MCP over a pair of pipes: one message per line.
//!
//! It must not know processes: it gets two byte streams, and tells when they are of no more use.

mod opening;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio_util::sync::{CancellationToken, DropGuard};
use wharf_core::frame::{Framer, IDLE_CAPACITY};
use wharf_plugin_api::{
    CallError, CallErrorKind, Cause, CauseKind, Delivery, Era, Full, Hello, Inbox, Link, Notification, Reply,
    Request, Scope, async_trait, jsonrpc,
};

use super::incoming::Incoming;
use super::modern::{self, envelope};
use super::pending::{Pending, Ticket, encode};
use super::strikes::Strikes;
use super::writer::{self, Queue};
use super::{Lost, LostSender, Options, Outbox, not_delivered, queue_full};
use crate::apart::apart;
use crate::aside::Aside;
use crate::turn::step_back;

pub(crate) use self::opening::connect;

/// Room for a read, at least. It takes what there is room for, and a pipe gives no more than the framer keeps between lines.
const ROOM: usize = 16 << 10;
/// Lines that are taken before the tasks that they woke have their turn.
const TURN: usize = 16;
/// How long answers that are already under way may still come after writing failed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A connection over two pipes.
struct StdioLink {
    hello: Hello,
    wire: Arc<Wire>,
    /// Ends both tasks if the link is dropped unclosed.
    _closing: DropGuard,
}

/// What the handshake and the link share.
struct Wire {
    pending: Arc<Pending>,
    queue: Queue,
    /// The same queue, for cancellations.
    outbox: Arc<dyn Outbox>,
    closing: CancellationToken,
    writer_done: CancellationToken,
    handshaken: AtomicBool,
}

/// Starts the reader and the writer, each a task of its own.
fn start<R, W>(
    stdout: R,
    stdin: W,
    inbox: Arc<dyn Inbox>,
    options: &Options,
) -> (Arc<Wire>, Arc<Incoming>, Lost)
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let (queue, frames) = writer::queue();
    let (lost_sender, lost) = Lost::channel();
    let wire = Arc::new(Wire {
        pending: Arc::new(Pending::of_one_stream()),
        queue: queue.clone(),
        outbox: Arc::new(queue.clone()),
        closing: options.tasks.ending().child_token(),
        writer_done: CancellationToken::new(),
        handshaken: AtomicBool::new(false),
    });
    let incoming = Arc::new(Incoming::new(
        Arc::clone(&wire.pending),
        inbox,
        Arc::new(queue) as Arc<dyn Outbox>,
        options.clone(),
        wire.closing.clone(),
    ));
    let span =
        |half| tracing::debug_span!("stdio", plugin = %options.label, instance = options.instance, half);
    let (pending, closing, done) =
        (Arc::clone(&wire.pending), wire.closing.clone(), wire.writer_done.clone());
    let journal = options.journal.clone();
    // Both are tracked by `Tasks` and end with the connection.
    drop(options.tasks.spawn(span("writer"), async move {
        let _done = done.drop_guard();
        let why = match writer::run(stdin, frames, Arc::clone(&pending), journal, closing).await {
            Ok(()) => "the connection is closed".to_owned(),
            Err(error) => format!("the plugin's stdin failed: {error}"),
        };
        pending.close(&why);
    }));
    let reader = Reader {
        wire: Arc::clone(&wire),
        incoming: Arc::clone(&incoming),
        options: options.clone(),
        framer: Framer::new(options.max_message),
        strikes: Strikes::default(),
    };
    drop(options.tasks.spawn(span("reader"), reader.run(stdout, lost_sender)));
    (wire, incoming, lost)
}

/// The reading half.
struct Reader {
    wire: Arc<Wire>,
    incoming: Arc<Incoming>,
    options: Options,
    framer: Framer,
    strikes: Strikes,
}

impl Reader {
    async fn run<R: AsyncRead + Unpin>(mut self, stdout: R, lost: LostSender) {
        let broken = self.read(stdout).await;
        let cause = if self.wire.closing.is_cancelled() {
            Cause::new(CauseKind::Requested, "the host closed the connection")
        } else {
            broken
        };
        // The cause first: whoever is failed by the end of the table must find it.
        lost.send(cause.clone()).ok();
        self.wire.pending.end(&cause.detail);
        self.wire.closing.cancel();
    }

    /// Reads until the connection is of no more use, and says why.
    async fn read<R: AsyncRead + Unpin>(&mut self, mut stdout: R) -> Cause {
        // Of its memory, only what was ever read into is held.
        self.framer.room(IDLE_CAPACITY);
        let ending = self.options.tasks.ending().clone();
        let writer_done = self.wire.writer_done.clone();
        let (closing, cut) = (self.wire.closing.clone(), self.options.cut.clone());
        let (mut cut, mut ending) = (Aside::new(cut.cancelled()), Aside::new(ending.cancelled()));
        let mut unwritable = Aside::new(async {
            writer_done.cancelled().await;
            if closing.is_cancelled() {
                // Closed by us: read on until the plugin closes its end.
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(LAST_WORDS).await;
        });
        loop {
            let room = self.framer.room(ROOM);
            let read = tokio::select! {
                biased;
                () = &mut cut => return Cause::new(CauseKind::LinkLost, "nobody is left who could answer"),
                // Before the read, which is ready at all times if the plugin never stops talking.
                () = &mut unwritable => return Cause::new(CauseKind::LinkLost, "the plugin closed its stdin"),
                read = stdout.read_buf(room) => read,
                () = &mut ending => return Cause::new(CauseKind::Requested, "the host ends"),
            };
            match read {
                Ok(0) => return self.ended(),
                Ok(_) => {}
                Err(error) => {
                    return Cause::new(CauseKind::LinkLost, format!("stdout of the plugin failed: {error}"));
                }
            }
            if let Some(why) = self.lines().await {
                return Cause::new(CauseKind::ProtocolGarbage, why);
            }
        }
    }

    /// Takes all lines that are there. Returns why the connection is to be given up, if it is.
    async fn lines(&mut self) -> Option<String> {
        let mut taken = 0;
        while let Some(line) = self.framer.next_line() {
            let strike = match line {
                Ok(line) => match self.incoming.take(line, None) {
                    Ok(()) => {
                        self.strikes.message();
                        None
                    }
                    Err(_) => {
                        self.options.note("stdout", line);
                        self.strikes.line(self.wire.handshaken.load(Ordering::Relaxed))
                    }
                },
                Err(error) => {
                    self.options.note("wharf", &format!("dropped from stdout: {error}"));
                    self.strikes.unreadable(&error)
                }
            };
            if strike.is_some() {
                return strike;
            }
            taken += 1;
            // What is answered goes on to its clients, and what follows it to the plugin, before all the others are looked at.
            if taken % TURN == 0 {
                step_back().await;
            }
        }
        // Whoever waits for an answer that was too long need not wait for the deadline.
        while let Some((edges, why)) = self.framer.take_dropped() {
            let Some(id) = edges.answers() else { continue };
            let detail = format!("the answer was dropped: {why}");
            self.wire.pending.failed(id, CallError::new(CallErrorKind::Protocol, Delivery::Unknown, detail));
        }
        None
    }

    fn ended(&self) -> Cause {
        let rest = self.framer.unfinished_len();
        if rest > 0 {
            self.options.note("wharf", &format!("stdout ended within a line; {rest} bytes are lost"));
        }
        Cause::new(CauseKind::LinkLost, "the plugin closed its stdout")
    }
}

// === impl Wire ===

impl Wire {
    /// Sends a request, before anything is waited for: what an async function is handed is in memory twice, and this is there
    /// until the answer is.
    fn request(
        &self,
        request: &Request,
        scope: &Arc<dyn Scope>,
        era: Era,
        cancellable: bool,
    ) -> impl Future<Output = Result<Reply, CallError>> + Send + use<> {
        let outbox = cancellable.then(|| Arc::clone(&self.outbox));
        let mut sent = self.send(request, scope, era, outbox);
        async move {
            // By reference, for the same reason.
            match &mut sent {
                Ok(ticket) => ticket.answer().await,
                Err(known) => known.as_ref().clone(),
            }
        }
    }

    /// Hands a request to the writer; if that cannot be, what is known instead of an answer.
    fn send(
        &self,
        request: &Request,
        scope: &Arc<dyn Scope>,
        era: Era,
        outbox: Option<Arc<dyn Outbox>>,
    ) -> Result<Ticket, Box<Result<Reply, CallError>>> {
        let ticket = self.pending.open(Arc::clone(scope), outbox).map_err(|error| Box::new(Err(error)))?;
        let bytes = match era {
            Era::Legacy => encode(ticket.id(), request, scope.wants_progress()),
            Era::Modern => match envelope::encode(ticket.id(), (request, &modern::look(request)), &**scope) {
                Some(bytes) => bytes,
                None => return Err(Box::new(Ok(Reply::Error(envelope::no_object())))),
            },
        };
        if self.queue.push(Some(ticket.id()), bytes).is_err() {
            let gone = self.writer_done.is_cancelled() || self.closing.is_cancelled();
            let error = if gone { not_delivered("the connection is closed") } else { queue_full() };
            return Err(Box::new(Err(error)));
        }
        Ok(ticket)
    }

    fn notify(&self, notification: &Notification) -> Result<(), Full> {
        let mut bytes = jsonrpc::notification(&notification.method, notification.params.as_deref());
        jsonrpc::single_line(&mut bytes);
        self.queue.push(None, bytes)
    }
}

// === impl StdioLink ===

#[async_trait]
impl Link for StdioLink {
    fn hello(&self) -> &Hello {
        &self.hello
    }

    fn request<'l, 'f>(
        &'l self,
        request: Request,
        scope: Arc<dyn Scope>,
    ) -> BoxFuture<'f, Result<Reply, CallError>>
    where
        'l: 'f,
        Self: 'f,
    {
        apart(|| self.wire.request(&request, &scope, self.hello.era(), true))
    }

    fn notify(&self, notification: Notification) -> Result<(), Full> {
        self.wire.notify(&notification)
    }

    /// Closes the plugin's stdin and returns when that is done. What the plugin still answers is still delivered.
    async fn close(&self) {
        self.wire.closing.cancel();
        self.wire.writer_done.cancelled().await;
    }
}

#[cfg(test)]
mod tests;
