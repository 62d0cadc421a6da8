//! What comes after an attempt without an answer: another one, or which error.
//!
//! The rule that everything rests on: a call runs at most once unless no byte of it reached the plugin
//! (reference: delivery classes; a queued or undelivered call is safe, an unknown one is not).

use std::time::Duration;

use wharf_plugin_api::{CallError, CallErrorKind, Delivery};

use crate::backoff::Backoff;
use crate::code::Code;
use crate::manifest::Retry;

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after this long.
    Again(Duration),
    /// Give up with this code.
    Fail(Code),
}

/// Decides after the `attempt`th attempt (from 0) failed with `remaining` time left; `roll` is uniform in `0.0..=1.0`.
#[must_use]
pub fn settle(error: &CallError, attempt: u32, remaining: Duration, retry: &Retry, roll: f64) -> Verdict {
    let delay = Backoff::from(retry).within(attempt, retry.jitter, roll);
    // A link restores a lost session once by itself; only one layer tries again.
    let restored = error.kind == CallErrorKind::Session;
    if error.is_safe_to_retry() && !restored && attempt < retry.max && delay < remaining {
        return Verdict::Again(delay);
    }
    Verdict::Fail(code(error))
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

    use super::{Verdict, settle};
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

    proptest! {
        #[test]
        fn never_again_unless_nothing_was_delivered(kind in 0..6usize, delivery in 0..4usize, attempt in 0..5u32, left in 0..2000u64, roll in 0.0..=1.0) {
            let error = CallError::new(KINDS[kind], DELIVERIES[delivery], "x");
            let retry = Retry::default();
            let remaining = Duration::from_millis(left);
            if let Verdict::Again(delay) = settle(&error, attempt, remaining, &retry, roll) {
                prop_assert!(error.delivery <= Delivery::NotDelivered);
                prop_assert!(error.kind != CallErrorKind::Cancelled && error.kind != CallErrorKind::Session);
                prop_assert!(attempt < retry.max && delay < remaining);
            }
        }
    }

    #[test]
    fn the_code_tells_what_is_known() {
        let of = |kind, delivery| {
            settle(&CallError::new(kind, delivery, ""), 9, Duration::ZERO, &Retry::default(), 0.0)
        };
        assert_eq!(of(CallErrorKind::Connection, Delivery::NotDelivered), Verdict::Fail(Code::NotDelivered));
        assert_eq!(of(CallErrorKind::Connection, Delivery::Unknown), Verdict::Fail(Code::OutcomeUnknown));
        assert_eq!(of(CallErrorKind::Timeout, Delivery::Unknown), Verdict::Fail(Code::Deadline));
        assert_eq!(of(CallErrorKind::Session, Delivery::NotDelivered), Verdict::Fail(Code::SessionLost));
    }
}
