//! Calls that wait for their client: how one that can only be answered, never asked, answers a plugin that asks.
//!
//! A legacy plugin asks in the middle of a call, on a connection that stays open. A modern client (and a caller over REST)
//! gets the questions as the end of its request and brings the answers with its next. In between the live call is kept
//! here, under a token that is all its client can show: unguessable, good for one use, and for the same request of the same
//! principal only. A call that nobody comes back for is cancelled at its plugin: after a time, or as soon as too many calls
//! of the plugin wait, for each of them holds a place among those that the plugin runs.
//!
//! ```text
//! request -> Live::next -> ended: the answer
//!                       -> asked: Park::leave -> input_required + token        (a task polls the call)
//! request + answers + token -> Park::resume -> the Live again -> answered -> Live::next -> ...
//! ```
//!
//! What is not here: which plugin is called, and what a result means.

mod binding;
mod live;
mod question;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::{Semaphore, oneshot};
use wharf_core::PluginId;
use wharf_plugin_api::RpcError;

pub(crate) use self::binding::Origin;
use self::binding::{Binding, Digester};
pub(crate) use self::live::{Hear, Live, Outcome, Step};
use crate::tasks::Tasks;

/// Calls that wait at the same time, of all plugins.
const MOST: usize = 1024;
/// Bytes of answers that came while their clients were away, of all plugins.
const KEPT: usize = 64 << 20;
/// How long a call waits for its client: a person may have to be found.
const EXPIRY: Duration = Duration::from_mins(10);
/// What our tokens begin with.
const PREFIX: &str = "w1.";

/// The calls that wait. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Park(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    seats: Mutex<HashMap<String, Seat>>,
    last: AtomicU64,
    digester: Digester,
    tasks: Tasks,
    most: usize,
    /// Bytes that answers may still take.
    room: Arc<Semaphore>,
}

/// A waiting call.
#[derive(Debug)]
struct Seat {
    binding: Binding,
    plugin: PluginId,
    /// Who came earlier has the smaller number.
    number: u64,
    /// False once the plugin has answered.
    runs: Arc<AtomicBool>,
    /// Takes who goes on with the call.
    door: oneshot::Sender<oneshot::Sender<Box<Live>>>,
}

/// What a request comes to.
#[derive(Debug)]
pub(crate) enum Passed {
    /// The call is over.
    Ended(Outcome),
    /// The client is asked: a whole result, `input_required`.
    Asked(Box<RawValue>),
}

/// Frees the seat of a call whose task ends, however it ends.
struct Seated(Arc<Inner>, String);

/// The answer to a token that is not good. It says the same for all reasons, so that nothing can be learnt by trying.
pub(crate) fn bad_state() -> RpcError {
    RpcError::new(
        RpcError::INVALID_PARAMS,
        "requestState is unknown, expired, used already, or of another request; send the request again without it",
    )
}

// === impl Passed ===

impl Passed {
    /// Whether it is the answer of an earlier call with the same key.
    pub(crate) fn is_replayed(&self) -> bool {
        matches!(self, Self::Ended(Ok(settled)) if settled.replayed)
    }
}

// === impl Park ===

impl Park {
    pub(crate) fn new(tasks: Tasks) -> Self {
        Self::bounded(tasks, MOST)
    }

    fn bounded(tasks: Tasks, most: usize) -> Self {
        let seats = Mutex::default();
        Self(Arc::new(Inner {
            seats,
            last: AtomicU64::new(0),
            digester: Digester::default(),
            tasks,
            most,
            room: Arc::new(Semaphore::new(KEPT)),
        }))
    }

    /// Goes on with a call until it has ended, or waits for its client. Dropping the future cancels the call.
    /// Where it came from is asked only if it has to wait.
    pub(crate) async fn pass(
        &self,
        mut live: Box<Live>,
        origin: impl Fn() -> Origin,
        hear: &mut Hear<'_>,
    ) -> Passed {
        loop {
            match live.next(hear).await {
                Step::Ended(outcome) => return Passed::Ended(outcome),
                Step::Asked => match self.leave(live, &origin()) {
                    Ok(asked) => return Passed::Asked(asked),
                    // The plugin is told no, and the call goes on to whatever end that gives it.
                    Err(refused) => {
                        live = refused;
                        live.refuse("too many calls wait for their clients; try again later");
                    }
                },
            }
        }
    }

