//! Manifests: read, checked, watched.

use serde::Serialize;

/// One thing wrong with a manifest.
#[derive(Clone, Debug, Serialize)]
pub struct ProblemView {
    /// 1-based line, if it has a place.
    pub line: Option<u32>,
    /// 1-based column in characters.
    pub column: Option<u32>,
    /// JSON Pointer to the place in the document.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What helps.
    pub help: Option<String>,
}
