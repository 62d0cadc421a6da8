//! The shape of the project, as tests: who may depend on whom, where `unsafe` may stand, how long a file may be.
//!
//! Each rule is a function from a file's path and text to what is wrong with it, and is tried here on a text that breaks
//! it before it is tried on the project.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "this is all test code; a panic is a failure"
)]

use std::path::{Path, PathBuf};

mod compiling;
mod dependencies;
mod rules;

use rules::{Breach, Source};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// All Rust files of the three crates.
fn sources() -> Vec<Source> {
    let root = root();
    let mut open: Vec<_> =
        ["host/src", "host/core/src", "plugin-api/src"].iter().map(|dir| root.join(dir)).collect();
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.push(Source::new(name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 30, "the sources are not where this test looks for them");
    found
}

fn check(rule: fn(&Source) -> Option<Breach>) {
    let breaches: Vec<_> = sources().iter().filter_map(rule).collect();
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

#[test]
fn files_are_short() {
    check(rules::length);
}

#[test]
fn every_file_says_what_it_does() {
    check(rules::introduction);
}

#[test]
fn unsafe_code_stands_where_it_is_allowed() {
    check(rules::unsafe_code);
}

#[test]
fn arrows_point_one_way() {
    check(rules::arrows);
}

#[test]
fn only_the_http_edge_knows_a_status_code() {
    check(rules::status_codes);
}

#[test]
fn tasks_are_spawned_in_one_place() {
    check(rules::spawns);
}

#[test]
fn what_decides_has_no_tokio() {
    let graph = dependencies::Graph::of(&root());
    for package in ["wharf-core", "wharf-plugin-api"] {
        for banned in ["tokio", "tokio-util", "mio", "hyper", "nix", "reqwest", "notify"] {
            assert_eq!(graph.path(package, banned), None, "{package} depends on {banned}");
        }
        assert_eq!(graph.optional(package), Vec::<String>::new(), "{package} has optional dependencies");
    }
    // The same look-up finds what is there.
    assert!(graph.path("wharf", "tokio").is_some());
    assert!(graph.path("wharf", "mio").is_some_and(|path| path.len() > 2));
}

#[test]
fn crates_point_one_way() {
    let graph = dependencies::Graph::of(&root());
    assert_eq!(graph.path("wharf-plugin-api", "wharf-core"), None);
    assert_eq!(graph.path("wharf-plugin-api", "wharf"), None);
    assert_eq!(graph.path("wharf-core", "wharf"), None);
}
