//! Answers that do not end: as much is read as may be kept, and then the connection is closed.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use tokio::sync::Semaphore;

use super::*;

/// How much of an answer was taken, and a permit once it is dropped.
struct Flood {
    taken: AtomicUsize,
    dropped: Semaphore,
}

struct Flowing(Arc<Flood>, Option<String>);

impl Drop for Flowing {
    fn drop(&mut self) {
        self.0.dropped.add_permits(1);
    }
}

/// A body that begins with this and goes on for ever.
fn endless(flood: &Arc<Flood>, begin: String) -> Body {
    let chunks = futures_util::stream::unfold(Flowing(Arc::clone(flood), Some(begin)), |mut flowing| async {
        let chunk = flowing.1.take().map_or_else(|| Bytes::from(vec![b'x'; 64 << 10]), Bytes::from);
        flowing.0.taken.fetch_add(chunk.len(), Ordering::SeqCst);
        Some((Ok::<_, std::io::Error>(chunk), flowing))
    });
    Body::from_stream(chunks)
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_at_the_bound_and_its_connection_closed() {
    for (media, before) in [("application/json", ""), ("text/event-stream", "data: ")] {
        let flood = Arc::new(Flood { taken: AtomicUsize::new(0), dropped: Semaphore::new(0) });
        let source = Arc::clone(&flood);
        let fake = server(move |seen| {
            let begin = format!(r#"{before}{{"jsonrpc":"2.0","id":{},"result":{{"x":""#, seen.body["id"]);
            let response = typed(media, endless(&source, begin));
            async move { response }
        })
        .await;
        let options = Options { max_message: 1 << 20, ..options() };
        let Connected { link, lost: _lost, .. } = linked_with(&fake, &Ear::default(), options).await;
        let error = call(&link).await.expect_err("it has no end");
        assert_eq!(error.kind, CallErrorKind::Protocol, "{media}: {}", error.detail);
        within(flood.dropped.acquire()).await.expect("open").forget();
        // What stands in the buffers of two sockets is taken as well.
        let taken = flood.taken.load(Ordering::SeqCst);
        assert!(taken < 32 << 20, "{media}: {taken} bytes");
    }
}
