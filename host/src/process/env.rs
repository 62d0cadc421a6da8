//! The environment that every plugin gets: a short list, nothing else of the host's. Pure.

use std::path::{Path, PathBuf};

/// The names that are passed on, besides `LC_*`.
const BASE: [&str; 9] = ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "TZ", "TMPDIR"];

/// The locale's names that are passed on.
const LOCALE: [&str; 13] = [
    "LC_ADDRESS",
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NAME",
    "LC_NUMERIC",
    "LC_PAPER",
    "LC_TELEPHONE",
    "LC_TIME",
];

/// What a plugin without a `PATH` of its own, under a host without one, is started with.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The folder for temporary files of an instance that cannot write to the system's. New at each launch.
pub(crate) fn private_tmp(data_dir: &Path, instance: u32) -> PathBuf {
    data_dir.join(format!("tmp-{instance}"))
}

/// The base environment, read from the host's by `get`. A value that begins with `()` is an exported shell function, and
/// an old shell would run it: it is left out.
pub fn base(get: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let value = |name: &str| match get(name) {
        Some(value) if !value.starts_with("()") => Some(value),
        Some(_) | None => (name == "PATH").then(|| PATH.to_owned()),
    };
    let names = BASE.into_iter().chain(LOCALE);
    names.filter_map(|name| Some((name.to_owned(), value(name)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::base;

    #[test]
    fn only_the_list_passes_and_functions_do_not() {
        let host = [
            ("HOME", "/home/u"),
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("TERM", "() { :; }; touch /tmp/x"),
            ("LD_PRELOAD", "x"),
            ("AWS_SECRET", "x"),
        ];
        let get = |name: &str| host.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let names: Vec<_> = base(get).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["HOME", "PATH", "LC_ALL"]);
    }

    #[test]
    fn there_is_always_a_path() {
        assert_eq!(base(|_| None), [("PATH".to_owned(), super::PATH.to_owned())]);
    }
}