    /// Keeps a call that has asked, and makes its client's answer.
    fn leave(&self, mut live: Box<Live>, origin: &Origin) -> Result<Box<RawValue>, Box<Live>> {
        let Some((token, asked)) = token().and_then(|token| live.asked(&token).map(|asked| (token, asked)))
        else {
            tracing::error!(
                "a call could not be kept for its client: no random token, or questions that are no JSON"
            );
            return Err(live);
        };
        let (door, entered) = oneshot::channel();
        {
            let binding = self.0.digester.binding(origin);
            let mut seats = self.0.seats();
            if seats.len() >= self.0.most {
                drop(seats);
                tracing::warn!(
                    most = self.0.most,
                    "a plugin's question was refused: too many calls wait for clients"
                );
                return Err(live);
            }
            if seats.values().filter(|seat| seat.plugin == live.plugin).count() >= live.room {
                give_way(&mut seats, &live.plugin);
            }
            let number = self.0.last.fetch_add(1, Ordering::Relaxed);
            seats.insert(
                token.clone(),
                Seat { binding, plugin: live.plugin.clone(), number, runs: live.runs(), door },
            );
        }
        let seated = Seated(Arc::clone(&self.0), token);
        let ending = self.0.tasks.ending().clone();
        // The call is moved out of its client's request: this task is all that polls it until somebody comes back.
        self.0.tasks.spawn(tracing::Span::current(), async move {
            let (live, seated) = (live, seated);
            tokio::select! {
                () = wait(live, entered, &seated.0.room) => {}
                () = ending.cancelled() => {}
            }
            drop(seated);
        });
        Ok(asked)
    }

    /// Takes the call that waits under this token. Of two who try at once, one gets it.
    ///
    /// # Errors
    /// [`bad_state`], if no call waits under it for this request.
    pub(crate) async fn resume(&self, token: &str, origin: &Origin) -> Result<Box<Live>, RpcError> {
        let binding = self.0.digester.binding(origin);
        let seat = {
            let mut seats = self.0.seats();
            // Who shows a token that is not for this request must not end the call that waits.
            if seats.get(token).is_none_or(|seat| seat.binding != binding) {
                return Err(bad_state());
            }
            seats.remove(token).ok_or_else(bad_state)?
        };
        let (sender, live) = oneshot::channel();
        // Between the look and the door the call's time may have come.
        seat.door.send(sender).map_err(|_| bad_state())?;
        live.await.map_err(|_| bad_state())
    }

    /// How many calls run and wait for their clients: those whose plugins have answered by now run no more.
    pub(crate) fn waiting(&self) -> usize {
        self.0.seats().values().filter(|seat| seat.runs.load(Ordering::Relaxed)).count()
    }

    /// Whether a call waits under this token, for whomever.
    pub(crate) fn knows(&self, token: &str) -> bool {
        token.starts_with(PREFIX) && self.0.seats().contains_key(token)
    }
}

/// Polls a call that waits, until somebody comes for it or nobody does.
async fn wait(
    mut live: Box<Live>,
    entered: oneshot::Receiver<oneshot::Sender<Box<Live>>>,
    room: &Arc<Semaphore>,
) {
    let came = tokio::select! {
        came = entered => came.ok(),
        () = live.idle(room) => None,
        () = tokio::time::sleep(EXPIRY) => {
            tracing::info!(after = ?EXPIRY, "a call was cancelled: its client never answered the plugin's questions");
            None
        }
    };
    // Who came may be gone again; then the call is, too.
    came.and_then(|came| came.send(live).err());
}

/// Of the calls of a plugin that wait, the one that has waited longest is cancelled: its door closes.
fn give_way(seats: &mut HashMap<String, Seat>, plugin: &PluginId) {
    let of_plugin = seats.iter().filter(|(_, seat)| seat.plugin == *plugin);
    let longest = of_plugin.min_by_key(|(_, seat)| seat.number).map(|(token, _)| token.clone());
    if longest.is_some_and(|token| seats.remove(&token).is_some()) {
        tracing::info!(%plugin, "a call was cancelled: its client has not answered the plugin's questions yet, and many do not");
    }
}

fn token() -> Option<String> {
    let mut random = [0; 24];
    getrandom::fill(&mut random).ok()?;
    let digits = random.iter().map(|byte| format!("{byte:02x}"));
    Some(digits.fold(PREFIX.to_owned(), |token, digits| token + &digits))
}

// === impl Inner ===

impl Inner {
    fn seats(&self) -> MutexGuard<'_, HashMap<String, Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.0.seats().remove(&self.1);
    }
}
