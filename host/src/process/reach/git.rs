//! What git reads of a home: without it, git refuses to do anything. Names and aliases, unless people keep keys in it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Asked;
use super::paths::Writable;
use super::programs::home;

/// Below a home.
const SETTINGS: [&str; 4] =
    [".gitconfig", ".config/git/config", ".config/git/ignore", ".config/git/attributes"];
/// Bytes that are looked at. A larger file is not readable.
const MOST: u64 = 64 * 1024;
/// A setting that holds a key, in lower case.
const KEYS: [&str; 4] = ["extraheader", "password", "token", "secret"];

/// The files that are there and hold no key.
pub(super) fn settings(asked: &Asked<'_>, writable: &Writable, notes: &mut Vec<String>) -> Vec<PathBuf> {
    let Some(home) = home(asked) else { return Vec::new() };
    let all = SETTINGS.iter().filter_map(|name| writable.trusted(&home.join(name)));
    let (open, kept): (Vec<_>, Vec<_>) =
        all.filter(|file| file.is_file()).partition(|file| is_harmless(file));
    notes.extend(kept.iter().map(|file| {
        format!(
            "sandbox.fs: {} may hold a key, so it is not readable, and git may refuse to work: name it in sandbox.fs.read, or \
             set GIT_CONFIG_GLOBAL to another file",
            file.display()
        )
    }));
    open
}

fn is_harmless(file: &Path) -> bool {
    let mut text = Vec::new();
    let Ok(read) = File::open(file).and_then(|file| file.take(MOST + 1).read_to_end(&mut text)) else {
        return false;
    };
    let text = String::from_utf8_lossy(&text).to_lowercase();
    // A name and a password in an address.
    let in_address = |line: &str| {
        let host = line.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or(rest));
        host.is_some_and(|host| host.rsplit_once('@').is_some_and(|(user, _)| user != "git"))
    };
    read as u64 <= MOST
        && !text.lines().any(|line| in_address(line) || KEYS.iter().any(|key| line.contains(key)))
}

#[cfg(test)]
mod tests {
    use super::is_harmless;

    #[test]
    fn settings_that_hold_a_key_are_told_from_names() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let look = |text: &str| {
            std::fs::write(&file, text).unwrap();
            is_harmless(file.path())
        };
        for text in [
            "",
            "[user]\n\tname = A\n\temail = a@b.c\n",
            "[url \"ssh://git@github.com/\"]\n\tinsteadOf = https://github.com/\n",
            "[core]\n\tsshCommand = ssh -i x\n",
        ] {
            assert!(look(text), "{text}");
        }
        for text in [
            "[http]\n\textraHeader = Authorization: Basic x\n",
            "[url \"https://x-access:abc@github.com/\"]\n\tinsteadOf = https://github.com/\n",
            "[github]\n\toauth-Token = abc\n",
        ] {
            assert!(!look(text), "{text}");
        }
        assert!(!look(&"x".repeat(70_000)));
        assert!(!is_harmless(std::path::Path::new("/nowhere")));
    }
}
