//! Who calls, as a number: callers are told apart by it and by nothing else.

use std::hash::BuildHasher;
use std::sync::LazyLock;

use foldhash::quality::RandomState;
use wharf_plugin_api::Caller;

/// One caller: a principal, and within it an MCP session, since one token serves many agents. Two callers have the same
/// number with a probability that does not matter; they share what is theirs then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallerKey(pub(crate) u64);

/// Chosen anew by each run, so that nobody can choose a session that meets another's number.
static HASH: LazyLock<RandomState> = LazyLock::new(RandomState::default);

impl CallerKey {
    pub(crate) fn of(caller: &Caller) -> Self {
        Self(HASH.hash_one((&*caller.principal, caller.session.as_deref())))
    }
}
