//! Replays the corpus of the fuzz targets on the stable compiler.

#[path = "../../../tests/fuzz/checks.rs"]
mod checks;

use std::fs;
use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&dir).expect("the corpus") {
        let path = entry.expect("an entry").path();
        let input = read(&path);
        assert!(std::panic::catch_unwind(|| check(&input)).is_ok(), "{}", path.display());
        inputs += 1;
    }
    assert!(inputs >= 5, "{} holds {inputs} inputs only", dir.display());
}

#[allow(clippy::disallowed_methods, reason = "the rule is for the crate, a test may read files")]
fn read(path: &Path) -> Vec<u8> {
    fs::read(path).expect("readable")
}

#[test]
fn lines() {
    replay("frame", checks::frame);
}

#[test]
fn events() {
    replay("sse", checks::sse);
}

#[test]
fn edits() {
    replay("splice", checks::splice);
}
