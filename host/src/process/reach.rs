//! Which files a program needs to run, wherever it is installed: looked up before it is launched with `sandbox.fs`.
//!
//! A program is followed through its links, to the interpreter of its first line, and to the base of its Python environment;
//! an interpreter brings the script that it is started with. Each of these brings the folder that it is installed in, never a
//! whole home, the folder of all manifests, or one that holds the host's state.

mod git;
mod paths;
mod programs;
pub(super) mod scripts;

use std::collections::BTreeSet;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use wharf_core::manifest::Fs;
use wharf_plugin_api::{Cause, CauseKind};

use self::paths::{Walked, Writable, walk};
use self::programs::{installation, is_wide};
use super::plan::{Own, Reach};
use super::{env, private_dir};

/// What is looked up.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) own: Own<'a>,
    pub(super) args: &'a [String],
    /// The manifest's folder is the plugin's alone.
    pub(super) bundle: bool,
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
    let (writable, write) = writable(asked)?;
    let mut notes = Vec::new();
    let mut read = installation(asked, &writable, &mut notes);
    for (what, folder) in [("the folder of its manifest", own.plugin_dir), ("its working directory", own.cwd)]
    {
        // With many manifests in it, it is never readable, and nobody expects it to be.
        if !asked.bundle && folder == own.plugin_dir {
            continue;
        }
        if is_wide(folder, asked) {
            let folder = folder.display();
            notes.push(format!(
                "sandbox.fs: {what}, {folder}, is not readable as a whole: it holds a home or what belongs to wharf; \
                 name what the plugin needs in sandbox.fs.read"
            ));
        } else {
            read.extend(writable.trusted(folder));
        }
    }
    read.extend(git::settings(asked, &writable, &mut notes));
    for path in &asked.fs.read {
        match walk(path) {
            Ok(walked) => {
                refuse_planted("read", path, &walked, &writable)?;
                read.insert(walked.real);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                notes.push(format!("sandbox.fs.read: there is no {}, so it gets no rule", path.display()));
            }
            Err(error) => {
                notes.push(format!("sandbox.fs.read: {} gets no rule: {error}", path.display()));
            }
        }
    }
    Ok(Found { reach: Reach { read: texts(read)?, write: texts(write)? }, notes })
}

/// What it may write, without links: its data folder, and what the manifest names.
fn writable(asked: &Asked<'_>) -> Result<(Writable, BTreeSet<PathBuf>), Cause> {
    let mut all = Vec::new();
    for path in std::iter::once(asked.own.data_dir).chain(asked.fs.write.iter().map(PathBuf::as_path)) {
        let walked = walk(path).map_err(|error| {
            let path = path.display();
            let detail = if error.kind() == io::ErrorKind::NotFound {
                format!(
                    "there is no {path}, which sandbox.fs.write names: make it, or name the folder that it is to be made in"
                )
            } else {
                format!("{path}, which sandbox.fs.write names, cannot be used: {error}")
            };
            Cause::new(CauseKind::MissingFile, detail)
        })?;
        all.push((path, walked));
    }
    let writable = Writable(all.iter().map(|(_, walked)| walked.real.clone()).collect());
    for (path, walked) in &all {
        refuse_planted("write", path, walked, &writable)?;
    }
    let real = writable.0.iter().cloned().collect();
    Ok((writable, real))
}

/// Nobody can tell such a link from one that a person made.
fn refuse_planted(key: &str, path: &Path, walked: &Walked, writable: &Writable) -> Result<(), Cause> {
    let Some(link) = writable.planted(walked) else { return Ok(()) };
    let detail = format!(
        "{} leads through the link {}, and the plugin can write the folder that it lies in: it could reach any file by it. \
         If you made the link, name {} in sandbox.fs.{key}; else remove it",
        path.display(),
        link.display(),
        walked.real.display()
    );
    Err(Cause::new(CauseKind::MissingFile, detail))
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

#[cfg(test)]
mod tests;
