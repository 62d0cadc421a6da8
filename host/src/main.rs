//! The `wharf` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: in a shim it never returns.
    wharf::init();
    wharf::cli::main()
}
