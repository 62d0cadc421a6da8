//! What was said so far: by the user, by the model, by tools. Kept in a file, from which a later run goes on.

use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;

/// The longest file that is read, in bytes.
const LONGEST: u64 = 64 << 20;

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub enum Message {
    /// What the user asked.
    User {
        /// As it was typed.
        text: String,
    },
    /// What the model said, and the tools that it wants to be called.
    Assistant {
        /// May be empty beside calls.
        text: String,
        /// In this order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<ToolCall>,
    },
    /// How a call ended.
    Tool {
        /// The call's id.
        call: String,
        /// The tool's name.
        tool: String,
        /// Whether the tool, or the way to it, failed.
        #[serde(default)]
        failed: bool,
        /// What it answered: JSON where it is JSON, else a text.
        result: Value,
    },
}

/// A tool that the model wants to be called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Names this call within the conversation.
    pub id: String,
    /// The tool's name, as the server has it.
    pub tool: String,
    /// An object.
    pub arguments: Value,
}

/// All messages, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// Each call of a tool is followed by its result.
    pub messages: Vec<Message>,
}

impl Conversation {
    /// Reads a conversation; a new one if there is no such file.
    ///
    /// # Errors
    /// If the file cannot be read or is no conversation.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let text = match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Ok(about) if about.len() > LONGEST => Err(format!("is longer than {LONGEST} bytes")),
            Ok(_) => std::fs::read_to_string(path).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        text.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()))
            .map_err(|cause| Failure::Usage(format!("the conversation {}: {cause}", path.display())))
    }

    /// Writes it in one step: a reader sees the old file or the new one. Only the user can read it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Failure> {
        self.write(path).map_err(|error| {
            Failure::Failed(format!("the conversation cannot be saved in {}: {error}", path.display()))
        })
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut name = path.file_name().ok_or(std::io::ErrorKind::IsADirectory)?.to_owned();
        name.push(".new");
        let fresh = path.with_file_name(name);
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        std::fs::rename(fresh, path)
    }

    /// What the user asked last.
    pub fn prompt(&self) -> &str {
        let asked = self.messages.iter().rev().find_map(|message| match message {
            Message::User { text } => Some(text.as_str()),
            Message::Assistant { .. } | Message::Tool { .. } => None,
        });
        asked.unwrap_or_default()
    }

    /// Gives a result to each call that has none, as when the user ended the turn: no model takes a call without one.
    pub fn close(&mut self, why: &str) {
        let open: Vec<_> = self.open_calls().cloned().collect();
        for ToolCall { id, tool, .. } in open {
            self.messages.push(Message::Tool { call: id, tool, failed: true, result: why.into() });
        }
    }

    /// The calls of the model's last message that have no result yet.
    fn open_calls(&self) -> impl Iterator<Item = &ToolCall> {
        let last = self
            .messages
            .iter()
            .rposition(|message| matches!(message, Message::Assistant { .. }))
            .unwrap_or(0);
        let (said, done) = match self.messages.get(last..).and_then(<[_]>::split_first) {
            Some((Message::Assistant { calls, .. }, rest)) => (calls.as_slice(), rest),
            _ => (&[][..], &[][..]),
        };
        said.iter().filter(move |open| {
            !done.iter().any(|message| matches!(message, Message::Tool { call, .. } if *call == open.id))
        })
    }
}
