use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use wharf_plugin_api::{
    CallError, CallErrorKind, Cause, CauseKind, Delivery, ExitReport, Full, Hello, Link, Notification, Reply,
    Request, Scope, async_trait,
};

use super::{Told, kept};
use crate::dialect::handshake::HostScope;
use crate::plugin::inbox::GenerationInbox;
use crate::tasks::Tasks;

const PATIENCE: Duration = Duration::from_millis(250);

/// A connection that is broken.
struct Broken(Hello);

#[async_trait]
impl Link for Broken {
    fn hello(&self) -> &Hello {
        &self.0
    }

    async fn request(&self, _: Request, _: Arc<dyn Scope>) -> Result<Reply, CallError> {
        Err(CallError::new(CallErrorKind::Connection, Delivery::Unknown, "the plugin closed its stdout"))
    }

    fn notify(&self, _: Notification) -> Result<(), Full> {
        Err(Full)
    }

    async fn close(&self) {}
}

/// A call on a connection whose keeper does as `keep` says; how long it took to be told, and what it was told.
async fn told<F>(keep: impl FnOnce(Told) -> F) -> (Duration, CallError)
where
    F: Future<Output = ()> + Send + 'static,
{
    let hello = Hello {
        dialect: "test",
        revision: "2025-11-25".into(),
        server_info: None,
        capabilities: None,
        instructions: None,
    };
    let (inbox, _end) = GenerationInbox::new(Arc::new(Notify::new()));
    let link = kept(Arc::new(Broken(hello)), inbox, PATIENCE, &Tasks::default(), |_, told| {
        let keeping = keep(told);
        async move {
            keeping.await;
            std::future::pending().await
        }
    });
    let begun = Instant::now();
    let scope = HostScope::until(begun + Duration::from_secs(60));
    let error = link.request(Request::bare("tools/call"), scope).await.expect_err("it is broken");
    assert_eq!((error.kind, error.delivery), (CallErrorKind::Connection, Delivery::Unknown));
    (begun.elapsed(), error)
}

#[tokio::test(start_paused = true)]
async fn a_call_is_told_how_the_plugin_ended() {
    for (exit, words) in [
        (ExitReport { code: Some(7), ..ExitReport::default() }, "the plugin ended: exited with code 7"),
        (
            ExitReport { signal: Some(11), ..ExitReport::default() },
            "the plugin ended: ended by signal 11 (SIGSEGV)",
        ),
        (
            ExitReport { signal: Some(9), oom: true, ..ExitReport::default() },
            "the plugin ended: killed for want of memory",
        ),
    ] {
        let (waited, error) = told(|told| async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            told.lost(&Cause::of_exit(exit));
        })
        .await;
        assert_eq!((error.detail.as_str(), waited.as_millis()), (words, 100));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_the_cause_no_longer_than_it_may() {
    let (never, forever) = oneshot::channel::<()>();
    let (waited, error) = told(|told| async move {
        forever.await.ok();
        drop(told);
    })
    .await;
    assert_eq!((error.detail.as_str(), waited), ("the plugin closed its stdout", PATIENCE));
    drop(never);
    // What is no end of a process says nothing more, and is not waited for.
    let lost = Cause::new(CauseKind::LinkLost, "x");
    let (waited, error) = told(|told| async move { told.lost(&lost) }).await;
    assert_eq!((error.detail.as_str(), waited), ("the plugin closed its stdout", Duration::ZERO));
}
