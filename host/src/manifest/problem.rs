//! What is wrong with a manifest, where, and what helps. No message ever holds the value of a variable.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use wharf_plugin_api::CauseKind;

use super::tree::Spot;

/// A file as it was read.
#[derive(Debug)]
pub struct Source {
    /// Where it stands.
    pub path: PathBuf,
    /// Its text; bytes that are no UTF-8 replaced.
    pub text: String,
}

/// One thing wrong with a manifest.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Whether the plugin cannot run with it.
    pub severity: Severity,
    /// What kind of problem it is.
    pub code: ProblemCode,
    /// The file it is about.
    pub path: PathBuf,
    /// The place in the file, if it has one.
    pub place: Option<Place>,
    /// JSON Pointer to the place in the document.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What helps.
    pub help: Option<String>,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The plugin cannot run.
    Error,
    /// It can, but probably not as meant.
    Warning,
}

/// What kind of problem it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemCode {
    /// The file itself is wrong.
    Invalid,
    /// A variable, or a file that a variable names, has no value here.
    MissingVariable,
}

/// A place in a file.
#[derive(Clone, Debug)]
pub struct Place {
    /// 1-based.
    pub line: u32,
    /// 1-based, in characters.
    pub column: u32,
    source: Arc<Source>,
    range: std::ops::Range<usize>,
}

/// One thing wrong with a manifest, as the API shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ProblemView {
    /// `error` or `warning`.
    pub severity: Severity,
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

// === impl Problem ===

impl Problem {
    /// An error about a file as a whole.
    pub(crate) fn of_file(path: &Path, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code: ProblemCode::Invalid,
            path: path.to_owned(),
            place: None,
            pointer: String::new(),
            message: one_line(&message.into()),
            help: None,
        }
    }

    /// An error at a place.
    pub(crate) fn at(
        source: &Arc<Source>,
        range: std::ops::Range<usize>,
        message: impl Into<String>,
    ) -> Self {
        Self { place: Some(Place::new(source, range)), ..Self::of_file(&source.path, message) }
    }

    /// With what helps.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// As a warning.
    #[must_use]
    pub(crate) fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Whether the plugin cannot run with it.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Why a plugin with this problem does not run.
    #[must_use]
    pub fn cause_kind(&self) -> CauseKind {
        match self.code {
            ProblemCode::Invalid => CauseKind::InvalidManifest,
            ProblemCode::MissingVariable => CauseKind::MissingVariable,
        }
    }
}

impl std::fmt::Display for Problem {
    /// `path:line:column: message`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(place) = &self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl From<&Problem> for ProblemView {
    fn from(problem: &Problem) -> Self {
        Self {
            severity: problem.severity,
            line: problem.place.as_ref().map(|place| place.line),
            column: problem.place.as_ref().map(|place| place.column),
            pointer: problem.pointer.clone(),
            message: problem.message.clone(),
            help: problem.help.clone(),
        }
    }
}

// === impl Place ===

impl Place {
    /// The place of these bytes, moved to whole characters inside the text.
    pub(crate) fn new(source: &Arc<Source>, range: std::ops::Range<usize>) -> Self {
        let text = &source.text;
        let start = text.floor_char_boundary(range.start.min(text.len()));
        let end = text.ceil_char_boundary(range.end.clamp(start, text.len()));
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            line: count(before.matches('\n').count() + 1),
            column: count(before.get(line_start..).unwrap_or_default().chars().count() + 1),
            source: Arc::clone(source),
            range: start..end,
        }
    }

    /// The file, for showing the line.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// The bytes.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.range.clone()
    }
}

/// Keys of a file stand in messages: none may break a line of a log, or steer a terminal.
fn one_line(message: &str) -> String {
    message.replace('\n', "; ").chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The place of a spot in the sources that its tree was read from.
pub(crate) fn place_of(sources: &[Arc<Source>], spot: Spot) -> Option<Place> {
    sources.get(spot.source).map(|source| Place::new(source, spot.range()))
}
