//! The levels of log messages, and which of two is the more severe.

use std::time::Duration;

use serde_json::value::RawValue;
use wharf_core::splice;

const NAMES: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// How long a plugin may take to know which level is wanted before things go on without it.
pub(super) const UNTIL_LOUDER: Duration = Duration::from_secs(1);

/// A level of log messages; a greater one is more severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Level(u8);

impl Default for Level {
    /// `info`: what a client is told that set no level.
    fn default() -> Self {
        Self(1)
    }
}

impl Level {
    /// A level by its name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::of_severity(u8::try_from(NAMES.iter().position(|known| *known == name)?).ok()?)
    }

    /// 0 is `debug`, 7 is `emergency`.
    pub(crate) fn of_severity(severity: u8) -> Option<Self> {
        (usize::from(severity) < NAMES.len()).then_some(Self(severity))
    }

    /// 0 is `debug`, 7 is `emergency`.
    pub(crate) fn severity(self) -> u8 {
        self.0
    }

    /// Its name on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or("info")
    }

    /// Whether a log message is severe enough. One whose level is not known passes: better one too many.
    pub(crate) fn lets(self, params: Option<&RawValue>) -> bool {
        let level = params.and_then(|params| splice::field(params, "level"));
        let level = level.and_then(|level| serde_json::from_str::<String>(level.get()).ok());
        level.and_then(|name| Self::named(&name)).is_none_or(|level| level >= self)
    }
}

#[cfg(test)]
mod tests {
    use wharf_plugin_api::RawValue;

    use super::{Level, NAMES};

    #[test]
    fn levels_are_known_by_name_and_in_order() {
        for (severity, name) in (0_u8..).zip(NAMES) {
            let level = Level::named(name).unwrap();
            assert_eq!((level.severity(), level.as_str()), (severity, name));
        }
        assert!(Level::named("warning") > Level::named("notice"));
        assert_eq!((Level::named("trace"), Level::of_severity(8)), (None, None));
    }

    #[test]
    fn a_message_passes_at_its_level_and_above() {
        let warning = Level::named("warning").unwrap();
        let lets = |json: &str| warning.lets(Some(&RawValue::from_string(json.to_owned()).unwrap()));
        assert!(lets(r#"{"level":"warning"}"#) && lets(r#"{"level":"emergency"}"#));
        assert!(!lets(r#"{"level":"notice"}"#));
        assert!(lets(r#"{"level":"vendor"}"#) && lets("{}"));
    }
}
