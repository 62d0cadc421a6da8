//! Tests of what the worker does before and beside a real library; a real one is loaded by the end-to-end tests.

use std::sync::{Arc, Mutex};

use super::forward;
use super::library::{LoadError, Loaded};
use wharf_plugin_api::pipe::Sink;

#[test]
fn a_missing_file_a_folder_and_a_text_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("lib.so");
    std::fs::write(&text, "not a library").unwrap();

    let missing = Loaded::load(&dir.path().join("none.so")).unwrap_err();
    assert!(matches!(&missing, LoadError::File { path, .. } if path.ends_with("none.so")), "{missing}");
    let folder = Loaded::load(dir.path()).unwrap_err();
    assert!(matches!(folder, LoadError::NotAFile { .. }), "{folder}");
    let text = Loaded::load(&text).unwrap_err();
    assert!(matches!(&text, LoadError::NotALibrary { error, .. } if error.contains("lib.so")), "{text}");
}

#[test]
fn a_bare_name_is_a_file_here_and_not_one_of_the_systems() {
    let error = Loaded::load("libc.so.6".as_ref()).unwrap_err();
    assert!(matches!(error, LoadError::File { .. }), "{error}");
}

#[test]
fn a_library_that_is_no_plugin_names_the_missing_function() {
    // The C library is loaded in this process already, so that it is somewhere.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libc =
        maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("libc.so"));
    let Some(libc) = libc else { return eprintln!("skipped: the C library is linked statically") };
    let error = Loaded::load(libc.as_ref()).unwrap_err();
    assert!(matches!(error, LoadError::NoSymbol { symbol: "wharf_abi_version", .. }), "{error}");
}

#[test]
fn only_json_leaves_the_worker() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let out = Arc::clone(&seen);
    let sink: Sink = Arc::new(move |message: &[u8]| out.lock().unwrap().push(message.to_vec()));
    for message in [&b"{\"a\":\n1}"[..], b"hello", b"{} {}", b"\"\xff\"", b"", b"[1]"] {
        forward(message, &sink);
    }
    assert_eq!(*seen.lock().unwrap(), [b"{\"a\":\n1}".to_vec(), b"[1]".to_vec()]);
}
