//! Gives back the pages of the program that only the start needed: reading manifests, starting processes, tables of options.
//! Those of its libraries stay: a library may be about to be loaded, or unloaded, in another thread.
//!
//! They are of files, unchanged, and come back from the system's memory of it when they are needed again. Nothing that the
//! program has written is touched.

#![allow(unsafe_code, reason = "advice on pages has no safe wrapper")]

use std::fs;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

use crate::tasks::Tasks;

/// The start is over by then.
const START: Duration = Duration::from_secs(2);

/// A part of the address space.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    from: usize,
    to: usize,
}

/// Does it once the start is over.
pub(crate) fn after_the_start(tasks: &Tasks) {
    let (ending, blocking) = (tasks.ending().clone(), tasks.clone());
    tasks.spawn(tracing::debug_span!("trim"), async move {
        if tokio::time::timeout(START, ending.cancelled()).await.is_err() {
            // It has nothing to say.
            blocking.blocking(trim).await.ok();
        }
    });
}

/// What cannot be found out is left as it is.
fn trim() {
    let Ok(program) = fs::read_link("/proc/self/exe") else { return };
    let (Some(program), Ok(maps)) = (program.to_str(), fs::read_to_string("/proc/self/smaps")) else {
        return;
    };
    for Part { from, to } in unwritten(&maps, program) {
        let start = std::ptr::with_exposed_provenance_mut(from);
        // SAFETY: the part is the running program's own, which is mapped for as long as it runs; nobody may write to it, and
        // no page of it differs from the file: none was put right for its place in memory. Whoever comes there next has the
        // same bytes, read from the file.
        let given = Errno::result(unsafe { libc::madvise(start, to - from, libc::MADV_DONTNEED) });
        if let Err(error) = given {
            tracing::debug!(%error, "pages of the program could not be given back");
        }
    }
}

/// The parts of this file that are as they stand in it, and stay so: code and constants.
fn unwritten(maps: &str, program: &str) -> Vec<Part> {
    let (mut parts, mut read_only) = (Vec::new(), None);
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next()) {
            // Told of each part, after its head: how much of it is no longer the file's.
            (Some("Anonymous:"), Some("0")) => parts.extend(read_only.take()),
            (Some("Anonymous:"), _) => read_only = None,
            (Some(range), Some("r--p" | "r-xp")) if is_of(line, program) => read_only = part(range),
            (Some(range), Some(_)) if part(range).is_some() => read_only = None,
            _ => {}
        }
    }
    parts
}

/// Whether a part is of this file: its path is the last column, and may have blanks in it.
fn is_of(line: &str, program: &str) -> bool {
    line.strip_suffix(program).is_some_and(|rest| rest.ends_with(' '))
}

fn part(range: &str) -> Option<Part> {
    let (from, to) = range.split_once('-')?;
    let at = |text| usize::from_str_radix(text, 16).ok();
    Some(Part { from: at(from)?, to: at(to)? })
}

#[cfg(test)]
mod tests {
    use super::{Part, trim, unwritten};

    const MAPS: &str = "\
000000001000-000000002000 r--p 00000000 fe:00 1234                       /opt/a b/wharf
Size:                  4 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
000000002000-000000004000 r-xp 00001000 fe:00 1234                       /opt/a b/wharf
Anonymous:             0 kB
000000004000-000000005000 r--p 00003000 fe:00 1234                       /opt/a b/wharf
Anonymous:             4 kB
000000005000-000000006000 rw-p 00004000 fe:00 1234                       /opt/a b/wharf
Anonymous:             0 kB
000000007000-000000008000 r--p 00000000 00:00 0
Anonymous:             0 kB
7fc22febc000-7fc230012000 r-xp 00026000 fe:00 1234                       /opt/a b/wharf
Anonymous:             0 kB
7fc231000000-7fc231012000 r-xp 00026000 fe:00 99                         /usr/lib/libc.so.6
Anonymous:             0 kB
000000009000-00000000a000 r-xp 00026000 fe:00 77                         /x/opt/a b/wharf
Anonymous:             0 kB
7ffd0e5fe000-7ffd0e600000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
";

    #[test]
    fn only_what_is_as_in_its_file_and_stays_so_is_given_back() {
        let part = |from, to| Part { from, to };
        let whole = [part(0x1000, 0x2000), part(0x2000, 0x4000), part(0x7fc2_2feb_c000, 0x7fc2_3001_2000)];
        assert_eq!(unwritten(MAPS, "/opt/a b/wharf"), whole);
        for maps in ["", "1\nx y z", "Anonymous: 0 kB", "1-2 r-xp 0 0 7 /opt/a b/wharf"] {
            assert!(unwritten(maps, "/opt/a b/wharf").is_empty(), "{maps}");
        }
    }

    #[test]
    fn the_program_goes_on() {
        trim();
        assert_eq!("still there".len(), 11);
    }
}
