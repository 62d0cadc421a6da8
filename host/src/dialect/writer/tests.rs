use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::AsyncWrite;
use tokio_util::sync::CancellationToken;
use wharf_core::CallId;
use wharf_core::journal::{Entry, Records, Sent, entries, read_head};
use wharf_plugin_api::{CallError, Caller, Notification, Reply, Request, Scope, async_trait};

use super::{ENOUGH, GATHER, Outbox as _, Pending, QUEUE_BYTES, queue, run};
use crate::journal::Journal;

/// How long anything here may take.
const BOUND: Duration = Duration::from_secs(30);

/// A call that has a number in the journal.
struct Numbered(u64, Caller);

#[async_trait]
impl Scope for Numbered {
    fn sent(&self) {}

    fn note(&self, batch: &mut Vec<u8>) {
        Entry::Sent(Sent {
            call: CallId::new(1, self.0),
            at: 1,
            keyed: false,
            plugin: "p",
            tool: "t",
            method: "tools/call",
            instance: 0,
            generation: 1,
            principal: "me",
        })
        .put(batch);
    }

    fn listens(&self) -> bool {
        false
    }

    fn event(&self, _: Notification) {}

    async fn ask(&self, _: Request) -> Result<Reply, CallError> {
        std::future::pending().await
    }

    fn caller(&self) -> &Caller {
        &self.1
    }

    fn deadline(&self) -> Instant {
        Instant::now()
    }
}

/// The calls in each record of the journal.
fn written(folder: &Path) -> Vec<Vec<u64>> {
    let file = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap();
    let bytes = std::fs::read(file.path()).unwrap();
    let records = Records::new(read_head(&bytes).unwrap().1);
    records.map(|record| entries(record).map(|(entry, _)| entry.call().n()).collect()).collect()
}

/// How many frames had arrived, and the calls of each record that stood in the journal by then.
type Look = (usize, Vec<Vec<u64>>);

/// A pipe that looks into the journal whenever bytes arrive.
#[derive(Clone)]
struct Looks {
    folder: PathBuf,
    seen: Arc<Mutex<Vec<Look>>>,
}

impl AsyncWrite for Looks {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.seen.lock().unwrap().push((bytes.len(), written(&self.folder)));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What the journal says at each write of these frames; one of no request is among them.
async fn looked(sizes: &[usize]) -> Vec<(usize, Vec<Vec<u64>>)> {
    let home = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(home.path());
    let (pending, (queue, frames)) = (Arc::<Pending>::default(), queue());
    let mut tickets = Vec::new();
    for (n, size) in (1..).zip(sizes) {
        let scope = Arc::new(Numbered(n, Caller::new("me")));
        let ticket = pending.open(scope, None).unwrap();
        queue.push(Some(ticket.id()), vec![b'x'; *size]).unwrap();
        tickets.push(ticket);
    }
    queue.push(None, b"note".to_vec()).unwrap();
    // Who is gone is neither sent nor written down.
    let gone = pending.open(Arc::new(Numbered(99, Caller::new("me"))), None).unwrap();
    queue.push(Some(gone.id()), b"gone".to_vec()).unwrap();
    drop((gone, queue));
    let to = Looks { folder: home.path().to_owned(), seen: Arc::default() };
    let seen = Arc::clone(&to.seen);
    run(to, frames, pending, journal, CancellationToken::new()).await.unwrap();
    drop(tickets);
    Arc::try_unwrap(seen).unwrap().into_inner().unwrap()
}

#[tokio::test]
async fn the_calls_of_a_batch_are_one_record_before_their_first_byte() {
    assert_eq!(looked(&[10, 20, 30]).await, [(11 + 21 + 31 + 5, vec![vec![1, 2, 3]])]);
}

#[tokio::test]
async fn a_large_frame_is_written_down_before_its_own_bytes() {
    let all = [vec![1], vec![2], vec![3]];
    let known = |calls| all.get(..calls).unwrap().to_vec();
    let expected = [(11, known(1)), (GATHER + 1, known(2)), (1 + 21 + 5, known(3))];
    assert_eq!(looked(&[10, GATHER + 1, 20]).await, expected);
}

#[tokio::test]
async fn what_is_written_gives_its_room_back_and_what_was_refused_takes_none() {
    let (queue, frames) = queue();
    let half = || vec![b'x'; QUEUE_BYTES / 2];
    queue.push(None, half()).unwrap();
    assert!(queue.push(None, vec![b'x'; QUEUE_BYTES / 2 + 1]).is_err());
    queue.push(None, half()).unwrap();
    assert!(queue.push(None, b"x".to_vec()).is_err());
    let closing = CancellationToken::new();
    let writing = run(tokio::io::sink(), frames, Arc::default(), Journal::default(), closing.clone());
    let refilled = async {
        assert!(queue.send(half()).await, "it waited for room");
        while queue.room.available_permits() < QUEUE_BYTES {
            tokio::task::yield_now().await;
        }
        closing.cancel();
    };
    let both = async { tokio::join!(async { writing.await.unwrap() }, refilled) };
    tokio::time::timeout(BOUND, both).await.unwrap();
}

#[tokio::test]
async fn nobody_waits_for_room_where_nobody_writes() {
    let (queue, frames) = queue();
    queue.push(None, vec![b'x'; QUEUE_BYTES]).unwrap();
    let waiting = queue.send(b"x".to_vec());
    let both = async { tokio::join!(async { drop(frames) }, waiting) };
    let ((), sent) = tokio::time::timeout(BOUND, both).await.unwrap();
    assert!(!sent && queue.push(None, Vec::new()).is_err());
}

/// The lines of each write, where so many are queued, and one more by a task that is woken together with the writer.
async fn writes(queued: usize) -> Vec<usize> {
    let ((queue, frames), folder) = (queue(), tempfile::tempdir().unwrap());
    let (journal, _) = Journal::open(folder.path());
    let to = Looks { folder: folder.path().to_owned(), seen: Arc::default() };
    let seen = Arc::clone(&to.seen);
    for _ in 0..queued {
        queue.push(None, Vec::new()).unwrap();
    }
    let last = async move { queue.push(None, Vec::new()).unwrap() };
    let (written, ()) =
        tokio::join!(run(to, frames, Arc::default(), journal, CancellationToken::new()), last);
    written.unwrap();
    seen.lock().unwrap().iter().map(|(bytes, _)| *bytes).collect()
}

#[tokio::test]
async fn few_frames_wait_for_those_that_are_about_to_come_and_many_do_not() {
    assert_eq!(writes(1).await, [2]);
    assert_eq!(writes(ENOUGH - 1).await, [ENOUGH]);
    assert_eq!(writes(ENOUGH).await, [ENOUGH, 1]);
}
