use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, TryLockError};

use wharf_plugin_api::{CallError, Caller, Notification, Reply, Request, Scope, async_trait};

use wharf_core::ask::TOGETHER;

use super::Pending;

/// Looks, when it is told that its request is sent, whether the table is held.
struct Witness {
    pending: Arc<Pending>,
    held: AtomicU32,
    caller: Caller,
}

#[async_trait]
impl Scope for Witness {
    fn sent(&self) {
        if matches!(self.pending.table.try_lock(), Err(TryLockError::WouldBlock)) {
            self.held.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn listens(&self) -> bool {
        false
    }

    fn event(&self, _notification: Notification) {}

    async fn ask(&self, _request: Request) -> Result<Reply, CallError> {
        std::future::pending().await
    }

    fn caller(&self) -> &Caller {
        &self.caller
    }

    fn deadline(&self) -> std::time::Instant {
        std::time::Instant::now()
    }
}

#[test]
fn no_caller_can_go_between_being_sent_and_knowing_it() {
    let pending = Arc::<Pending>::default();
    let witness = Arc::new(Witness {
        pending: Arc::clone(&pending),
        held: AtomicU32::new(0),
        caller: Caller::new("tester"),
    });
    let ticket = pending.open(Arc::clone(&witness) as Arc<dyn Scope>, None).expect("room");
    assert!(pending.sent(ticket.id()));
    assert_eq!(witness.held.load(Ordering::Relaxed), 1);
    let id = ticket.id();
    drop(ticket);
    assert!(!pending.sent(id), "who is gone is not sent");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_answers_is_meant_only_if_no_other_can_be() {
    let pending = Arc::<Pending>::default();
    let call = || {
        let scope: Arc<dyn Scope> = Arc::new(Witness {
            pending: Arc::clone(&pending),
            held: AtomicU32::new(0),
            caller: Caller::new("tester"),
        });
        let ticket = pending.open(Arc::clone(&scope), None).expect("room");
        assert!(pending.sent(ticket.id()));
        (scope, ticket)
    };
    let meant = || pending.calls(|_| true);
    let ((first, _kept), (second, ticket)) = (call(), call());
    assert_eq!(meant().0.calls, 2);
    let asking = pending.asks(&first);
    assert_eq!(meant().0.calls, 2, "what asked just now may ask another question");
    tokio::time::advance(TOGETHER).await;
    let (now, scope) = meant();
    assert!(now.calls == 1 && scope.is_some_and(|scope| Arc::ptr_eq(&scope, &second)));
    let _waits = pending.asks(&second);
    tokio::time::advance(TOGETHER).await;
    assert_eq!(meant().0.calls, 2, "both wait, and either may be meant");
    drop(ticket);
    let (now, scope) = meant();
    assert!(now.calls == 1 && scope.is_some_and(|scope| Arc::ptr_eq(&scope, &first)));
    let (_third, _open) = call();
    assert_eq!(meant().0.calls, 1);
    drop(asking);
    assert_eq!(meant().0.calls, 2, "it was answered and goes on");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_answers_counts_where_another_is_someone_elses() {
    let pending = Arc::<Pending>::default();
    let call = |principal: &str| {
        let scope: Arc<dyn Scope> = Arc::new(Witness {
            pending: Arc::clone(&pending),
            held: AtomicU32::new(0),
            caller: Caller::new(principal),
        });
        let ticket = pending.open(Arc::clone(&scope), None).expect("room");
        assert!(pending.sent(ticket.id()));
        (scope, ticket)
    };
    let (first, _kept) = call("one");
    let _asking = pending.asks(&first);
    tokio::time::advance(TOGETHER).await;
    let (second, ticket) = call("another");
    let (now, newest) = pending.calls(|_| true);
    assert!(now.calls == 2 && newest.is_some_and(|newest| Arc::ptr_eq(&newest, &second)));
    drop(ticket);
    let (_third, _open) = call("one");
    assert_eq!(pending.calls(|_| true).0.calls, 1);
}
