//! What a host is started with, and why it is not.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use wharf_core::PluginId;
use wharf_core::id::BadPluginId;

use crate::process::Level;

/// What a host is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of manifests. `None`: all plugins are those that the program registers.
    pub plugins: Option<PathBuf>,
    /// The folder for what must survive a restart: token, logs, operators' switches.
    pub state: PathBuf,
    /// No surer containment of processes than this is used, though the machine may allow it.
    pub containment: Option<Level>,
    /// Calls of all plugins together that may be in flight; one more is refused at once.
    pub max_calls: usize,
}

/// For how long the lock of a host that was killed may be held: a process that it was about to start shares its open files
/// until it is another program.
const LINGERS: Duration = Duration::from_millis(500);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(10);

/// Unless it is told: as many as there may be legacy sessions, each of which may have a call that waits for its client. What
/// is more than a plugin can do is bounded at the plugin.
pub(crate) const MAX_CALLS: usize = 10_240;

impl Options {
    /// A host on these folders, with defaults for all else.
    #[must_use]
    pub fn new(plugins: impl Into<PathBuf>, state: impl Into<PathBuf>) -> Self {
        Self { plugins: Some(plugins.into()), ..Self::without_folder(state) }
    }

    /// A host whose plugins are those that the program registers.
    pub(super) fn without_folder(state: impl Into<PathBuf>) -> Self {
        Self { plugins: None, state: state.into(), containment: None, max_calls: MAX_CALLS }
    }
}

/// Why a plugin of the embedding program was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The id is in use.
    #[error("there is a plugin {0:?} already; register it under another id")]
    Taken(PluginId),
    /// The name is no id.
    #[error(transparent)]
    Id(#[from] BadPluginId),
    /// The manifest is wrong; all its problems, as a terminal shows them.
    #[error("the manifest cannot be used:\n{0}")]
    Manifest(String),
    /// Nobody is there to run it.
    #[error("the host has ended")]
    Ended,
}

/// Why a host could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder or file of the host itself is not usable.
    #[error("{path}: {error}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// Another host uses the state folder.
    #[error("another wharf uses {0}; stop it, or choose another folder with --state")]
    InUse(PathBuf),
    /// The program cannot start plugins.
    #[error(transparent)]
    NotInitialised(#[from] crate::process::NotInitialised),
    /// A plugin of the program was not taken.
    #[error(transparent)]
    Register(#[from] RegisterError),
}

/// Makes the state folder ours, readable by nobody else. Blocks.
pub(super) fn own(state: &Path) -> Result<File, StartError> {
    let until = Instant::now() + LINGERS;
    take(state, || {
        sleep(LOOK);
        Instant::now() < until
    })
}

/// The same; whether one that is in use is looked at again is asked each time.
fn take(state: &Path, mut again: impl FnMut() -> bool) -> Result<File, StartError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| StartError::Io { path, error }
    };
    crate::process::private_dir(state).map_err(io(state))?;
    let path = state.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io(&path))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if again() => {}
            Err(TryLockError::WouldBlock) => return Err(StartError::InUse(state.to_owned())),
            Err(TryLockError::Error(error)) => return Err(io(&path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{StartError, take};

    #[test]
    fn what_is_about_to_let_go_is_waited_for_and_what_stays_in_use_is_told() {
        let state = tempfile::tempdir().unwrap();
        let mut dying = Some(take(state.path(), || false).unwrap());
        let ours = take(state.path(), || dying.take().is_some()).unwrap();
        let mut looks = 0;
        let refused = take(state.path(), || {
            looks += 1;
            looks < 3
        });
        assert!(matches!(refused, Err(StartError::InUse(_))), "{refused:?}");
        assert_eq!(looks, 3);
        drop(ours);
    }
}
