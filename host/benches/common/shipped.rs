//! The executable that is measured: the one that is shipped. What cargo builds beside a benchmark is another one: it has
//! features that only tests ask for, and the profile of running calls (`.cargo/rustc`) does not fit it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BUILT, Outcome, machine};

const EXE: &str = "WHARF_BENCH_EXE";

/// What `WHARF_BENCH_EXE` names, or what [`build`] builds.
pub(crate) fn wharf() -> PathBuf {
    std::env::var_os(EXE).map_or_else(|| target().join("release/wharf"), PathBuf::from)
}

/// Where cargo built the benchmark.
pub(crate) fn target() -> &'static Path {
    Path::new(BUILT).parent().and_then(Path::parent).unwrap_or_else(|| Path::new("target"))
}

/// Builds it where it is built for use, which may be in the place of the one beside the benchmark; unless another is named.
pub(crate) fn build() -> Outcome<()> {
    if std::env::var_os(EXE).is_some() {
        return Ok(());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--locked", "-p", "wharf", "--bin", "wharf", "--target-dir"]);
    build.arg(target()).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("CARGO_BUILD_TARGET");
    // What cargo tells a benchmark of its package; some build scripts would run again for it, and all behind them.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&name);
        }
    }
    if build.status()?.success() { Ok(()) } else { Err("the host that is shipped cannot be built".into()) }
}

/// How it is compiled: whether rustc was given the profile, as the list of its sources tells, and is the one it fits.
pub(crate) fn profile() -> String {
    let made_for = include_str!("../../../.cargo/calls.made-for").lines().next().unwrap_or_default();
    let sources = std::fs::read_to_string(wharf().with_extension("d")).unwrap_or_default();
    if std::env::var_os(EXE).is_some() {
        format!("in a way of its own: {EXE} is set")
    } else if !sources.contains("calls.profdata") {
        "without the profile of running calls".to_owned()
    } else if machine::rustc() == made_for {
        "with the profile of running calls".to_owned()
    } else {
        format!("as if without the profile of running calls, which is made for {made_for}")
    }
}
