//! The files that a plugin is launched from: its program, the script that an interpreter is started with, its library. When
//! one of them is replaced, the plugin is another one, though its manifest is the same.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use wharf_core::manifest::{Kind, Late, Manifest};

use super::external;
use crate::process;

/// Endings of files with code in them, as far as an argument of a launcher names one. Nothing else that an argument names is
/// taken for a part of the program: it may be what the plugin writes.
const CODE: [&str; 17] = [
    "py", "pyz", "js", "mjs", "cjs", "ts", "mts", "cts", "rb", "sh", "pl", "php", "jar", "dll", "so", "wasm",
    "lua",
];

/// By what a file that was replaced or rewritten is told from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    dev: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// The files, and how each of them looks now; `None`: it is not there. To be called off the runtime.
pub(crate) fn origin(manifest: &Manifest, own: Option<&Path>) -> Vec<(PathBuf, Option<Stamp>)> {
    let mut files = files(manifest);
    // A new version of the host needs a start of the host.
    files.retain(|file| Some(&**file) != own);
    files.into_iter().map(|file| (Stamp::of(&file), file)).map(|(stamp, file)| (file, stamp)).collect()
}

fn files(manifest: &Manifest) -> Vec<PathBuf> {
    let Kind::Command(command) = &manifest.kind else { return Vec::new() };
    let late = Late::default();
    let args: Vec<String> = command.argv.iter().skip(1).map(|arg| arg.render(late)).collect();
    let program = external::program(command, late).ok();
    let scripts = program.iter().flat_map(|program| process::scripts(program, &args, &command.cwd));
    let is_code = |path: &PathBuf| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        ending.is_some_and(|ending| CODE.contains(&ending)) && path.is_file()
    };
    let named = args.iter().map(|arg| command.cwd.join(arg)).filter(is_code);
    let mut all: Vec<PathBuf> = scripts.chain(named).chain(command.library.clone()).collect();
    all.extend(program);
    all.sort();
    all.dedup();
    all
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let meta = std::fs::metadata(file).ok()?;
        let modified = (meta.mtime(), meta.mtime_nsec());
        Some(Self { dev: meta.dev(), inode: meta.ino(), size: meta.size(), modified })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use wharf_core::manifest::{Kind, Template};

    use super::origin;
    use crate::plugin::testkit::manifest;

    #[test]
    fn the_program_and_its_script_are_what_a_plugin_is_launched_from_and_data_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["server.py", "notes.db", "tool.js"] {
            fs::write(dir.path().join(name), "1").unwrap();
        }
        let of = |argv: &[&str]| {
            let mut manifest = manifest("p");
            let Kind::Command(command) = &mut manifest.kind else { panic!("a command") };
            command.argv = argv.iter().copied().map(Template::text).collect();
            command.cwd = dir.path().to_owned();
            origin(&manifest, None)
        };
        let names = |argv: &[&str]| -> Vec<String> {
            let all = of(argv);
            let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
            all.iter().map(|(path, _)| name(path)).collect::<BTreeSet<_>>().into_iter().collect()
        };
        assert_eq!(names(&["sh", "server.py", "notes.db"]), ["server.py", "sh"]);
        assert_eq!(names(&["env", "x", "tool.js", "--db", "notes.db", "gone.js"]), ["env", "tool.js"]);
        assert_eq!(names(&["no-such-program-anywhere", "server.py"]), ["server.py"]);
        let before = of(&["sh", "server.py"]);
        fs::write(dir.path().join("new"), "1").unwrap();
        fs::rename(dir.path().join("new"), dir.path().join("server.py")).unwrap();
        assert_ne!(of(&["sh", "server.py"]), before, "the same contents in another file");
        fs::remove_file(dir.path().join("server.py")).unwrap();
        assert_eq!(of(&["sh", "tool.js"]).len(), 2);
    }
}
