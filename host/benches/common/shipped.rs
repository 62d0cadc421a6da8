//! The executable that is measured: the one that is shipped. What cargo builds beside a benchmark is another one: it has
//! features that only tests ask for, and the profile of running calls (`.cargo/rustc`) does not fit it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BUILT, Outcome, machine};

const EXE: &str = "WHARF_BENCH_EXE";

/// What `WHARF_BENCH_EXE` names, or what [`build`] built.
pub(crate) fn wharf() -> PathBuf {
    std::env::var_os(EXE).map_or_else(|| BUILT.into(), PathBuf::from)
}

/// Builds it where it is built for use, in the place of the one that stands beside the benchmark; unless another is named.
pub(crate) fn build() -> Outcome<()> {
    if std::env::var_os(EXE).is_some() {
        return Ok(());
    }
    let target = Path::new(BUILT).parent().and_then(Path::parent).ok_or("no target folder")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--locked", "-p", "wharf", "--bin", "wharf", "--target-dir"]);
    build.arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo tells a benchmark of its package; some build scripts would run again for it, and all behind them.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&name);
        }
    }
    if build.status()?.success() { Ok(()) } else { Err("the host that is shipped cannot be built".into()) }
}

/// How it is compiled, as far as that can be told from outside.
pub(crate) fn profile() -> String {
    let made_for = include_str!("../../../.cargo/calls.made-for").lines().next().unwrap_or_default();
    if let Some(name) = [EXE, "RUSTC_WRAPPER"].into_iter().find(|name| std::env::var_os(name).is_some()) {
        format!("in a way of its own: {name} is set")
    } else if machine::rustc() == made_for {
        "with the profile of running calls".to_owned()
    } else {
        format!("without the profile of running calls, which is made for {made_for}")
    }
}
