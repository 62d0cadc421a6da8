//! Calls with a key of their caller's, which run at most once: who comes again gets the answer of the first, or is told what
//! is known of it. The table is [`wharf_core::idempotency`]; here it meets the calls, and what outlives the host.

mod kept;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::value::RawValue;
use wharf_core::idempotency::{self, Bounds, Claim, Key, Known, Name, What};
use wharf_core::journal::{Answer, Entry, KeyState, Keyed, Outcome, RecoveredKey};
use wharf_core::{CallId, Code, PluginId, splice};
use wharf_plugin_api::Delivery;

use self::kept::{Kept, Read};
use super::call::Call;
use super::failure::{Failure, FieldError};
use super::scope::CallScope;
use super::spec::{Payload, Settled};
use crate::journal::{Journal, millis};
use crate::tasks::on_bytes;

/// The largest answer that is kept, bytes.
pub(crate) const LARGEST: usize = 64 << 10;
/// How much is kept at most.
const BOUNDS: Bounds = Bounds { keys: 10_000, bytes: 32 << 20, age: 24 * 3600 * 1000 };
/// When to come back for the answer of a call that runs.
const SOON: Duration = Duration::from_secs(1);

/// The keys of all callers of one host.
#[derive(Debug)]
pub(crate) struct Keys {
    table: Mutex<idempotency::Keys<Arc<Kept>>>,
    journal: Journal,
}

/// What a call with a key comes to before it runs.
pub(super) enum Begins {
    /// It runs.
    Runs(Box<Taken>),
    /// It does not: this is its answer.
    Ends(Box<Result<Settled, Failure>>),
}

/// A key that a call has taken. Dropped before the call has ended, it is as unknown as the call is.
#[derive(Debug)]
pub(super) struct Taken {
    keys: Arc<Keys>,
    name: Name,
    call: CallId,
    /// Tells whether the call was handed over.
    scope: Option<Arc<CallScope>>,
    ended: bool,
}

// === impl Keys ===

impl Keys {
    /// None yet; what comes is written to this journal.
    pub(crate) fn new(journal: &Journal) -> Self {
        Self { table: Mutex::new(idempotency::Keys::new(BOUNDS)), journal: journal.clone() }
    }

    /// Takes in the keys of an earlier run of the host, oldest first.
    pub(crate) fn remember(&self, recovered: Vec<RecoveredKey>) {
        let mut table = self.table();
        for taken in recovered {
            let (known, bytes) = match &taken.state {
                KeyState::NotSent | KeyState::Unknown => (Known::Unknown, 0),
                KeyState::Ended(Outcome::Answered, _) => (Known::NotKept, 0),
                KeyState::Ended(..) => (Known::Unknown, 0),
                KeyState::Answered(bytes) => match Kept::read(bytes) {
                    Read::Answer(kept) => (Known::Answered(Arc::new(kept)), bytes.len()),
                    Read::NotKept => (Known::NotKept, 0),
                    Read::Free => continue,
                },
            };
            let (Ok(key), Ok(plugin), Ok(digest)) =
                (Key::new(&taken.key), PluginId::new(&taken.plugin), taken.digest[..].try_into())
            else {
                continue;
            };
            let name = Name { principal: taken.principal.into(), key };
            let what = What { plugin, tool: taken.tool.into(), digest };
            // Of two calls with one key the later has it: the other had left it free.
            if let Claim::Other(first) | Claim::Same(first, _) =
                table.claim(&name, &what, &taken.call, taken.at)
            {
                table.settle(&name, &first, None, 0);
                table.claim(&name, &what, &taken.call, taken.at);
            }
            table.settle(&name, &taken.call, Some(known), bytes);
        }
    }

    /// Writes down that a call has a key. Whether it may run: not, if that would be forgotten with the host.
    fn write_taken(&self, call: &CallId, name: &Name, what: &What, at: u64) -> bool {
        let entry = Entry::Keyed(Keyed {
            call: *call,
            at,
            principal: &name.principal,
            key: name.key.as_str(),
            plugin: what.plugin.as_str(),
            tool: &what.tool,
            digest: &what.digest,
        });
        self.journal.write(&entry).is_ok() || self.journal.view().state == "off"
    }

    fn write_ended(&self, call: &CallId, result: &[u8]) {
        let at = millis(SystemTime::now());
        // What cannot be written reads as unknown after a crash: it is not run again.
        self.journal.write(&Entry::Answer(Answer { call: *call, at, result })).ok();
    }

    fn table(&self) -> MutexGuard<'_, idempotency::Keys<Arc<Kept>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Taken ===

impl Taken {
    /// It is handed over by this scope.
    pub(super) fn goes_with(&mut self, scope: &Arc<CallScope>) {
        self.scope = Some(Arc::clone(scope));
    }

    /// The call has ended so.
    pub(super) fn ends(mut self, outcome: &Result<Settled, Failure>) {
        self.ended = true;
        match outcome {
            // It has not run to its end: the call that brings the answers does, under the same key.
            Ok(settled) if settled.asks() => self.settle(None, &Kept::free()),
            Ok(settled) => match Kept::of(settled) {
                Some((kept, bytes)) => self.settle(Some(Known::Answered(Arc::new(kept))), &bytes),
                None => self.settle(Some(Known::NotKept), &Kept::too_large()),
            },
            Err(failure) if failure.delivery.is_none_or(|delivery| delivery <= Delivery::NotDelivered) => {
                self.settle(None, &Kept::free());
            }
            Err(_) => self.settle(Some(Known::Unknown), &[]),
        }
    }

