//! What belongs to a launch until somebody guards it, and how it is ended if nobody ever will: the plugin was not started,
//! or whoever waited for that has left. Nothing of it may live on beside the next launch.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::bounds::Bounds;
use super::keeper::Pair;
use super::ledger::Entry;
use super::sweep::{self, Swept, Traces};
use crate::tasks::Tasks;

/// How long the shim may take to end by itself: its socket is closed.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a look for what is left may take, and between two.
const SWEEP_BUDGET: Duration = Duration::from_secs(2);
const SWEEP_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Draft {
    pub(super) entry: Entry,
    pub(super) bounds: Bounds,
    pub(super) traces: Traces,
    /// Dropped when nothing of it is left.
    over: watch::Sender<()>,
}

/// Tells when a draft is a process, or nothing is left of it.
pub(super) type Over = watch::Receiver<()>;

impl Draft {
    pub(super) fn new(entry: Entry, bounds: Bounds, marker: String) -> Self {
        let traces = Traces { marker, ..Traces::default() };
        Self { entry, bounds, traces, over: watch::Sender::new(()) }
    }

    pub(super) fn over(&self) -> Over {
        self.over.subscribe()
    }

    /// Ends it and strikes it out of the ledger, once nothing is left; at the latest when the host ends.
    pub(super) async fn ended(mut self, pair: &mut Pair, tasks: &Tasks) {
        if timeout(PATIENCE, pair.wait()).await.is_err() {
            let shim = pair.shim();
            let looking = move || {
                if let Some(shim) = shim {
                    // A host that ends before the processes do leaves their line to the next one.
                    self.entry.started([shim, 0]);
                    self.traces.look(shim);
                }
                self
            };
            // Only the host's end; the kernel then ends what it can.
            let looked = tasks.blocking(looking).await;
            pair.kill();
            let Ok(looked) = looked else { return };
            self = looked;
            timeout(PATIENCE, pair.wait()).await.ok();
        }
        loop {
            let sweeping = move || {
                self.bounds.end_members(0);
                let swept = sweep::until_gone(&self.traces, SWEEP_BUDGET);
                (self, swept)
            };
            let Ok((draft, swept)) = tasks.blocking(sweeping).await else { return };
            self = draft;
            let Swept { gone, left, .. } = swept;
            if gone {
                break;
            }
            tracing::error!(?left, "processes of a launch that has failed survive being killed");
            tokio::select! {
                () = tasks.ending().cancelled() => return,
                () = sleep(SWEEP_AGAIN) => {}
            }
        }
        tokio::select! {
            // A shim that hangs in the kernel: what it was told is still to come.
            () = pair.wait() => {}
            () = tasks.ending().cancelled() => return,
        }
        let striking = move || {
            if self.bounds.remove() {
                self.entry.strike();
            }
        };
        tasks.blocking(striking).await.ok();
    }
}
