//! Readings that are asked for at the same time.

use tokio::sync::{mpsc, oneshot};
use wharf_core::PluginId;

use super::{Ask, Batch, ReloadView};

#[test]
fn one_reading_does_for_all_who_asked_before_it_began() {
    let (asks, mut asked) = mpsc::channel(16);
    let (mut replies, mut batch) = (Vec::new(), Batch::default());
    for n in 0..9 {
        let (done, reply) = oneshot::channel();
        asks.try_send(Ask::Reload(done)).unwrap();
        replies.push(reply);
        if n == 4 {
            let (done, _) = oneshot::channel();
            asks.try_send(Ask::Switch(PluginId::new("p").unwrap(), true, done)).unwrap();
        }
    }
    assert!(!batch.reads());
    batch.fill(&mut asked);
    assert!(batch.reads() && batch.readers.len() == 9 && batch.others.len() == 1);
    batch.answer(&Ok(ReloadView { added: vec![PluginId::new("p").unwrap()], ..ReloadView::default() }));
    assert!(!batch.reads(), "and no further one follows");
    assert!(replies.iter_mut().all(|reply| reply.try_recv().unwrap().unwrap().added.len() == 1));
}
