//! What can go wrong on the way to a plugin's first instruction, and what a user is told of it.

use std::ffi::NulError;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use wharf_plugin_api::{Cause, CauseKind};

use crate::process::exe::NotInitialised;
use crate::process::wire::Stage;

/// Why a process was not started. Nothing of it is left, but for what hangs in the kernel; that is ended as soon as it can be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// Nothing can serve as the shim.
    #[error(transparent)]
    NotInitialised(#[from] NotInitialised),
    /// The manifest demands what this machine does not give.
    #[error("{0}")]
    Refused(Cause),
    /// A text that the kernel cannot take.
    #[error("an argument, a path or a variable holds a NUL character")]
    Nul(#[from] NulError),
    /// More than the kernel would take.
    #[error("the arguments and the environment together exceed 2 MiB")]
    TooLarge,
    /// The machine refuses what the host needs for it.
    #[error("the host could not {0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// The shim has ended without a word, or says nothing.
    #[error("the host's own helper process {0}")]
    Shim(&'static str),
    /// The program was not executed in time, though all before it went well.
    #[error(
        "entering {} or executing {} takes longer than {} s: is one of them on a file system that does not answer?",
        .cwd.display(), .program.display(), super::FIRST_REPORT.as_secs()
    )]
    Hangs {
        /// The working directory.
        cwd: PathBuf,
        /// The program.
        program: PathBuf,
    },
    /// A step failed between the shim and the plugin's first instruction.
    #[error("{stage} failed for {path}: {errno}", path = .path.display())]
    Step {
        /// Which.
        stage: Stage,
        /// The system's reason.
        errno: Errno,
        /// The working directory if entering it failed, else the program.
        path: PathBuf,
    },
}

pub(super) const HOST_ENDS: SpawnError = SpawnError::Shim("could not be started: the host is ending");

pub(super) const SILENT: SpawnError = SpawnError::Shim(
    "says nothing: does main call wharf::init() as its first line? It was also so if something has stopped the process",
);

// === impl SpawnError ===

impl From<SpawnError> for Cause {
    fn from(error: SpawnError) -> Self {
        let kind = match &error {
            SpawnError::Step { stage: Stage::Directory, .. } => CauseKind::MissingFile,
            SpawnError::Step { stage: Stage::Exec, errno, path } => return exec_cause(*errno, path),
            SpawnError::Refused(cause) => return cause.clone(),
            SpawnError::NotInitialised(_)
            | SpawnError::Nul(_)
            | SpawnError::TooLarge
            | SpawnError::System(..)
            | SpawnError::Shim(_)
            | SpawnError::Hangs { .. }
            | SpawnError::Step { .. } => CauseKind::SpawnFailed,
        };
        Self::new(kind, error.to_string())
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the system's errors are not ours to list")]
fn exec_cause(errno: Errno, path: &std::path::Path) -> Cause {
    let shown = path.display();
    match errno {
        Errno::ENOENT if path.exists() => Cause::new(
            CauseKind::NotExecutable,
            format!(
                "{shown} exists, but the interpreter named in its first line (or its loader) does not: {errno}"
            ),
        ),
        Errno::ENOENT | Errno::ENOTDIR => {
            Cause::new(CauseKind::NotFound, format!("there is no {shown}: {errno}"))
        }
        Errno::EACCES | Errno::EPERM | Errno::EISDIR => {
            Cause::new(CauseKind::NotExecutable, format!("{shown} may not be executed: {errno}"))
        }
        Errno::ENOEXEC => Cause::new(
            CauseKind::NotExecutable,
            format!("{shown} is no program of this machine and has no #! line: {errno}"),
        ),
        _ => Cause::new(CauseKind::SpawnFailed, format!("executing {shown} failed: {errno}")),
    }
}
