//! A process tree that cannot outlive us, and that does to the machine only what it may.
//!
//! Between the host and every plugin stands a *shim*: this same executable, started again with one word, single-threaded,
//! a few MiB. The host holds one end of a socket and the shim the other, so the end of the host, whatever its kind, is an
//! end of file at the shim, and the shim then kills what it has started. How sure that is has five levels ([`Level`]); the
//! surest that works here is found out by trying, once per run ([`Machine`]):
//!
//! | level | host killed | shim killed | both killed together |
//! |---|---|---|---|
//! | PID namespace, as root or in a user namespace | nothing is left | nothing is left | nothing is left |
//! | control group | nothing is left | nothing is left: the host kills the group | the next host finds it |
//! | sub-reaper | nothing is left | the host finds it, but for what hid in the last second | the next host finds it by the ledger |
//! | process group | what left its tree stays until the next host | likewise | likewise |
//!
//! In a PID namespace the shim is the first process, and the kernel kills all others with it. Elsewhere the shim is a
//! sub-reaper: whatever daemonises, double-forks or leaves its session becomes its child, and it kills children until there
//! are none; should it be killed itself, the kernel kills the plugin's main process (`PR_SET_PDEATHSIG`), the rest become
//! children of the host (a sub-reaper too), and the host finds them by the mark in their environment, by their session, or
//! because it has seen them below the shim, where it looks each second (`sweep`). Without a control group it does not find a
//! process that has left its session and wiped its environment, if both that and the shim's death were within a second.
//! The next host finds them by the ledger (`ledger`), which names the mark and the first processes of each launch:
//! outside of a namespace, a process that has wiped its environment and whose parents are dead is not found by it.
//!
//! `PR_SET_PDEATHSIG` is set by the shim only: it tells the end of the *thread* that made the process, and a runtime's
//! threads come and go.
//!
//! The host never runs code between fork and exec: it has threads, the shim has none. All that must happen there happens
//! in the shim, as a plan says that was decided before (`plan`): pure, from what the manifest wants and the machine allows.
//! This folder is the only place that knows pids; it knows nothing of MCP. Beside the processes stands here what concerns the
//! program's own memory: where it comes from (`allocator`), how much it is (`memory`), and what is given back (`trim`).

pub mod allocator;
mod bounds;
mod cgroup;
mod dial;
mod draft;
pub mod env;
pub(crate) mod exe;
pub mod find;
mod handle;
mod keeper;
mod ledger;
mod level;
pub mod logs;
mod machine;
pub(crate) mod memory;
pub(crate) mod peer;
mod plan;
pub mod ports;
mod probe;

mod proc;
mod reach;
mod shim;
mod spawn;
mod sweep;
pub(crate) mod trim;
pub(crate) mod usage;
mod wire;

pub use exe::NotInitialised;
pub use handle::ProcessHandle;
pub use level::Level;
pub use machine::{Leftovers, Machine, MachineView};
pub use plan::InForce;
pub use spawn::{Folders, Launch, Process, SpawnError, Unkillable, spawn};
pub use wire::Stage;

/// The first line of `main` of every program that embeds a host: in a shim it never returns.
///
/// In the host it makes the process a child sub-reaper (processes orphaned below it become its children) and opens its own
/// executable, so that an upgrade on disk never pairs a new shim with a running host.
pub fn init() {
    exe::hear_of_children();
    match std::env::args_os().nth(1) {
        Some(word) if word == wire::SHIM_WORD => shim::run(),
        Some(word) if word == wire::PROBE_WORD => shim::probe(),
        Some(_) | None => {}
    }
    // If it fails, starting a host says so: nothing is lost by going on here.
    exe::remember(std::path::Path::new("/proc/self/exe")).ok();
}

/// For a program that cannot call [`init`]: names a wharf executable that serves as the shim. The first call holds.
///
/// # Errors
/// If the file cannot be opened, or the process cannot become a sub-reaper.
pub fn use_executable(path: &std::path::Path) -> std::io::Result<()> {
    exe::remember(path)
}

/// Whether processes can be started.
///
/// # Errors
/// If neither [`init`] nor [`use_executable`] was called.
pub fn shim_available() -> Result<(), NotInitialised> {
    exe::path().map(drop)
}

/// The scripts that a program is started with, if it is an interpreter. To be called off the runtime.
pub(crate) fn scripts(
    program: &std::path::Path,
    args: &[String],
    cwd: &std::path::Path,
) -> Vec<std::path::PathBuf> {
    reach::scripts::named(program, args, cwd)
}

/// Makes a folder that nobody else can read; one that exists is made private.
///
/// # Errors
/// If it cannot be made, or is not ours to change.
pub(crate) fn private_dir(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}
