//! How a request ended, in the few words that a metric may have as a label. Nothing here counts or measures.

use crate::code::Code;

/// The end of a request to a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The plugin answered with a result.
    Ok,
    /// The plugin answered with a JSON-RPC error.
    RpcError,
    /// It failed with one of the documented codes; a tool that says that it failed is [`Code::ToolError`].
    Failed(Code),
}

impl Outcome {
    /// How many there are.
    pub const COUNT: usize = 2 + Code::ALL.len();

    /// Every outcome, in the order of [`Outcome::index`].
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Ok, Self::RpcError].into_iter().chain(Code::ALL.iter().copied().map(Self::Failed))
    }

    /// Its place among all of them.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::RpcError => 1,
            Self::Failed(code) => 2 + code as usize,
        }
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::RpcError => "rpc_error",
            Self::Failed(code) => code.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Outcome;

    #[test]
    fn each_has_a_place_and_a_word_of_its_own() {
        let places: Vec<usize> = Outcome::all().map(Outcome::index).collect();
        assert_eq!(places, (0..Outcome::COUNT).collect::<Vec<_>>());
        assert_eq!(Outcome::all().map(Outcome::as_str).collect::<BTreeSet<_>>().len(), Outcome::COUNT);
    }
}
