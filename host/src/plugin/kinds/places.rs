//! One process tree per instance at a time: a launch takes the instance's place, and gives it back when nothing of its
//! tree is left, whatever became of those who waited for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A plugin's id, and the number of an instance.
type Slot = (Arc<str>, u32);

/// The places of one host's instances.
#[derive(Debug, Default)]
pub(crate) struct Places {
    all: Mutex<HashMap<Slot, Arc<Semaphore>>>,
}

/// The place of an instance, taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

// === impl Places ===

impl Places {
    /// Takes the place of an instance; waits while it is taken.
    pub(super) async fn take(&self, plugin: &Arc<str>, instance: u32) -> Place {
        let place = {
            let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody has or waits for are forgotten: plugins come and go.
            all.retain(|_, place| Arc::strong_count(place) > 1);
            Arc::clone(
                all.entry((Arc::clone(plugin), instance)).or_insert_with(|| Arc::new(Semaphore::new(1))),
            )
        };
        // It is never closed.
        Place { _permit: place.acquire_owned().await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;

    use super::Places;

    #[tokio::test]
    async fn a_place_is_given_once_until_it_is_given_back() {
        let (places, plugin) = (Places::default(), Arc::<str>::from("p"));
        let held = places.take(&plugin, 0).await;
        let mut next = Box::pin(places.take(&plugin, 0));
        assert!(next.as_mut().now_or_never().is_none());
        let other = places.take(&plugin, 1).now_or_never();
        assert!(other.is_some(), "another instance has a place of its own");
        drop((held, other));
        next.await;
        places.take(&plugin, 2).await;
        assert_eq!(places.all.lock().unwrap().len(), 1, "what nobody holds is forgotten");
    }
}
