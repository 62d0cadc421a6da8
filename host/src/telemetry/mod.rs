//! Logs of the host itself, and how time is written. Plugins' logs are `process::logs`.

pub(crate) mod exposition;
pub(crate) mod families;
mod setup;

pub use exposition::Exposition;
pub use setup::{Guard, LogFormat, SetupError, init};

use std::time::SystemTime;

use serde::Serializer;

/// Writes a time as RFC 3339 in UTC with milliseconds.
///
/// # Errors
/// Those of the serializer.
pub fn rfc3339<S: Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&humantime::format_rfc3339_millis(*at))
}

/// Writes a path as text. One that is no UTF-8 is shown as well as it can be: an odd name must not cost an answer.
///
/// # Errors
/// Those of the serializer.
pub fn path<S: Serializer>(path: &std::path::Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

/// Likewise, `null` for none.
///
/// # Errors
/// Those of the serializer.
pub fn path_opt<S: Serializer>(path: &Option<std::path::PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(given) => self::path(given, to),
        None => to.serialize_none(),
    }
}

/// Likewise, `null` for none.
///
/// # Errors
/// Those of the serializer.
pub fn rfc3339_opt<S: Serializer>(at: &Option<SystemTime>, to: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => rfc3339(at, to),
        None => to.serialize_none(),
    }
}

/// What a plugin says may reach a terminal: control characters are shown, not sent, but for those in `kept`.
pub(crate) fn harmless(text: &str, kept: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !kept.contains(&c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn a_terminal_is_never_steered() {
        let text = "a\u{1b}[2Jb\tc\nd\r\u{9b}";
        assert_eq!(harmless(text, &['\n', '\t']), "a\\u{1b}[2Jb\tc\nd\\r\\u{9b}");
        assert_eq!(harmless("a\nb", &[]), "a\\nb");
    }
}
