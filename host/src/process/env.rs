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

/// By which Node.js is told how large its heap may become.
const NODE_OPTIONS: &str = "NODE_OPTIONS";

fn heap_flag(memory: u64) -> String {
    format!("--max-old-space-size={}", ((memory / 4 * 3) >> 20).max(1))
}

/// Whether Node.js is told that and nothing else.
pub(crate) fn bounds_node_heap(all: &[(String, String)], memory: u64) -> bool {
    let flag = heap_flag(memory);
    all.iter().any(|(name, options)| {
        name == NODE_OPTIONS && options.split_ascii_whitespace().next_back() == Some(&*flag)
    })
}

/// Tells Node.js to keep its heap below three quarters of `memory` bytes, unless the plugin's own options say how large it
/// may be: it then collects its garbage in time, and ends with a clear word where the kernel would kill it without one.
pub(crate) fn bound_node_heap(all: &mut Vec<(String, String)>, memory: u64) {
    let flag = heap_flag(memory);
    let Some((_, options)) = all.iter_mut().find(|(name, _)| name == NODE_OPTIONS) else {
        all.push((NODE_OPTIONS.to_owned(), flag));
        return;
    };
    // Node.js takes both ways of writing it.
    if !options.replace('_', "-").contains("--max-old-space-size") {
        let space = if options.is_empty() { "" } else { " " };
        options.push_str(space);
        options.push_str(&flag);
    }
}

#[cfg(test)]
mod tests {
    use super::{base, bound_node_heap, bounds_node_heap};

    #[test]
    fn the_heap_of_node_is_bounded_unless_the_plugin_does_it() {
        let bounded = |options: Option<&str>, memory| {
            let mut all: Vec<_> =
                options.map(|text| ("NODE_OPTIONS".to_owned(), text.to_owned())).into_iter().collect();
            bound_node_heap(&mut all, memory);
            assert_eq!(all.len(), 1);
            let own = options.is_some_and(|text| text.contains("space"));
            assert_eq!(bounds_node_heap(&all, memory), !own, "{all:?}");
            all.remove(0).1
        };
        assert_eq!(bounded(None, 512 << 20), "--max-old-space-size=384");
        assert_eq!(bounded(Some(""), 512 << 20), "--max-old-space-size=384");
        assert_eq!(bounded(Some("--no-warnings"), 1 << 20), "--no-warnings --max-old-space-size=1");
        for own in ["--max-old-space-size=99", "--x --max_old_space_size=99"] {
            assert_eq!(bounded(Some(own), 512 << 20), own);
        }
    }

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
