//! `wharf mock` and `wharf native`: the processes that a host launches from its own executable.

use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct NativeArgs {
    /// The library
    library: PathBuf,
}

/// One thread is enough for a server that is spawned by the dozen.
pub(super) fn mock(args: crate::mock::Args) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(crate::mock::run(args)),
        Err(error) => {
            super::out::note(&format!("no runtime: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Without a runtime: the library brings the threads it wants.
pub(super) fn native(args: &NativeArgs) -> ExitCode {
    crate::native::run(&args.library)
}
