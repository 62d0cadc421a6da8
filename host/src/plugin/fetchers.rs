//! Who may fetch what it runs: a few at a time, so that they do not share one line so thinly that none is done in its time.
//! Whoever waits for a place knows whom it waits for.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use wharf_core::PluginId;

/// Instances that may fetch at the same time.
const PLACES: usize = 2;

/// The places of a host.
#[derive(Debug)]
pub(super) struct Fetchers {
    places: Arc<Semaphore>,
    /// Who has one, in the order in which they got it.
    at_work: Arc<watch::Sender<Vec<PluginId>>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Fetching {
    id: PluginId,
    at_work: Arc<watch::Sender<Vec<PluginId>>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Default for Fetchers {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), at_work: Arc::default() }
    }
}

impl Fetchers {
    /// Waits for a place. `behind` is told who has them, if there is none at once and each time that others have them.
    pub(super) async fn enter(&self, id: &PluginId, mut behind: impl FnMut(&[PluginId])) -> Fetching {
        let mut at_work = self.at_work.subscribe();
        let place = Arc::clone(&self.places).acquire_owned();
        tokio::pin!(place);
        let place = loop {
            tokio::select! {
                biased;
                place = &mut place => break place,
                () = std::future::ready(()) => behind(&at_work.borrow_and_update()),
            }
            tokio::select! {
                biased;
                place = &mut place => break place,
                // Both ends are ours.
                _ = at_work.changed() => {}
            }
        };
        self.at_work.send_modify(|all| all.push(id.clone()));
        // The semaphore is never closed; without a place it goes on unbounded rather than not at all.
        Fetching { id: id.clone(), at_work: Arc::clone(&self.at_work), _place: place.ok() }
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.at_work.send_modify(|all| {
            if let Some(at) = all.iter().position(|id| *id == self.id) {
                all.remove(at);
            }
        });
    }
}
