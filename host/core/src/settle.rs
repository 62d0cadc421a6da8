//! What comes after an attempt without an answer: another one, or which error.
//!
//! The rule that everything rests on: a call runs at most once. Another attempt is made only where no byte of it reached the
//! plugin, or where the plugin is trusted when it says that running it again changes nothing. What was answered, be it with
//! an error, is the answer.

use std::time::Duration;

use wharf_plugin_api::{CallError, CallErrorKind, Delivery};

use crate::backoff::Backoff;
use crate::code::Code;
use crate::manifest::Retry;

/// An attempt that failed.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// How many there were before it.
    pub before: u32,
    /// What is left of the call's time.
    pub remaining: Duration,
    /// What the manifest allows.
    pub retry: &'a Retry,
    /// Whether it may be handed over once more though it may have run.
    pub repeatable: bool,
    /// A random number, uniform in `0.0..=1.0`.
    pub roll: f64,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after this long.
    Again(Duration),
    /// Give up with this code.
    Fail(Code),
}

/// Decides what comes after a failed attempt.
#[must_use]
pub fn settle(error: &CallError, attempt: &Attempt<'_>) -> Verdict {
    let Attempt { before, remaining, retry, repeatable, roll } = *attempt;
    let delay = Backoff::from(retry).within(before, retry.jitter, roll);
    if is_safe(error, repeatable) && before < retry.max && delay < remaining {
        return Verdict::Again(delay);
    }
    Verdict::Fail(code(error))
}

/// Whether another attempt does no harm.
fn is_safe(error: &CallError, repeatable: bool) -> bool {
    match (error.kind, error.delivery) {
        // Nobody waits for it. And a link restores a lost session once by itself: only one layer tries again.
        (CallErrorKind::Cancelled | CallErrorKind::Session, _) => false,
        (_, Delivery::Queued | Delivery::NotDelivered) => true,
        // Its time was used up by the plugin; it may work on it still.
        (CallErrorKind::Timeout, Delivery::Unknown) => false,
        (_, Delivery::Unknown) => repeatable,
        (_, Delivery::Answered) => false,
    }
}

/// The code that a failed call ends with.
#[must_use]
pub fn code(error: &CallError) -> Code {
    match (error.kind, error.delivery) {
        (CallErrorKind::Cancelled, _) => Code::Cancelled,
        (CallErrorKind::Timeout, _) => Code::Deadline,
        (CallErrorKind::Session, _) => Code::SessionLost,
        (CallErrorKind::Protocol, _) => Code::ProtocolError,
        (CallErrorKind::Refused, Delivery::Unknown | Delivery::Answered) => Code::ProtocolError,
        (CallErrorKind::Full, _) => Code::QueueFull,
        (CallErrorKind::Connection, Delivery::Queued | Delivery::NotDelivered) => Code::NotDelivered,
        (CallErrorKind::Connection, Delivery::Unknown | Delivery::Answered) => Code::OutcomeUnknown,
        // A kind that this version does not know: the delivery is what counts.
        (_, Delivery::Queued | Delivery::NotDelivered) => Code::NotDelivered,
        (_, Delivery::Unknown | Delivery::Answered) => Code::OutcomeUnknown,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use wharf_plugin_api::{CallError, CallErrorKind, Delivery};

    use super::{Attempt, Verdict, settle};
    use crate::code::Code;
    use crate::manifest::Retry;

    const KINDS: [CallErrorKind; 6] = [
        CallErrorKind::Connection,
        CallErrorKind::Protocol,
        CallErrorKind::Timeout,
        CallErrorKind::Session,
        CallErrorKind::Cancelled,
        CallErrorKind::Full,
    ];
    const DELIVERIES: [Delivery; 4] =
        [Delivery::Queued, Delivery::NotDelivered, Delivery::Unknown, Delivery::Answered];

    fn first(retry: &Retry, repeatable: bool) -> Attempt<'_> {
        Attempt { before: 0, remaining: Duration::from_secs(60), retry, repeatable, roll: 0.5 }
    }

    proptest! {
        #[test]
        fn never_again_unless_it_does_no_harm_and_there_is_time(
            kind in 0..6usize, delivery in 0..4usize, before in 0..5u32, left in 0..2000u64, repeatable: bool, roll in 0.0..=1.0
        ) {
            let error = CallError::new(KINDS[kind], DELIVERIES[delivery], "x");
            let retry = Retry::default();
            let remaining = Duration::from_millis(left);
            let attempt = Attempt { before, remaining, retry: &retry, repeatable, roll };
            if let Verdict::Again(delay) = settle(&error, &attempt) {
                let may_have_run = error.delivery == Delivery::Unknown;
                prop_assert!(error.delivery <= Delivery::NotDelivered || (may_have_run && repeatable));
                prop_assert!(error.kind != CallErrorKind::Cancelled && error.kind != CallErrorKind::Session);
                prop_assert!(before < retry.max && delay < remaining);
            }
        }
    }

    #[test]
    fn the_table() {
        let retry = Retry::default();
        let again = |kind, delivery, repeatable| {
            let verdict = settle(&CallError::new(kind, delivery, ""), &first(&retry, repeatable));
            matches!(verdict, Verdict::Again(_))
        };
        for repeatable in [false, true] {
            // Queued, or provably not delivered: nothing ran.
            assert!(again(CallErrorKind::Full, Delivery::Queued, repeatable));
            assert!(again(CallErrorKind::Connection, Delivery::NotDelivered, repeatable));
            // Handed over, and the plugin died, or what it said was garbage.
            assert_eq!(again(CallErrorKind::Connection, Delivery::Unknown, repeatable), repeatable);
            assert_eq!(again(CallErrorKind::Protocol, Delivery::Unknown, repeatable), repeatable);
            // Handed over, and the time is up.
            assert!(!again(CallErrorKind::Timeout, Delivery::Unknown, repeatable));
            // Answered.
            assert!(!again(CallErrorKind::Protocol, Delivery::Answered, repeatable));
        }
    }

    #[test]
    fn the_code_tells_what_is_known() {
        let retry = Retry { max: 0, ..Retry::default() };
        let of = |kind, delivery| settle(&CallError::new(kind, delivery, ""), &first(&retry, true));
        assert_eq!(of(CallErrorKind::Connection, Delivery::NotDelivered), Verdict::Fail(Code::NotDelivered));
        assert_eq!(of(CallErrorKind::Connection, Delivery::Unknown), Verdict::Fail(Code::OutcomeUnknown));
        assert_eq!(of(CallErrorKind::Timeout, Delivery::Unknown), Verdict::Fail(Code::Deadline));
        assert_eq!(of(CallErrorKind::Session, Delivery::NotDelivered), Verdict::Fail(Code::SessionLost));
    }
}
