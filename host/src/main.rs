//! The `wharf` program.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: wharf::process::allocator::Allocator = wharf::process::allocator::Allocator;

fn main() -> ExitCode {
    // First of all: in a shim it never returns.
    wharf::init();
    wharf::cli::main()
}
