//! Logs of the host itself, and how time is written. Plugins' logs are `process::logs`.

mod setup;

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
