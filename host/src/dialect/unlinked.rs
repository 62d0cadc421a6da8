//! What to do with what a plugin says or asks without a word about which request it means.
//!
//! One call in flight is the one that is meant. With several, a wrong guess would ask one person another's question, so
//! nobody is asked, and the answer says what helps. It decides only; it must not know how anyone is told.

/// The calls in flight on a connection that may be meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InFlight {
    /// How many there are. Those that wait for answers count only where no other is.
    pub(crate) calls: usize,
    /// Whether any of their clients has roots.
    pub(crate) roots: bool,
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

/// Who answers `method`. A connection that is not `shared` has one client, whichever call it makes.
pub(crate) fn answers(method: &str, now: InFlight, shared: bool) -> Answers {
    let roots = method == "roots/list";
    match (now.calls, shared) {
        _ if roots && !now.roots => Answers::NoRoots,
        (0, _) => Answers::Host,
        (1, _) | (_, false) => Answers::Caller,
        (_, true) => Answers::Nobody(SEVERAL),
    }
}

/// Who hears a log message.
pub(crate) fn hears(now: InFlight, shared: bool) -> Hears {
    match (now.calls, shared) {
        (0, _) => Hears::All,
        (1, _) => Hears::Caller,
        (_, false) => Hears::All,
        (_, true) => Hears::Log,
    }
}

#[cfg(test)]
mod tests {
    use super::{Answers, Hears, InFlight, SEVERAL, answers, hears};

    fn now(calls: usize, roots: bool) -> InFlight {
        InFlight { calls, roots }
    }

    #[test]
    fn only_one_call_can_be_meant() {
        let ask = |calls, shared| answers("sampling/createMessage", now(calls, true), shared);
        assert_eq!(ask(1, true), Answers::Caller);
        assert_eq!(ask(0, true), Answers::Host);
        assert_eq!(ask(2, true), Answers::Nobody(SEVERAL));
        assert_eq!(ask(7, true), Answers::Nobody(SEVERAL));
        assert!(SEVERAL.contains("isolation = \"session\""), "it says what helps");
    }

    #[test]
    fn an_instance_of_one_client_has_nobody_else_to_ask() {
        let ask = |calls| answers("elicitation/create", now(calls, false), false);
        assert_eq!((ask(0), ask(1), ask(2)), (Answers::Host, Answers::Caller, Answers::Caller));
    }

    #[test]
    fn roots_are_those_of_the_one_caller_who_has_some() {
        let ask = |calls, roots| answers("roots/list", now(calls, roots), true);
        assert_eq!(ask(0, false), Answers::NoRoots);
        assert_eq!(ask(1, false), Answers::NoRoots);
        assert_eq!(ask(1, true), Answers::Caller);
        assert_eq!(ask(2, false), Answers::NoRoots);
        assert_eq!(ask(2, true), Answers::Nobody(SEVERAL));
    }

    #[test]
    fn log_messages_reach_nobody_whom_they_do_not_concern() {
        let hear = |calls, shared| hears(now(calls, false), shared);
        assert_eq!((hear(0, true), hear(1, true), hear(2, true)), (Hears::All, Hears::Caller, Hears::Log));
        assert_eq!((hear(0, false), hear(1, false), hear(2, false)), (Hears::All, Hears::Caller, Hears::All));
    }
}
