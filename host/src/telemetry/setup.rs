//! Where the host's own log goes: stderr for people or collectors, and a file per day in the state folder.
//!
//! Both are written by threads of their own: a terminal that is stopped, or a full disk, must not hold up a call. What their
//! bounded queues cannot take is dropped and counted.

use std::io::{self, IsTerminal};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// Lines that may wait for each of the two writers. Their places are made at the start, 32 bytes each.
const QUEUE: usize = 4 * 1024;
/// Days of files kept.
const DAYS: usize = 14;
/// The variables that may hold the filter, the first that is set wins.
const VARIABLES: [&str; 3] = ["WHARF_LOG", "RUST_LOG", "LOG_LEVEL"];
const DEFAULT_FILTER: &str = "info";

/// How lines on stderr look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Pretty,
    /// One JSON object a line.
    Json,
}

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// No place for the files.
    #[error("the log folder {path} cannot be used: {error}; choose another state folder with --state")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A subscriber is installed already.
    #[error("the log is set up already")]
    Twice,
}

/// Writes what is left when it is dropped: `main` holds it to its end.
#[derive(Debug)]
pub struct Guard {
    _writers: [WorkerGuard; 2],
    dropped: [ErrorCounter; 2],
}

impl Guard {
    /// Lines that did not fit into the queues of stderr and of the file.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.dropped.iter().map(ErrorCounter::dropped_lines).sum()
    }
}

/// Begins to log, to stderr and to `STATE/logs/wharf.log.DATE`.
///
/// # Errors
/// If the folder is not usable or a log is set up already.
pub fn init(format: LogFormat, state: &Path) -> Result<Guard, SetupError> {
    let (stderr, stderr_guard) = writer("log-stderr", io::stderr());
    let (file, file_guard) = writer("log-file", rolling(&state.join("logs"))?);
    let dropped = [stderr.error_counter(), file.error_counter()];
    let (filter, complaint) = filter(|name| std::env::var(name).ok());
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let to_stderr = match format {
        LogFormat::Pretty => fmt::layer().with_ansi(colours).with_target(false).with_writer(stderr).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(stderr).boxed(),
    };
    let to_file = fmt::layer().json().flatten_event(true).with_writer(file);
    let subscriber = tracing_subscriber::registry().with(filter).with(to_stderr).with(to_file);
    subscriber.try_init().map_err(|_| SetupError::Twice)?;
    if let Some(complaint) = complaint {
        tracing::warn!("{complaint}");
    }
    Ok(Guard { _writers: [stderr_guard, file_guard], dropped })
}

fn writer(name: &str, to: impl io::Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().buffered_lines_limit(QUEUE).lossy(true).thread_name(name).finish(to)
}

fn rolling(folder: &Path) -> Result<RollingFileAppender, SetupError> {
    let failed = |error| SetupError::Folder { path: folder.to_owned(), error };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let builder = RollingFileAppender::builder().rotation(Rotation::DAILY).filename_prefix("wharf.log");
    builder.max_log_files(DAYS).build(folder).map_err(|error| failed(io::Error::other(error)))
}

/// The filter of the environment. A wrong one is told and replaced: a typo must not keep the host from starting.
fn filter(variable: impl Fn(&str) -> Option<String>) -> (EnvFilter, Option<String>) {
    let set = VARIABLES.into_iter().find_map(|name| {
        let value = variable(name).filter(|value| !value.trim().is_empty())?;
        Some((name, value))
    });
    let Some((name, value)) = set else { return (EnvFilter::new(DEFAULT_FILTER), None) };
    let (level, value) = (level(value.trim()), value.trim());
    let is_word = !value.contains(['=', ',', '[']);
    // A bare word would be taken for the name of a module, and silence all others.
    let read = match level {
        Some(level) => Ok(EnvFilter::new(level)),
        None if is_word => Err("it is neither a level nor TARGET=LEVEL".to_owned()),
        None => EnvFilter::try_new(value).map_err(|error| error.to_string()),
    };
    match read {
        Ok(filter) => (filter, None),
        Err(why) => {
            let complaint = format!("{name}={value:?} is no log filter ({why}); using {DEFAULT_FILTER:?}");
            (EnvFilter::new(DEFAULT_FILTER), Some(complaint))
        }
    }
}

/// The level that a single word means: ours, and those of Python's `logging`.
fn level(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "off" => "off",
        "error" | "critical" | "fatal" => "error",
        "warn" | "warning" => "warn",
        "info" => "info",
        "debug" => "debug",
        "trace" | "notset" => "trace",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{filter, rolling, writer};

    #[test]
    fn the_first_variable_that_is_set_decides() {
        let of = |set: &[(&str, &str)]| {
            let found =
                |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            let (filter, complaint) = filter(found);
            (filter.to_string(), complaint.is_some())
        };
        assert_eq!(of(&[]), ("info".into(), false));
        assert_eq!(of(&[("LOG_LEVEL", "WARNING")]), ("warn".into(), false));
        assert_eq!(of(&[("LOG_LEVEL", "debug"), ("RUST_LOG", "")]), ("debug".into(), false));
        assert_eq!(
            of(&[("LOG_LEVEL", "debug"), ("WHARF_LOG", "wharf=trace")]),
            ("wharf=trace".into(), false)
        );
        assert_eq!(of(&[("RUST_LOG", "=/=")]), ("info".into(), true));
        assert!(!of(&[("RUST_LOG", "warn,wharf=debug")]).1);
    }

    #[test]
    fn a_word_is_a_level_or_a_mistake() {
        let of = |word: &str| {
            let (filter, complaint) = filter(|name| (name == "LOG_LEVEL").then(|| word.to_owned()));
            (filter.to_string(), complaint)
        };
        for (word, level) in [
            ("CRITICAL", "error"),
            ("FATAL", "error"),
            ("ERROR", "error"),
            ("Warning", "warn"),
            (" INFO ", "info"),
            ("NOTSET", "trace"),
        ] {
            assert_eq!(of(word), (level.into(), None), "{word}");
        }
        for word in ["loud", "CRITICALLY", "20"] {
            let (filter, complaint) = of(word);
            assert_eq!(filter, "info");
            assert!(complaint.unwrap().contains(word), "{word}");
        }
    }

    #[test]
    fn the_file_holds_what_was_logged_once_the_guard_is_gone() {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("logs");
        let (mut file, guard) = writer("test", rolling(&folder).unwrap());
        file.write_all(b"one line\n").unwrap();
        drop(guard);
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        assert!(files[0].file_name().unwrap().to_str().unwrap().starts_with("wharf.log."));
        assert_eq!(std::fs::read_to_string(&files[0]).unwrap(), "one line\n");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error_with_a_remedy() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join("logs"), "").unwrap();
        let error = rolling(&state.path().join("logs")).unwrap_err();
        assert!(error.to_string().contains("--state"), "{error}");
    }
}
