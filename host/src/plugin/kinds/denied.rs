//! A start that failed because of `sandbox.fs`: the plugin's own words say so, and the cause names the key.

use wharf_plugin_api::{Cause, CauseKind, Launch};

use super::Common;

/// Last lines of its stderr that are looked at.
const LINES: usize = 20;
/// Characters of the line that the cause repeats.
const SHOWN: usize = 200;
/// How programs tell that they may not open a file, in lower case.
const WORDS: [&str; 3] = ["eacces", "permission denied", "permissionerror"];

/// The cause, with what may have led to it.
pub(super) fn explained(common: &Common, cause: Cause, launch: &Launch) -> Cause {
    let ended = matches!(cause.kind, CauseKind::Exited | CauseKind::ExitedForGood | CauseKind::Signalled);
    if !ended || common.manifest.sandbox.fs.is_none() {
        return cause;
    }
    let lines = common.log.tail_of(launch.instance, launch.generation, LINES);
    match denied(lines.iter().map(|line| line.text.as_str())) {
        Some(line) => Cause { detail: format!("{}; {}", cause.detail, words(line)), ..cause },
        None => cause,
    }
}

/// The first line that tells of it: the others follow from it.
fn denied<'a>(mut lines: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    lines.find(|line| {
        let line = line.to_lowercase();
        WORDS.iter().any(|word| line.contains(word))
    })
}

fn words(line: &str) -> String {
    let shown: String = line.trim().chars().take(SHOWN).collect();
    format!(
        "its stderr says {shown:?}, and sandbox.fs may be why: name the file or its folder in sandbox.fs.read, or in \
         sandbox.fs.write if the plugin changes it"
    )
}

#[cfg(test)]
mod tests {
    use super::{denied, words};

    #[test]
    fn the_first_line_that_says_so_is_repeated() {
        for line in [
            "Error: EACCES: permission denied, open '/x'",
            "cat: /x: Permission denied",
            "PermissionError: [Errno 13] Permission denied: '/x'",
        ] {
            assert_eq!(denied(["starts", line, "permission denied again"].into_iter()), Some(line));
        }
        assert_eq!(denied(["starts", "no such file"].into_iter()), None);
        assert!(words(&"é".repeat(5000)).chars().count() < 400);
    }
}
