//! The `wharf` program.

use std::process::ExitCode;

/// Chosen by measurement: a call makes many small pieces, and the system's allocator cost a fifth of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: in a shim it never returns.
    wharf::init();
    wharf::cli::main()
}
