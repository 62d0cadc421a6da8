//! What to do with what a plugin says or asks without a word about which request it means.
//!
//! One call that may be meant is the one that is meant; which may be is known to `pending`. With several, a wrong guess would
//! ask one person another's question, so nobody is asked, and the answer says what helps. It decides only; it must not know
//! how anyone is told.

/// The calls on a connection that may be meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InFlight {
    /// How many are in flight.
    pub(crate) calls: usize,
    /// How many of others were given up just now, and may still run.
    pub(crate) given_up: usize,
}

/// Who answers a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// We, with no roots.
    NoRoots,
    /// The caller of the newest call.
    Caller,
    /// The host's ear for what belongs to no call.
    Host,
    /// Nobody; the words say why.
    Nobody(&'static str),
}

/// Who hears a log message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hears {
    /// The caller of the newest call.
    Caller,
    /// All who listen to what belongs to no call.
    All,
    /// The plugin's log.
    Log,
}

const SEVERAL: &str = "several calls are in flight, and the request does not say for which of them it is; \
                       `isolation = \"session\"` in the plugin's manifest gives each client an instance of its own";

const GIVEN_UP: &str = "a call that was given up a moment ago may still run, and the request does not say for which call \
                        it is; `isolation = \"session\"` in the plugin's manifest gives each client an instance of its own";

/// Who answers a question. A connection that is not `shared` has one client, whichever call it makes.
pub(crate) fn answers(now: InFlight, shared: bool) -> Answers {
    match (now.calls, now.given_up) {
        (0, _) if !shared => Answers::Host,
        (_, _) if !shared => Answers::Caller,
        (0, 0) => Answers::Host,
        (1, 0) => Answers::Caller,
        (0 | 1, _) => Answers::Nobody(GIVEN_UP),
        (_, _) => Answers::Nobody(SEVERAL),
    }
}

/// Who answers `roots/list`. `roots`: whether any of the clients that may be meant has some. The client of an instance that
/// is not shared is the only one, and answers for itself.
pub(crate) fn answers_roots(now: InFlight, shared: bool, roots: impl FnOnce() -> bool) -> Answers {
    if shared && !roots() { Answers::NoRoots } else { answers(now, shared) }
}

/// Who hears a log message.
pub(crate) fn hears(now: InFlight, shared: bool) -> Hears {
    match (now.calls, now.given_up) {
        (1, _) if !shared => Hears::Caller,
        (_, _) if !shared => Hears::All,
        (0, 0) => Hears::All,
        (1, 0) => Hears::Caller,
        (_, _) => Hears::Log,
    }
}

#[cfg(test)]
mod tests {
    use super::{Answers, GIVEN_UP, Hears, InFlight, SEVERAL, answers, answers_roots, hears};

    fn now(calls: usize) -> InFlight {
        InFlight { calls, given_up: 0 }
    }

    #[test]
    fn only_one_call_can_be_meant() {
        let ask = |calls| answers(now(calls), true);
        assert_eq!((ask(1), ask(0)), (Answers::Caller, Answers::Host));
        assert_eq!((ask(2), ask(7)), (Answers::Nobody(SEVERAL), Answers::Nobody(SEVERAL)));
        for words in [SEVERAL, GIVEN_UP] {
            assert!(words.contains("isolation = \"session\""), "it says what helps");
        }
    }

    #[test]
    fn what_may_be_for_a_call_that_was_given_up_reaches_nobody() {
        let ask = |calls, shared| answers(InFlight { calls, given_up: 1 }, shared);
        let hear = |calls, shared| hears(InFlight { calls, given_up: 1 }, shared);
        assert_eq!((ask(0, true), ask(1, true)), (Answers::Nobody(GIVEN_UP), Answers::Nobody(GIVEN_UP)));
        assert_eq!((ask(0, false), ask(1, false)), (Answers::Host, Answers::Caller));
        assert_eq!((hear(0, true), hear(1, true)), (Hears::Log, Hears::Log));
        assert_eq!((hear(0, false), hear(1, false)), (Hears::All, Hears::Caller));
    }

    #[test]
    fn an_instance_of_one_client_has_nobody_else_to_ask() {
        let ask = |calls| answers(now(calls), false);
        assert_eq!((ask(0), ask(1), ask(2)), (Answers::Host, Answers::Caller, Answers::Caller));
        let roots = |calls| answers_roots(now(calls), false, || false);
        assert_eq!((roots(0), roots(1), roots(2)), (Answers::Host, Answers::Caller, Answers::Caller));
    }

    #[test]
    fn roots_are_those_of_the_one_caller_who_has_some() {
        let ask = |calls, roots| answers_roots(now(calls), true, || roots);
        assert_eq!(ask(0, false), Answers::NoRoots);
        assert_eq!(ask(1, false), Answers::NoRoots);
        assert_eq!(ask(1, true), Answers::Caller);
        assert_eq!(ask(2, false), Answers::NoRoots);
        assert_eq!(ask(2, true), Answers::Nobody(SEVERAL));
    }

    #[test]
    fn log_messages_reach_nobody_whom_they_do_not_concern() {
        let hear = |calls, shared| hears(now(calls), shared);
        assert_eq!((hear(0, true), hear(1, true), hear(2, true)), (Hears::All, Hears::Caller, Hears::Log));
        assert_eq!((hear(0, false), hear(1, false), hear(2, false)), (Hears::All, Hears::Caller, Hears::All));
    }
}
