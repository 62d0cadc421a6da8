//! `wharf native LIB`: the worker that serves a native library on stdin and stdout.
//!
//! It is a process of its own, so a library that crashes takes only its worker along, and the supervisor sees an
//! ordinary plugin that died. Errors that only other configuration heals end it with code 78: the supervisor then does
//! not try again.
//!
//! What is not here: what a message means, the supervisor, tokio.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::value::RawValue;
use wharf_plugin_api::pipe::{self, Sink};

mod library;

use library::{LoadError, Loaded};

/// `EX_CONFIG` of sysexits.h: the configuration is wrong.
const EX_CONFIG: u8 = 78;

/// Why a worker ends before its input does.
#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the streams of this process are not usable: {0}")]
    Streams(#[source] nix::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves `library` until the end of stdin.
#[must_use]
pub fn run(library: &Path) -> ExitCode {
    match serve(library) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let name = library.file_name().unwrap_or(OsStr::new("?")).display();
            note(&format!("{name}: {error}"));
            ExitCode::from(if matches!(error, WorkerError::Load(_)) { EX_CONFIG } else { 1 })
        }
    }
}

fn serve(path: &Path) -> Result<(), WorkerError> {
    let (input, output) = streams().map_err(WorkerError::Streams)?;
    let library = Loaded::load(path)?;
    pipe::pump(input, output, |sink| {
        let sink: Sink = Arc::new(move |message: &[u8]| forward(message, &sink));
        library.open(sink).map_err(io::Error::other)
    })?;
    Ok(())
}

/// Takes stdin and stdout away from the library: what it prints goes to the log instead of between the messages, and it
/// finds nothing to read.
fn streams() -> nix::Result<(File, File)> {
    let (input, output) = (nix::unistd::dup(io::stdin())?, nix::unistd::dup(io::stdout())?);
    nix::unistd::dup2_stdout(io::stderr())?;
    let nothing = File::open("/dev/null")
        .map_err(|error| error.raw_os_error().map_or(nix::Error::EIO, nix::Error::from_raw))?;
    nix::unistd::dup2_stdin(nothing)?;
    Ok((input.into(), output.into()))
}

/// Lets a message of the library out, if it is one. The outbox makes it a single line.
fn forward(message: &[u8], sink: &Sink) {
    match serde_json::from_slice::<&RawValue>(message) {
        Ok(_) => sink(message),
        Err(error) => {
            note(&format!("a message of {} bytes is dropped, since it is not JSON: {error}", message.len()))
        }
    }
}

fn note(text: &str) {
    // Without stderr there is nobody to tell.
    writeln!(io::stderr(), "{text}").ok();
}

#[cfg(test)]
mod tests;
