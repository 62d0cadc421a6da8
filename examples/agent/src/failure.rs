//! Why the agent ends without an answer, in words for its user, and with which exit code. It prints nothing.

use std::fmt::Display;

/// The end of a run that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The model, the conversation's file or the number of turns.
    #[error("{0}")]
    Failed(String),
    /// A wrong flag, a wrong script or a key that is not set.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers at the server's address, or what answers is no MCP server.
    #[error("{0}")]
    Unreachable(String),
    /// The server asks for another token.
    #[error("{0}")]
    NotAuthorised(String),
    /// The user ended it.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// The same codes as the command line of wharf.
    pub fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::NotAuthorised(_) => 8,
            Self::Interrupted => 130,
        }
    }
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.contains(&text) {
            said.push_str(": ");
            said.push_str(&text);
        }
        cause = error.source();
    }
    said
}

/// The beginning of a text in one line, at most so many characters.
pub(crate) fn short(text: impl Display, limit: usize) -> String {
    let line = text.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}
