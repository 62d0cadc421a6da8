//! Files into trees: TOML, YAML, and JSON with comments. What is too large, too deep or no text ends here.

mod json;
mod toml;
mod yaml;

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use super::problem::{Problem, Source};
use super::tree::Node;

/// The largest file that is read.
pub(crate) const MAX_BYTES: u64 = 1024 * 1024;

/// How many tables and lists may lie in one another. A manifest needs 7; the YAML reader takes 35 KiB of stack for each.
const MAX_DEPTH: usize = 32;

/// How many problems of the syntax are told: what follows the first few is mostly their consequence.
const MAX_TOLD: usize = 5;

/// The syntax of a file, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    Toml,
    Yaml,
    Json,
}

impl Syntax {
    /// The syntax that a file's extension stands for.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Why a file's bytes could not be had.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// It was there a moment ago.
    Gone,
    /// What is wrong, for people.
    Other(String),
}

/// Reads a regular file that is at most `max` bytes large. Never blocks on a pipe, never reads more than that.
pub(crate) fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, ReadError> {
    let no_wait = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let file = match std::fs::OpenOptions::new().read(true).custom_flags(no_wait).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let dangling = path.symlink_metadata().is_ok();
            return Err(if dangling {
                ReadError::Other("the link leads nowhere".to_owned())
            } else {
                ReadError::Gone
            });
        }
        Err(error) => return Err(ReadError::Other(format!("cannot be read: {error}"))),
    };
    let unreadable = |error: std::io::Error| ReadError::Other(format!("cannot be read: {error}"));
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(ReadError::Other("not a regular file".to_owned()));
    }
    let too_large = || ReadError::Other(format!("larger than {max} bytes"));
    if about.len() > max {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    // It may have grown since.
    if bytes.len() as u64 > max { Err(too_large()) } else { Ok(bytes) }
}

/// Bytes as a text that can be pointed into. A problem is about what is no text.
pub(crate) fn source(path: &Path, bytes: Vec<u8>) -> (Arc<Source>, Option<Problem>) {
    let (text, broken) = match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some(at))
        }
    };
    let source = Arc::new(Source { path: path.to_owned(), text });
    let problem = if let Some(at) = broken {
        Some(Problem::at(&source, at..at + 1, "not UTF-8").help("save the file as UTF-8"))
    } else if source.text.starts_with('\u{feff}') {
        Some(
            Problem::at(&source, 0..0, "begins with a byte order mark")
                .help("save the file as UTF-8 without BOM"),
        )
    } else if source.text.trim().is_empty() {
        Some(Problem::of_file(path, "the file is empty").help("write at least `command`, `url` or `library`"))
    } else {
        None
    };
    (source, problem)
}

/// Parses a text. `number` is the number of the source in the document that is put together.
pub(crate) fn parse(source: &Arc<Source>, syntax: Syntax, number: usize) -> Result<Node, Vec<Problem>> {
    let parsed = match syntax {
        Syntax::Toml => toml::parse(&source.text, number),
        Syntax::Yaml => yaml::parse(&source.text, number),
        Syntax::Json => json::parse(&source.text, number),
    };
    let node = parsed.map_err(|bad| {
        bad.into_iter().take(MAX_TOLD).map(|b| Problem::at(source, b.range, b.message)).collect::<Vec<_>>()
    })?;
    if node.depth() > MAX_DEPTH {
        return Err(vec![Problem::of_file(&source.path, format!("nested more than {MAX_DEPTH} deep"))]);
    }
    if node.table().is_none() {
        let message = format!("expected a table of keys, found {}", node.kind());
        return Err(vec![Problem::at(source, node.spot.range(), message)]);
    }
    Ok(node)
}

/// What a syntax has to say against a text.
#[derive(Debug)]
pub(super) struct Bad {
    range: std::ops::Range<usize>,
    message: String,
}

#[cfg(test)]
mod tests;
