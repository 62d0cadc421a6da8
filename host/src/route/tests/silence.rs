//! Whom silence is held against: not a plugin that is busy inside a call's deadline, but any other.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use wharf_core::Code;
use wharf_core::lifecycle::State;

use super::{answers, asking, call};
use crate::plugin::testkit::{Answer, Kit, manifest};

/// A plugin that answers no ping from now on.
async fn silent(scripted: &[Answer]) -> Kit {
    let kit = Kit::new(answers(scripted), manifest("p"));
    kit.ready().await;
    kit.script.pings_fail.store(true, Ordering::SeqCst);
    kit
}

/// Waits until it is ended for its silence.
async fn ended(kit: &Kit) -> Duration {
    let before = Instant::now();
    kit.until("ended", |plugin| plugin.best().unwrap().restarts > 0).await;
    before.elapsed()
}

#[tokio::test(start_paused = true)]
async fn one_that_is_busy_inside_a_deadline_is_degraded_and_lives_and_after_it_is_ended() {
    let kit = silent(&[Answer::Hangs]).await;
    let calling = kit.services.tasks.spawn(tracing::Span::none(), call(&kit, Some(Duration::from_secs(300))));
    kit.until("degraded", |plugin| plugin.state() == State::Degraded).await;
    let failure = calling.await.unwrap().unwrap_err();
    assert_eq!((failure.code, kit.plugin.state()), (Code::Deadline, State::Degraded), "not cut off");
    assert!(ended(&kit).await < Duration::from_secs(20), "nothing protects it any more");
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_client_is_asked_does_not_protect_it() {
    let kit = silent(&[Answer::Asks]).await;
    let (calling, mut asked) = asking(&kit);
    let calling = kit.services.tasks.spawn(tracing::Span::none(), calling);
    let question = asked.next().await;
    assert!(ended(&kit).await < Duration::from_secs(60));
    drop((calling, question));
}

#[tokio::test(start_paused = true)]
async fn whatever_it_says_is_a_sign_of_life() {
    let kit = silent(&[]).await;
    let inbox = kit.script.inboxes.lock().unwrap()[0].clone();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_secs(8)).await;
        inbox.heard();
        assert_eq!(kit.plugin.state(), State::Ready);
    }
    assert!(ended(&kit).await < Duration::from_secs(60));
}
