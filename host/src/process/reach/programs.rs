//! What a program is installed in, and what executes it.
//!
//! Nothing that lies in a folder that the plugin can write is believed: no link, no first line, no `pyvenv.cfg`.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::paths::Writable;
use super::{Asked, scripts};
use crate::process::find;

/// Files that are followed for one program. A script, its interpreter, and what that is a link to are four.
const FOLLOWED: usize = 32;
/// Bytes of a script that are looked at. The kernel looks at 256.
const HEAD: u64 = 1024;
/// Folders beside `bin` that belong to the same installation, where that is not one folder of its own.
const BESIDE: [&str; 4] = ["lib", "lib64", "libexec", "pyvenv.cfg"];

/// What a file is to the plugin.
#[derive(Clone, Copy)]
enum Role {
    Program,
    Script,
}

/// Where the program is installed, and all that it is executed by.
pub(super) fn installation(
    asked: &Asked<'_>,
    writable: &Writable,
    notes: &mut Vec<String>,
) -> BTreeSet<PathBuf> {
    let mut places = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut next = VecDeque::from([(asked.own.program.to_owned(), Role::Program)]);
    next.extend(scripts::of(asked).into_iter().map(|script| (script, Role::Script)));
    while let Some((file, role)) = next.pop_front().filter(|_| seen.len() < FOLLOWED) {
        // The links on the way to a file lead elsewhere: only its own name counts.
        let Some((folder, name)) = file.parent().zip(file.file_name()) else { continue };
        let Some(folder) = writable.trusted(folder) else {
            notes.extend(folder.exists().then(|| untrusted(&file)));
            continue;
        };
        let file = folder.join(name);
        if !seen.insert(file.clone()) {
            continue;
        }
        if writable.holds(&file) {
            notes.push(untrusted(&file));
            continue;
        }
        let around = match role {
            Role::Program => place(&file, asked),
            Role::Script => scripts::place(&file, asked),
        };
        places.extend(around.iter().filter_map(|place| writable.trusted(place)));
        if let Ok(target) = fs::read_link(&file) {
            next.push_back((folder.join(target), role));
        } else {
            next.extend(interpreters(&file, asked).into_iter().map(|program| (program, Role::Program)));
        }
        next.extend(base_of_environment(&folder, writable).map(|python| (python, Role::Program)));
    }
    places
}

fn untrusted(file: &Path) -> String {
    format!(
        "sandbox.fs: {} lies in a folder that the plugin can write, so what it is a link to and what its first line names \
         get no rule; name them in sandbox.fs.read if they lie elsewhere",
        file.display()
    )
}

/// The folder of all packages that a package of npm lies in.
pub(super) fn outermost_modules(file: &Path) -> Option<PathBuf> {
    let modules = file.ancestors().filter(|path| path.file_name().is_some_and(|name| name == "node_modules"));
    modules.last().map(Path::to_owned)
}

/// What a file of an installation needs around it.
fn place(file: &Path, asked: &Asked<'_>) -> Vec<PathBuf> {
    if let Some(outermost) = outermost_modules(file) {
        return vec![outermost];
    }
    let folder = file.parent().unwrap_or(file);
    let is_bin = folder.file_name().is_some_and(|name| name == "bin" || name == "sbin" || name == "shims");
    match folder.parent().filter(|_| is_bin) {
        Some(root) if !is_wide(root, asked) => vec![root.to_owned()],
        // Not in a home itself, where other things than programs have these names.
        Some(root) if !home(asked).is_some_and(|home| home.starts_with(root)) => {
            BESIDE.iter().map(|name| root.join(name)).chain([folder.to_owned()]).collect()
        }
        Some(_) | None => vec![file.to_owned()],
    }
}

/// Whether a folder holds more than an installation: a folder at the root, a home, `~/.local`, what holds the host's state, or
/// other plugins' manifests.
pub(super) fn is_wide(folder: &Path, asked: &Asked<'_>) -> bool {
    let real = folder.canonicalize();
    let folder = real.as_deref().unwrap_or(folder);
    let data = asked.own.data_dir.canonicalize();
    let data = data.as_deref().unwrap_or(asked.own.data_dir);
    folder.components().filter(|part| matches!(part, Component::Normal(_))).count() < 2
        || folder.file_name().is_some_and(|name| name == ".local")
        || home(asked).is_some_and(|home| home.starts_with(folder))
        || (data != folder && data.starts_with(folder))
        || manifests(asked).is_some_and(|all| all.starts_with(folder))
}

/// The folder that other plugins' manifests lie in too.
fn manifests(asked: &Asked<'_>) -> Option<PathBuf> {
    let own = asked.own.plugin_dir;
    let all = if asked.bundle { own.parent()? } else { own };
    Some(all.canonicalize().unwrap_or_else(|_| all.to_owned()))
}

pub(super) fn home(asked: &Asked<'_>) -> Option<PathBuf> {
    let home = variable(asked, "HOME").filter(|home| home.starts_with('/'))?;
    Some(Path::new(home).canonicalize().unwrap_or_else(|_| home.into()))
}

fn variable<'a>(asked: &Asked<'a>, name: &str) -> Option<&'a str> {
    asked.env.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

/// What the first line of a script names, and what that looks up on the plugin's `PATH`.
fn interpreters(script: &Path, asked: &Asked<'_>) -> Vec<PathBuf> {
    let mut head = Vec::new();
    let read = File::open(script).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    let Some(head) = read.ok().and_then(|_| head.strip_prefix(b"#!")) else { return Vec::new() };
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split_whitespace();
    let Some(interpreter) = words.next().map(PathBuf::from) else { return Vec::new() };
    let mut all = Vec::new();
    if interpreter.file_name().is_some_and(|name| name == "env") {
        let name = words.find(|word| !word.starts_with('-') && !word.contains('='));
        let path = variable(asked, "PATH").unwrap_or_default();
        all.extend(name.and_then(|name| find::program(name, asked.own.cwd, path).ok()));
    }
    // How installers of Python write a path that the first line cannot hold.
    if let Some(line) = lines.next().and_then(|line| line.strip_prefix("'''exec' ")) {
        let path = match line.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next(),
            None => line.split_whitespace().next(),
        };
        all.extend(path.map(PathBuf::from));
    }
    all.push(interpreter);
    all
}

/// The Python that an environment was made from, as a file in its folder of programs.
fn base_of_environment(bin: &Path, writable: &Writable) -> Option<PathBuf> {
    let config =
        writable.trusted(&bin.parent()?.join("pyvenv.cfg")).filter(|config| !writable.holds(config))?;
    let mut text = String::new();
    File::open(config).ok()?.take(64 * HEAD).read_to_string(&mut text).ok()?;
    let home = text.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == "home");
    home.map(|(_, home)| Path::new(home.trim()).join("python3"))
}
