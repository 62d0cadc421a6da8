//! Process trees as real plugins grow them, and a way to count what is left of one that does not trust the tree: every
//! process of it has the tree's own folder in its environment, as its working directory, in its arguments, or open.
//! Trees can be started at every level of containment; they know nothing of hosts being killed.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::host::Setup;
use crate::support::procs::is_gone;
use crate::support::servers::Servers;
use crate::support::{Manifest, WHARF};

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/faults/trees");

/// A tree that can be started as a plugin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    /// Also the plugin's id.
    pub(crate) id: &'static str,
    /// What it is, for people.
    pub(crate) title: &'static str,
    /// How many processes it has once it is grown.
    pub(crate) grown: usize,
    manifest: fn(&Path) -> Manifest,
}

/// `npx` of a package that is installed beside it: npm, a shell and Node.
pub(crate) const NPX: Tree =
    Tree { id: "npx", title: "`npx` → npm → sh → node", grown: 3, manifest: npx };
/// A shell that waits for a server in its background, to which it has given its own input.
pub(crate) const SHELL: Tree =
    Tree { id: "shell", title: "`sh -c 'exec 3<&0; node server.js <&3 & wait'`", grown: 2, manifest: shell };
/// A Python server under the console script of a virtual environment.
pub(crate) const VENV: Tree =
    Tree { id: "venv", title: "Python under a venv's console script", grown: 1, manifest: venv };
/// A Node server with a detached child.
pub(crate) const DETACHED: Tree =
    Tree { id: "detached", title: "Node with a detached child", grown: 2, manifest: detached };
/// A server that leaves a shell's background job behind it, in its group.
pub(crate) const BACKGROUND: Tree =
    Tree { id: "background", title: "`sh -c 'node & exec server'`", grown: 2, manifest: background };
/// A daemon that is forked twice and closes all its descriptors.
pub(crate) const DAEMON: Tree =
    Tree { id: "daemon", title: "a double-forked daemon that closes everything", grown: 2, manifest: daemon };
/// 127 processes, each in its own session, that start each other again.
pub(crate) const RESPAWNER: Tree =
    Tree { id: "respawner", title: "the 127-process re-spawner", grown: 128, manifest: respawner };

/// All of them.
pub(crate) const ALL: [Tree; 7] = [NPX, SHELL, VENV, DETACHED, BACKGROUND, DAEMON, RESPAWNER];

impl Tree {
    /// The folder that marks its processes.
    pub(crate) fn folder(&self, home: &Path) -> PathBuf {
        home.join("scratch").join(self.id)
    }

    /// Adds it to a host.
    pub(crate) fn on(&self, setup: Setup) -> Setup {
        let folder = setup.scratch(self.id);
        fs::create_dir(&folder).expect("each tree is added once");
        let manifest = (self.manifest)(&folder);
        let manifest = manifest.set("cwd", text(&folder)).set("era", "legacy").quick();
        setup.plugin(
            self.id,
            &manifest.set("health.start_timeout", "60s").set("env.WHARF_TREE", text(&folder)),
        )
    }
}

/// Kills what is left of all trees of a home when it is dropped, so that a test that fails leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Reaper(pub(crate) PathBuf);

impl Drop for Reaper {
    fn drop(&mut self) {
        for (pid, _) in ALL.iter().flat_map(|tree| living(&tree.folder(&self.0))) {
            // Gone already is as good as killed.
            kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), Signal::SIGKILL).ok();
        }
    }
}

/// The living processes of the tree whose folder this is: pid and command line.
pub(crate) fn living(folder: &Path) -> Vec<(u32, String)> {
    let mine = std::process::id();
    let pids = fs::read_dir("/proc").expect("/proc is there").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != mine && belongs(*pid, folder) && !is_gone(*pid))
        .map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            (pid, String::from_utf8_lossy(&line).replace('\0', " "))
        })
        .collect()
}

fn belongs(pid: u32, folder: &Path) -> bool {
    let of = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
    let holds = |name: &str| {
        let bytes = fs::read(of(name)).unwrap_or_default();
        let needle = folder.as_os_str().as_bytes();
        bytes.windows(needle.len()).any(|window| window == needle)
    };
    let inside = |link: PathBuf| fs::read_link(link).is_ok_and(|path| path.starts_with(folder));
    let open = || fs::read_dir(of("fd")).into_iter().flatten().flatten().any(|fd| inside(fd.path()));
    inside(of("cwd")) || holds("cmdline") || holds("environ") || open()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

fn file(name: &str) -> String {
    let path = Path::new(FILES).join(name).canonicalize().expect("the file is in the repository");
    text(&path).to_owned()
}

fn npx(folder: &Path) -> Manifest {
    let bin = folder.join("node_modules/.bin");
    fs::create_dir_all(&bin).expect("a fresh folder");
    fs::write(folder.join("package.json"), r#"{ "name": "tree", "version": "1.0.0", "private": true }"#)
        .expect("a fresh folder");
    let server = folder.join("node_modules/server.cjs");
    let code = fs::read_to_string(file("server.cjs")).expect("it is in the repository");
    fs::write(&server, format!("#!/usr/bin/env node\n{code}")).expect("a fresh folder");
    fs::set_permissions(&server, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it is ours");
    symlink(&server, bin.join("tree-server")).expect("a fresh folder");
    let npx = Manifest::command("npx").args(["--no", "--offline", "tree-server"]).path(folder);
    npx.set("env.npm_config_update_notifier", "false")
        .set("env.npm_config_cache", text(&folder.join("cache")))
}

fn shell(folder: &Path) -> Manifest {
    let script = format!("exec 3<&0; node {} {} <&3 & wait", file("server.cjs"), folder.display());
    Manifest::command("sh").arg("-c").arg(script)
}

fn venv(_: &Path) -> Manifest {
    Manifest::command(Servers::python().bin("mcp-server-time")).args(["--local-timezone", "UTC"])
}

fn detached(folder: &Path) -> Manifest {
    Manifest::command("node").arg(file("server.cjs")).path(folder).arg("detached")
}

fn background(folder: &Path) -> Manifest {
    let script = format!("node -e 'setTimeout(() => {{}}, 600000)' {} & exec {WHARF} mock", folder.display());
    Manifest::command("sh").arg("-c").arg(script)
}

fn daemon(folder: &Path) -> Manifest {
    Manifest::command("python3").arg(file("daemon.py")).path(folder).args([WHARF, "mock"])
}

fn respawner(folder: &Path) -> Manifest {
    Manifest::command("python3").arg(file("respawner.py")).path(folder).args([WHARF, "mock"])
}
