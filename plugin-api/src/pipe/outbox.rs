//! The queue before a writer: bounded in bytes, drained by one thread, several messages to a write.
//!
//! A thread that has work of its own waits for room; the thread that reads never does. It is the one that made the
//! outbox, and if it fills the queue to the last the peer sends without reading: then the connection is given up.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// Bytes in the queue from which on others than the reader wait.
const ROOM: usize = 16 << 20;
/// Bytes in the queue over which even the reader's messages are refused.
const LAST: usize = 64 << 20;
/// How long a thread waits for room before the peer counts as one that does not read.
const PATIENCE: Duration = Duration::from_secs(60);

/// The queue before a writer.
#[derive(Debug)]
pub struct Outbox {
    reader: ThreadId,
    state: Mutex<State>,
    /// The writer waits here for messages.
    filled: Condvar,
    /// Others wait here for room, and for the end.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Vec<u8>>,
    bytes: usize,
    writing: bool,
    /// Nothing more is wanted; what is queued is still written.
    ended: bool,
    /// The writer's thread has ended.
    closed: bool,
    broken: Option<(io::ErrorKind, String)>,
}

impl Outbox {
    /// An outbox before `output`. The calling thread is the reader.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(output: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let outbox = Arc::new(Self {
            reader: thread::current().id(),
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        });
        let writer = Arc::clone(&outbox);
        thread::Builder::new().name("writer".into()).spawn(move || writer.drain(output))?;
        Ok(outbox)
    }

    /// Queues a message as one line: line breaks in it become spaces. Without an output to go to it is thrown away;
    /// [`Outbox::check`] says so to the reader.
    pub fn push(&self, message: &[u8]) {
        let mut line = Vec::with_capacity(message.len() + 1);
        line.extend_from_slice(message);
        crate::jsonrpc::single_line(&mut line);
        line.push(b'\n');

        let mut state = self.lock();
        if thread::current().id() != self.reader {
            let waited = self.emptied.wait_timeout_while(state, PATIENCE, |s| s.bytes >= ROOM && s.takes());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let bound = if thread::current().id() == self.reader { LAST } else { ROOM };
        if state.takes() && state.bytes >= bound {
            state
                .fail(io::ErrorKind::TimedOut, "the peer sends but does not read what it is answered".into());
            self.emptied.notify_all();
        }
        if state.takes() {
            state.bytes += line.len();
            state.queue.push_back(line);
        }
        self.filled.notify_one();
    }

    /// Whether the output still takes messages.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self) -> io::Result<()> {
        self.lock().broken.clone().map_or(Ok(()), |(kind, why)| Err(io::Error::new(kind, why)))
    }

    /// Waits until all is written, at most `budget`.
    ///
    /// # Errors
    /// If the output failed, or not all was written in time.
    pub fn finish(&self, budget: Duration) -> io::Result<()> {
        let mut state = self.lock();
        state.ended = true;
        self.filled.notify_one();
        let waited = self.emptied.wait_timeout_while(state, budget, |s| s.is_busy() && s.broken.is_none());
        let busy = waited.unwrap_or_else(PoisonError::into_inner).0.is_busy();
        self.check()?;
        if busy {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the peer did not read the last answers in time",
            ));
        }
        Ok(())
    }

    /// The writer's thread.
    fn drain(&self, mut output: impl Write) {
        while let Some(batch) = self.next_batch() {
            let written = output.write_all(&batch).and_then(|()| output.flush());
            let mut state = self.lock();
            state.writing = false;
            state.bytes -= batch.len();
            if let Err(error) = written {
                state.fail(error.kind(), error.to_string());
            }
            self.emptied.notify_all();
        }
        self.lock().closed = true;
        self.emptied.notify_all();
    }

    /// All that is queued, up to a bound, as one buffer; `None` at the end.
    fn next_batch(&self) -> Option<Vec<u8>> {
        let idle =
            self.filled.wait_while(self.lock(), |s| s.queue.is_empty() && !s.ended && s.broken.is_none());
        let mut state = idle.unwrap_or_else(PoisonError::into_inner);
        if state.broken.is_some() {
            return None;
        }
        let mut batch = state.queue.pop_front()?;
        while batch.len() < 64 << 10
            && let Some(next) = state.queue.pop_front()
        {
            batch.extend_from_slice(&next);
        }
        state.writing = true;
        Some(batch)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_busy(&self) -> bool {
        self.writing || !self.queue.is_empty()
    }

    fn takes(&self) -> bool {
        self.broken.is_none() && !self.closed
    }

    /// The first reason stays.
    fn fail(&mut self, kind: io::ErrorKind, why: String) {
        self.broken.get_or_insert((kind, why));
        self.queue.clear();
    }
}
