//! What a language model is to the agent: it is given the conversation and the tools, and says a text in pieces and which
//! tools it wants. Which provider is behind it is not known here.

use async_trait::async_trait;

use crate::conversation::{Conversation, ToolCall};
use crate::failure::Failure;
use crate::tools::Tool;

pub mod hosted;
pub mod mock;
mod names;
pub mod provider;
pub mod script;
mod template;

/// One message of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Turn {
    /// The whole text; its pieces were said before.
    pub text: String,
    /// Empty if the model has nothing more to do.
    pub calls: Vec<ToolCall>,
}

/// A language model. Dropping the future of a turn ends it.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// Says the next message: each piece of its text to `say` as soon as it is there, then the whole.
    ///
    /// # Errors
    /// If the model cannot be asked, or what it says cannot be understood.
    async fn turn(&self, so_far: &Conversation, tools: &[Tool], say: Say<'_>) -> Result<Turn, Failure>;
}

/// Takes pieces of text.
pub type Say<'a> = &'a mut (dyn FnMut(&str) + Send);
