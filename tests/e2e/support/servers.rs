//! Real MCP servers from npm and PyPI, installed once per set of pins into `tests/.deps`.
//!
//! A set is built under a file lock in the folder where it stays (a Python environment cannot be moved), and counts as
//! there only once its last file, `.complete`, is written; a half-built one is removed and built again.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A set of installed servers.
#[derive(Debug)]
pub(crate) struct Servers(PathBuf);

impl Servers {
    /// `@modelcontextprotocol/server-*` of npm.
    pub(crate) fn node() -> Self {
        Self::npm("node", "")
    }

    /// `mcp-server-time` and `mcp-server-git` of PyPI.
    pub(crate) fn python() -> Self {
        Self::venv("python", "requirements-servers.txt")
    }

    /// `mcp-server-sqlite` of PyPI beside an `mcp` that it cannot work with: it crashes at import.
    pub(crate) fn broken() -> Self {
        Self::venv("broken", "requirements-broken.txt")
    }

    /// An executable of the set.
    pub(crate) fn bin(&self, name: &str) -> PathBuf {
        let found = ["node_modules/.bin", "bin"].map(|folder| self.0.join(folder).join(name));
        found.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("{:?} has no {name}", self.0))
    }

    /// What the npm pins in this folder of `tests/deps` name.
    pub(crate) fn npm(name: &str, folder: &str) -> Self {
        let pins = ["package.json", "package-lock.json", ".npmrc"];
        let paths = pins.map(|pin| format!("{folder}{pin}"));
        Self(installed(name, &paths.each_ref().map(String::as_str), |home, deps| {
            require("npm", "Node.js 20 or newer with npm", &["--version"]);
            for (pin, path) in pins.iter().zip(&paths) {
                fs::copy(deps.join(path), home.join(pin)).expect("the pins can be copied");
            }
            run(Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(home));
        }))
    }

    /// A Python environment with the pins of this file of `tests/deps`.
    pub(crate) fn venv(name: &str, pins: &str) -> Self {
        Self(installed(name, &[pins], |home, deps| {
            require("python3", "Python 3.11 or newer with venv", &["-c", "import venv, ensurepip"]);
            run(Command::new("python3").args(["-m", "venv"]).arg(home));
            let pip = ["-m", "pip", "install", "--no-deps", "--disable-pip-version-check", "-q", "-r"];
            run(Command::new(home.join("bin/python3")).args(pip).arg(deps.join(pins)));
        }))
    }
}

/// The folder of an example, with what its npm pins name installed in it, as its README has people do.
#[allow(dead_code, reason = "only the tests of the examples use it")]
pub(crate) fn npm_example(name: &str) -> PathBuf {
    let tests =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").canonicalize().expect("the tests' folder");
    let (folder, root) = (tests.join("../examples").join(name), tests.join(".deps"));
    fs::create_dir_all(&root).expect("tests/.deps can be made");
    let lock = File::create(root.join(format!("example-{name}.lock"))).expect("a lock file");
    lock.lock().expect("the lock file can be locked");
    let pins = fingerprint(&folder, &["package.json", "package-lock.json", ".npmrc"]);
    let complete = folder.join(format!("node_modules/.complete-{pins:016x}"));
    if !complete.exists() {
        require("npm", "Node.js 20 or newer with npm", &["--version"]);
        let ci = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        run(Command::new("npm").args(ci).current_dir(&folder));
        fs::write(complete, "").expect("the folder is writable");
    }
    folder
}

/// The folder of a set, built if it is not there.
fn installed(name: &str, pins: &[&str], build: impl FnOnce(&Path, &Path)) -> PathBuf {
    let tests =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").canonicalize().expect("the tests' folder");
    let (deps, root) = (tests.join("deps"), tests.join(".deps"));
    fs::create_dir_all(&root).expect("tests/.deps can be made");
    let lock = File::create(root.join(format!("{name}.lock"))).expect("a lock file");
    lock.lock().expect("the lock file can be locked");
    let home = root.join(format!("{name}-{:016x}", fingerprint(&deps, pins)));
    if !home.join(".complete").exists() {
        fs::remove_dir_all(&home).ok();
        fs::create_dir(&home).expect("a fresh folder");
        build(&home, &deps);
        fs::write(home.join(".complete"), "").expect("the folder is writable");
    }
    home
}

/// FNV-1a over the pin files: the same text gives the same folder, whatever compiler built the tests.
fn fingerprint(deps: &Path, pins: &[&str]) -> u64 {
    let bytes = pins.iter().flat_map(|pin| fs::read(deps.join(pin)).expect("the pins are in the repository"));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn require(program: &str, what: &str, probe: &[&str]) {
    let there = Command::new(program).args(probe).stdin(Stdio::null()).output();
    let works = there.is_ok_and(|output| output.status.success());
    assert!(
        works,
        "the end-to-end tests run real servers and need {what}; `{program}` is missing or does not work"
    );
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("its presence was just checked");
    let line: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    assert!(
        output.status.success(),
        "installing real servers failed (a package registry must be reachable): {}\n{}{}",
        line.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
