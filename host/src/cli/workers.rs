//! `wharf mock` and `wharf native`: the processes that a host launches from its own executable.

use std::ffi::OsString;
use std::path::PathBuf;

use super::exit::{Complaint, Exit};

#[derive(Debug, clap::Args)]
pub(super) struct MockArgs {
    /// The mock server's own options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub(super) struct NativeArgs {
    /// The library
    library: PathBuf,
}

pub(super) fn mock(args: &MockArgs) -> Result<(), Complaint> {
    let complaint = Complaint::new(Exit::Failure, "this build has no mock server");
    Err(complaint.detail(format!("asked for with {:?}", args.options)))
}

pub(super) fn native(args: &NativeArgs) -> Result<(), Complaint> {
    let complaint = Complaint::new(Exit::Failure, "this build serves no native plugins");
    Err(complaint.detail(args.library.display().to_string()))
}
