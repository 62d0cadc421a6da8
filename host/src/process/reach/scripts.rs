//! The script that an interpreter is started with: an argument, but as much the program as one that is executed by itself.

use std::path::{Path, PathBuf};

use super::Asked;
use super::programs::{home, is_wide, outermost_modules};

/// Interpreters, by the beginning of their names. What follows is a version.
const INTERPRETERS: [&str; 14] = [
    "node", "nodejs", "deno", "bun", "python", "pypy", "ruby", "perl", "php", "java", "sh", "bash", "dash",
    "zsh",
];
/// Flags whose value is the code, or the name of a module: no file follows. Short ones may be joined (`-lc`).
const NO_SCRIPT: [&str; 5] = ["--eval", "--print", "--command", "--module", "--version"];
/// Words before the script of `deno` and `bun`.
const WORDS: [&str; 2] = ["run", "serve"];
/// Flags of Node.js whose value is code that is loaded before the script.
const BEFORE: [&str; 5] = ["-r", "--require", "--import", "--loader", "--experimental-loader"];
/// By these a folder is known as that of a package.
const PACKAGE: [&str; 2] = ["package.json", "pyproject.toml"];
/// What an interpreter looks for in a folder that it is started with.
const ENTRIES: [&str; 3] = ["package.json", "index.js", "__main__.py"];
/// Folders of a home that are no project, however a script got there.
const PERSONAL: [&str; 8] =
    ["Desktop", "Documents", "Downloads", "Music", "Pictures", "Public", "Templates", "Videos"];

/// The script, and what is loaded before it.
pub(super) fn of(asked: &Asked<'_>) -> Vec<PathBuf> {
    named(asked.own.program, asked.args, asked.own.cwd)
}

/// Likewise, of a program that is started with these arguments in this folder.
pub(in crate::process) fn named(program: &Path, args: &[String], cwd: &Path) -> Vec<PathBuf> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if !INTERPRETERS.contains(&name) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if BEFORE.contains(&arg.as_str()) {
            found.extend(args.next().and_then(|value| file(value, cwd)));
        } else if let Some((_, value)) = arg.split_once('=').filter(|(flag, _)| BEFORE.contains(flag)) {
            found.extend(file(value, cwd));
        } else if is_code(name, arg) {
            break;
        } else if !arg.starts_with('-')
            && !WORDS.contains(&arg.as_str())
            && let Some(script) = file(arg, cwd)
        {
            found.push(script);
            break;
        }
    }
    found
}

/// Whether this flag takes the place of a script.
fn is_code(interpreter: &str, arg: &str) -> bool {
    let letters = match interpreter {
        "python" | "pypy" => "cm",
        "sh" | "bash" | "dash" | "zsh" => "c",
        "perl" | "ruby" => "eE",
        "php" => "rR",
        "node" | "nodejs" | "bun" => "ep",
        _ => "",
    };
    match arg.strip_prefix('-') {
        Some(flag) if flag.starts_with('-') => {
            NO_SCRIPT.contains(&arg.split_once('=').map_or(arg, |(flag, _)| flag))
        }
        // `-Xdev` and its like have a value behind them.
        Some(flag) => flag.chars().take_while(char::is_ascii_alphabetic).take(4).any(|c| letters.contains(c)),
        None => interpreter == "deno" && arg == "eval",
    }
}

/// The file that an argument names, from the working directory.
fn file(arg: &str, cwd: &Path) -> Option<PathBuf> {
    let path = cwd.join(arg.strip_prefix("file://").unwrap_or(arg));
    if path.is_dir() {
        return ENTRIES.iter().map(|name| path.join(name)).find(|entry| entry.is_file());
    }
    path.is_file().then_some(path)
}

/// What a script needs around it: its package, or the folder that it lies in, and the packages that Node.js looks for above
/// it. Of a folder with more in it than a project, only the script.
pub(super) fn place(file: &Path, asked: &Asked<'_>) -> Vec<PathBuf> {
    if let Some(outermost) = outermost_modules(file) {
        return vec![outermost];
    }
    let home = home(asked);
    let is_project = |folder: &&Path| !is_wide(folder, asked) && !is_personal(folder, home.as_deref());
    let own = file.parent().filter(is_project);
    let package = file
        .ancestors()
        .skip(1)
        .take_while(is_project)
        .find(|folder| PACKAGE.iter().any(|name| folder.join(name).is_file()));
    let is_shared = |folder: &&Path| home.as_ref().is_some_and(|home| home.starts_with(folder));
    let above = file.ancestors().skip(1).take_while(|folder| !is_shared(folder));
    let modules = above.flat_map(|folder| [folder.join("node_modules"), folder.join("package.json")]);
    let folder = package.or(own).map_or_else(|| file.to_owned(), Path::to_owned);
    [folder].into_iter().chain(modules.filter(|path| path.exists())).collect()
}

fn is_personal(folder: &Path, home: Option<&Path>) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    home.is_some_and(|home| folder.parent() == Some(home))
        && (name.starts_with('.') || PERSONAL.contains(&name.as_ref()))
}
