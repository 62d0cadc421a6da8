//! Which file a command names: a path, or a name looked up on the plugin's `PATH`. Follows the shell's rules, and says
//! what it looked at.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use wharf_plugin_api::{Cause, CauseKind};

/// Folders that a message names; more are counted.
const NAMED: usize = 12;

/// Finds the program. Links are not resolved: a program may look at the name that it was started under.
///
/// # Errors
/// With a cause that names what was searched and what helps, if there is no such file or it cannot be executed.
pub fn program(name: &str, cwd: &Path, path_var: &str) -> Result<PathBuf, Cause> {
    if name.is_empty() {
        return Err(Cause::new(CauseKind::NotFound, "the command is empty"));
    }
    if name.contains('/') {
        return at_path(name, cwd);
    }
    let mut seen = HashSet::new();
    let folders = std::env::split_paths(path_var).map(|folder| cwd.join(folder));
    // A folder that stands on PATH twice is searched and told once.
    let folders: Vec<PathBuf> = folders.filter(|folder| seen.insert(folder.clone())).collect();
    let mut refused = None;
    for file in folders.iter().map(|folder| folder.join(name)) {
        match usable(&file) {
            Ok(()) => return Ok(file),
            Err(Some(why)) => refused = refused.or(Some((file, why))),
            Err(None) => {}
        }
    }
    Err(match refused {
        Some((file, why)) => not_executable(&file, why),
        None => not_on_path(name, cwd, &folders),
    })
}

fn at_path(name: &str, cwd: &Path) -> Result<PathBuf, Cause> {
    let file = cwd.join(name);
    match usable(&file) {
        Ok(()) => Ok(file),
        Err(Some(why)) => Err(not_executable(&file, why)),
        Err(None) if file.is_symlink() => Err(Cause::new(
            CauseKind::NotFound,
            format!("{} is a link to a file that does not exist", file.display()),
        )),
        Err(None) => Err(Cause::new(CauseKind::NotFound, format!("there is no file {}", file.display()))),
    }
}

/// Whether the file can be executed; if it exists and cannot, why.
fn usable(file: &Path) -> Result<(), Option<&'static str>> {
    let meta = file.metadata().map_err(|_| None)?;
    if meta.is_dir() {
        return Err(Some("is a folder"));
    }
    if !meta.is_file() {
        return Err(Some("is no regular file"));
    }
    access(file, AccessFlags::X_OK).map_err(|_| Some("may not be executed"))
}

fn not_executable(file: &Path, why: &str) -> Cause {
    Cause::new(CauseKind::NotExecutable, format!("{} {why}", file.display()))
}

fn not_on_path(name: &str, cwd: &Path, folders: &[PathBuf]) -> Cause {
    let mut searched: Vec<String> = folders.iter().take(NAMED).map(|f| f.display().to_string()).collect();
    if folders.len() > NAMED {
        searched.push(format!("{} more", folders.len() - NAMED));
    }
    let mut detail = match searched.as_slice() {
        [] => format!("there is no program {name:?}: PATH is empty"),
        searched => format!("there is no program {name:?} in {}", searched.join(", ")),
    };
    if let Some(hint) = hint(name, cwd) {
        detail.push_str("; ");
        detail.push_str(&hint);
    }
    Cause::new(CauseKind::NotFound, detail)
}

/// What usually helps.
fn hint(name: &str, cwd: &Path) -> Option<String> {
    if cwd.join(name).is_file() {
        return Some(format!("there is one in {}: write \"./{name}\"", cwd.display()));
    }
    let known = match name {
        "node" | "npx" | "npm" => {
            "install Node.js 20 or later (https://nodejs.org), or add its folder to PATH"
        }
        "python" => "install Python 3; on many systems it is called python3",
        "python3" | "pip" | "pip3" => "install Python 3 (https://www.python.org)",
        "uv" | "uvx" => "install uv (https://docs.astral.sh/uv)",
        "bun" | "bunx" => "install Bun (https://bun.sh)",
        "deno" => "install Deno (https://deno.com)",
        "docker" | "podman" => "install a container engine, or add its folder to PATH",
        _ if name.contains(' ') => "the command is the program alone: put its arguments into args",
        _ => return None,
    };
    Some(known.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use wharf_plugin_api::CauseKind;

    use super::program;

    fn file(dir: &Path, name: &str, mode: u32) {
        fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        fs::write(dir.join(name), "#!/bin/sh\n").unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn finds_by_path_and_by_name_and_keeps_links() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        file(at, "bin/tool", 0o755);
        file(at, "none/tool", 0o644);
        symlink("tool", at.join("bin/link")).unwrap();
        assert_eq!(program("bin/tool", at, "").unwrap(), at.join("bin/tool"));
        assert_eq!(
            program("tool", at, "missing:none:bin").unwrap(),
            at.join("bin/tool"),
            "one that works goes first"
        );
        assert_eq!(
            program("link", Path::new("/"), at.join("bin").to_str().unwrap()).unwrap(),
            at.join("bin/link")
        );
    }

    #[test]
    fn a_folder_that_is_on_the_path_twice_is_told_once() {
        let cause = program("tool", Path::new("/nowhere"), "/a:/b:/a:/b/:/a").unwrap_err();
        assert!(cause.detail.ends_with("in /a, /b"), "{cause}");
    }

    #[test]
    fn says_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        file(at, "plain", 0o644);
        file(at, "run", 0o755);
        symlink("nowhere", at.join("dangling")).unwrap();
        let refused = |name: &str, path: &str| program(name, at, path).unwrap_err();
        for (name, path, kind, says) in [
            ("./plain", "", CauseKind::NotExecutable, "may not be executed"),
            ("plain", ".", CauseKind::NotExecutable, "may not be executed"),
            ("./", "", CauseKind::NotExecutable, "is a folder"),
            ("./missing", "", CauseKind::NotFound, "there is no file"),
            ("./dangling", "", CauseKind::NotFound, "is a link to"),
            ("", "/bin", CauseKind::NotFound, "is empty"),
            ("run", "/a:/b", CauseKind::NotFound, "in /a, /b; there is one in"),
            ("npx", "/a", CauseKind::NotFound, "Node.js 20"),
            ("uvx", "", CauseKind::NotFound, "docs.astral.sh/uv"),
            ("node server.js", "/a", CauseKind::NotFound, "into args"),
        ] {
            let cause = refused(name, path);
            assert!(cause.kind == kind && cause.detail.contains(says), "{name}: {cause}");
        }
    }
}