    fn settle(&self, known: Option<Known<Arc<Kept>>>, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.keys.write_ended(&self.call, bytes);
        }
        self.keys.table().settle(&self.name, &self.call, known, bytes.len());
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // Its caller has left.
        match &self.scope {
            Some(scope) if scope.was_sent() => self.settle(Some(Known::Unknown), &[]),
            Some(_) | None => self.settle(None, &Kept::free()),
        }
    }
}

// === impl Call ===

impl Call {
    /// Takes the key of the call, if it has one.
    pub(super) fn claim(&self) -> Option<Begins> {
        let key = self.spec.key.clone()?;
        let keys = &self.to.routing.keys;
        let name = Name { principal: Arc::clone(&self.spec.caller.principal), key };
        let what = What {
            plugin: self.spec.plugin.clone(),
            tool: self.spec.tool.as_deref().unwrap_or_default().into(),
            digest: digest(&self.spec.payload, sha256),
        };
        let now = millis(SystemTime::now());
        let ends = |outcome| Some(Begins::Ends(Box::new(outcome)));
        // The lock is let go with this.
        let claim = keys.table().claim(&name, &what, &self.id, now);
        let (first, known) = match claim {
            Claim::New => {
                let taken = Box::new(Taken {
                    keys: Arc::clone(keys),
                    name: name.clone(),
                    call: self.id,
                    scope: None,
                    ended: false,
                });
                if !keys.write_taken(&self.id, &name, &what, now) {
                    // The key is let go with what is dropped here.
                    return ends(Err(self.unwritten()));
                }
                return Some(Begins::Runs(taken));
            }
            Claim::Other(first) => return ends(Err(self.other(&first))),
            Claim::Same(first, known) => (first, known),
        };
        ends(match known {
            Known::Answered(kept) => Ok(kept.settled(first)),
            Known::Running => Err(self.running(first)),
            Known::NotKept => Err(self.not_kept(first)),
            Known::Unknown => Err(self.unknown(first)),
        })
    }

    fn unwritten(&self) -> Failure {
        let detail = "the host's journal cannot be written, so the key would be forgotten with the host; without a key \
                      the call would run";
        let failure = self.failure(Code::Overloaded, detail.to_owned());
        Failure { delivery: Some(Delivery::Queued), retry_after: Some(SOON), ..failure }
    }

    fn other(&self, first: &CallId) -> Failure {
        let detail = format!(
            "the key was used by call {first} for another tool or other arguments (to the byte); a new call needs a new key"
        );
        let errors = vec![FieldError {
            pointer: "/arguments".to_owned(),
            detail: format!("not what call {first} had"),
        }];
        let delivery = Some(Delivery::NotDelivered);
        Failure { delivery, errors, ..self.failure(Code::IdempotencyConflict, detail) }
    }

    fn running(&self, first: CallId) -> Failure {
        let detail = format!(
            "call {first} with this key still runs; its answer can be had with the key when it has ended"
        );
        let failure = self.failure(Code::IdempotencyConflict, detail);
        Failure { call_id: Some(first), retry_after: Some(SOON), ..failure }
    }

    fn not_kept(&self, first: CallId) -> Failure {
        let detail = format!(
            "call {first} with this key was answered, but its answer is not kept (it is over {LARGEST} bytes, or made room \
             for later ones); it is not run again"
        );
        let failure = self.failure(Code::IdempotencyConflict, detail);
        Failure { call_id: Some(first), delivery: Some(Delivery::Answered), ..failure }
    }

    fn unknown(&self, first: CallId) -> Failure {
        let detail = format!(
            "call {first} with this key was handed over and its outcome is not known, so it is not run again; check what it \
             did, and use a new key to run it once more"
        );
        let failure = self.failure(Code::OutcomeUnknown, detail);
        Failure { call_id: Some(first), delivery: Some(Delivery::Unknown), ..failure }
    }
}

// === impl Settled ===

impl Settled {
    /// Whether the answer is a question.
    fn asks(&self) -> bool {
        let wharf_plugin_api::Reply::Result(result) = &self.reply else { return false };
        splice::field(result, "resultType").is_some_and(|kind| kind.get() == "\"input_required\"")
    }
}

/// Of the arguments as they came: the same call is the same to the byte. Absent ones are none.
fn digest(payload: &Payload, hash: impl FnOnce(&[u8]) -> [u8; 32]) -> [u8; 32] {
    let arguments = match payload {
        Payload::Call { arguments, .. } => arguments.as_deref(),
        Payload::Params(params) | Payload::Named(params) => {
            params.as_deref().and_then(|params| splice::field(params, "arguments"))
        }
    };
    let bytes = arguments.map_or("", RawValue::get).as_bytes();
    on_bytes(bytes.len(), || hash(bytes))
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    // It is that long.
    digest.as_ref().try_into().unwrap_or_default()
}
