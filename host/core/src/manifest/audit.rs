//! What is remembered of calls for whoever asks later.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[audit]`: what the host remembers of calls beside how they went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// What `/api/v1/calls` shows of a call's arguments: nothing, their length and SHA-256, or (up to 16 KiB) the arguments
    /// themselves, secrets among them: `full` is for plugins whose arguments everyone with the host's token may read.
    pub arguments: ShownArguments,
}

/// What is shown of the arguments of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ShownArguments {
    /// Nothing.
    Off,
    /// Their length, and the SHA-256 of their bytes as the caller sent them.
    #[default]
    Digest,
    /// The arguments, where they are short; else as `digest`.
    Full,
}
