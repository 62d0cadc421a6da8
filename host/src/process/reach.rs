//! Which files a program needs to run, wherever it is installed: looked up before it is launched with `sandbox.fs`.
//!
//! A program is followed through its links, to the interpreter of its first line, and to the base of its Python environment.
//! Each of these brings the folder that it is installed in, never a whole home or a folder that holds the host's state.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use wharf_core::manifest::Fs;
use wharf_plugin_api::{Cause, CauseKind};

use super::plan::{Own, Reach};
use super::{env, find, private_dir};

/// Files that are followed for one program. A script, its interpreter, and what that is a link to are four.
const FOLLOWED: usize = 32;
/// Bytes of a script that are looked at. The kernel looks at 256.
const HEAD: u64 = 1024;
/// Folders beside `bin` that belong to the same installation, where that is not one folder of its own.
const BESIDE: [&str; 4] = ["lib", "lib64", "libexec", "pyvenv.cfg"];

/// What is looked up.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) own: Own<'a>,
    pub(super) env: &'a [(String, String)],
    pub(super) fs: &'a Fs,
    /// Nothing of an earlier launch of it is left.
    pub(super) instance: u32,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) reach: Reach,
    /// What was left out, for people.
    pub(super) notes: Vec<String>,
}

/// Looks at the machine, and makes the folder for temporary files.
///
/// # Errors
/// If a folder that it shall write to does not exist, or a path cannot be told to the shim.
pub(super) fn find(asked: &Asked<'_>) -> Result<Found, Cause> {
    let own = asked.own;
    let tmp = env::private_tmp(own.data_dir, asked.instance);
    fresh(own.data_dir, &tmp).map_err(|error| {
        let detail = format!("its folder for temporary files {} cannot be made: {error}", tmp.display());
        Cause::new(CauseKind::MissingFile, detail)
    })?;
    let mut notes = Vec::new();
    let mut read = installation(asked);
    for (what, folder) in [("the folder of its manifest", own.plugin_dir), ("its working directory", own.cwd)]
    {
        if is_wide(folder, asked) {
            let folder = folder.display();
            notes.push(format!(
                "sandbox.fs: {what}, {folder}, is not readable as a whole: it holds a home or what belongs to wharf; \
                 name what the plugin needs in sandbox.fs.read"
            ));
        } else {
            read.insert(folder.to_owned());
        }
    }
    for path in &asked.fs.read {
        if path.exists() {
            read.insert(path.clone());
        } else {
            notes.push(format!("sandbox.fs.read: there is no {}, so it gets no rule", path.display()));
        }
    }
    let mut write = BTreeSet::from([own.data_dir.to_owned()]);
    for path in &asked.fs.write {
        if !path.exists() {
            let detail = format!(
                "there is no {}, which sandbox.fs.write names: make it, or name the folder that it is to be made in",
                path.display()
            );
            return Err(Cause::new(CauseKind::MissingFile, detail));
        }
        write.insert(path.clone());
    }
    Ok(Found { reach: Reach { read: texts(read)?, write: texts(write)? }, notes })
}

/// Makes a folder anew. The plugin could put anything in its place while it ran, so no link is followed.
fn fresh(data_dir: &Path, tmp: &Path) -> io::Result<()> {
    private_dir(data_dir)?;
    let removed = match fs::remove_dir_all(tmp) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(tmp),
        removed => removed,
    };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    fs::DirBuilder::new().mode(0o700).create(tmp)
}

fn texts(paths: BTreeSet<PathBuf>) -> Result<Vec<String>, Cause> {
    let text = |path: PathBuf| {
        path.into_os_string().into_string().map_err(|path| {
            let detail = format!("the path {} is not UTF-8, and sandbox.fs cannot name it", path.display());
            Cause::new(CauseKind::SandboxUnavailable, detail)
        })
    };
    paths.into_iter().map(text).collect()
}

/// Where the program is installed, and all that it is executed by.
fn installation(asked: &Asked<'_>) -> BTreeSet<PathBuf> {
    let mut places = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut next = VecDeque::from([asked.own.program.to_owned()]);
    while let Some(file) = next.pop_front().filter(|_| seen.len() < FOLLOWED) {
        // The links on the way to a file lead elsewhere: only its own name counts.
        let Some((folder, name)) = file.parent().zip(file.file_name()) else { continue };
        let Ok(folder) = folder.canonicalize() else { continue };
        let file = folder.join(name);
        if !seen.insert(file.clone()) {
            continue;
        }
        places.extend(place(&file, asked));
        if let Ok(target) = fs::read_link(&file) {
            next.push_back(folder.join(target));
        } else {
            next.extend(interpreters(&file, asked));
        }
        next.extend(base_of_environment(&folder));
    }
    places
}

/// What a file of an installation needs around it.
fn place(file: &Path, asked: &Asked<'_>) -> Vec<PathBuf> {
    let modules = file.ancestors().filter(|path| path.file_name().is_some_and(|name| name == "node_modules"));
    if let Some(outermost) = modules.last() {
        return vec![outermost.to_owned()];
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

/// Whether a folder holds more than an installation: a folder at the root, a home, `~/.local`, or what holds the host's state.
fn is_wide(folder: &Path, asked: &Asked<'_>) -> bool {
    let real = folder.canonicalize();
    let folder = real.as_deref().unwrap_or(folder);
    let data = asked.own.data_dir.canonicalize();
    let data = data.as_deref().unwrap_or(asked.own.data_dir);
    folder.components().filter(|part| matches!(part, Component::Normal(_))).count() < 2
        || folder.file_name().is_some_and(|name| name == ".local")
        || home(asked).is_some_and(|home| home.starts_with(folder))
        || (data != folder && data.starts_with(folder))
}

fn home(asked: &Asked<'_>) -> Option<PathBuf> {
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
fn base_of_environment(bin: &Path) -> Option<PathBuf> {
    let mut text = String::new();
    let file = File::open(bin.parent()?.join("pyvenv.cfg")).ok()?;
    file.take(64 * HEAD).read_to_string(&mut text).ok()?;
    let home = text.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == "home");
    home.map(|(_, home)| Path::new(home.trim()).join("python3"))
}

#[cfg(test)]
mod tests;
