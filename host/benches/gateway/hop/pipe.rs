//! On to one child, over its pipes: ids of our own, a table of who waits, and one write for all that waits to be written.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Bytes;
use memchr::memchr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Notify, oneshot};

use super::{Answered, Onward, envelope};
use crate::common::Outcome;

pub(super) struct Upstream {
    shared: Arc<Shared>,
    _child: Child,
}

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    written: Notify,
}

#[derive(Default)]
struct Table {
    next: u64,
    /// Who waits for which answer, and the id it gave.
    waiting: HashMap<u64, (oneshot::Sender<Bytes>, Box<str>)>,
    /// What is still to be written.
    out: Vec<u8>,
}

impl Upstream {
    /// Starts the child, in a runtime.
    pub(super) fn start() -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["upstream", "stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let shared = Arc::new(Shared::default());
        tokio::spawn(write(Arc::clone(&shared), stdin));
        tokio::spawn(read(Arc::clone(&shared), stdout));
        Ok(Self { shared, _child: child })
    }
}

impl Shared {
    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Onward for Upstream {
    async fn pass(&self, request: Bytes) -> Option<Bytes> {
        let (theirs, params) = envelope(&request)?;
        let (sender, answer) = oneshot::channel();
        let was_empty = {
            let mut table = self.shared.table();
            table.next += 1;
            let id = table.next;
            table.waiting.insert(id, (sender, theirs.into()));
            let was_empty = table.out.is_empty();
            let head = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":"#);
            table.out.extend_from_slice(head.as_bytes());
            table.out.extend_from_slice(params.as_bytes());
            table.out.extend_from_slice(b"}\n");
            was_empty
        };
        if was_empty {
            self.shared.written.notify_one();
        }
        answer.await.ok()
    }
}

async fn write(shared: Arc<Shared>, mut stdin: ChildStdin) {
    let mut batch = Vec::new();
    loop {
        std::mem::swap(&mut batch, &mut shared.table().out);
        if batch.is_empty() {
            shared.written.notified().await;
        } else if stdin.write_all(&batch).await.is_err() {
            return;
        }
        batch.clear();
    }
}

async fn read(shared: Arc<Shared>, mut stdout: ChildStdout) {
    let mut buffer = Vec::with_capacity(256 << 10);
    let mut seen = 0;
    while stdout.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
        let mut begin = 0;
        while let Some(length) = buffer.get(seen..).and_then(|rest| memchr(b'\n', rest)) {
            settle(&shared, buffer.get(begin..seen + length).unwrap_or_default());
            seen += length + 1;
            begin = seen;
        }
        buffer.drain(..begin);
        seen = buffer.len();
    }
}

/// Gives the answer to whom it is for, under the id that was given.
fn settle(shared: &Shared, line: &[u8]) {
    let Ok(answered) = serde_json::from_slice::<Answered<'_>>(line) else {
        return;
    };
    let ours = answered.id.get().parse().ok();
    let Some((sender, theirs)) = ours.and_then(|id: u64| shared.table().waiting.remove(&id)) else {
        return;
    };
    let result = answered.result.get();
    let mut out = Vec::with_capacity(result.len() + theirs.len() + 40);
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(theirs.as_bytes());
    out.extend_from_slice(br#","result":"#);
    out.extend_from_slice(result.as_bytes());
    out.push(b'}');
    sender.send(out.into()).ok();
}
