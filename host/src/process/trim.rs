//! Gives back the pages of the program that only its start needed: reading manifests, starting processes, tables of options.
//!
//! They are of the file, unchanged, and come back from the system's memory of it when they are needed again. Nothing that the
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

/// For the program's own file. What cannot be found out is left as it is.
fn trim() {
    let (Ok(maps), Ok(own)) = (fs::read_to_string("/proc/self/maps"), std::env::current_exe()) else {
        return;
    };
    for Part { from, to } in unwritten(&maps, &own.display().to_string()) {
        let start = std::ptr::with_exposed_provenance_mut(from);
        // SAFETY: the part is code, or the constants at the beginning of the file, where nothing has to be put right for the
        // place of the program in memory: no byte of it was ever written. Whoever comes there next has the same bytes, read
        // from the file.
        let given = Errno::result(unsafe { libc::madvise(start, to - from, libc::MADV_DONTNEED) });
        if let Err(error) = given {
            tracing::debug!(%error, "pages of the program could not be given back");
        }
    }
}

/// The parts of the file that nothing writes: its code, and the constants at its beginning.
fn unwritten(maps: &str, file: &str) -> Vec<Part> {
    let part = |line: &str| {
        let mut columns = line.splitn(6, ' ');
        let (range, rights, offset) = (columns.next()?, columns.next()?, columns.next()?);
        let named = columns.nth(2)?.trim_start();
        let is_unwritten = rights == "r-xp" || (rights == "r--p" && offset.bytes().all(|b| b == b'0'));
        let (from, to) = range.split_once('-')?;
        let at = |text| usize::from_str_radix(text, 16).ok();
        (is_unwritten && named == file).then_some(Part { from: at(from)?, to: at(to)? })
    };
    maps.lines().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::{Part, trim, unwritten};

    const MAPS: &str = "\
000000001000-000000002000 r--p 00000000 fe:00 1234                       /opt/a b/wharf
000000002000-000000004000 r-xp 00001000 fe:00 1234                       /opt/a b/wharf
000000004000-000000005000 r--p 00003000 fe:00 1234                       /opt/a b/wharf
000000005000-000000006000 rw-p 00004000 fe:00 1234                       /opt/a b/wharf
7fc22febc000-7fc230012000 r-xp 00026000 fe:00 99                         /usr/lib/libc.so.6
7ffd0e5fe000-7ffd0e600000 r-xp 00000000 00:00 0                          [vdso]
";

    #[test]
    fn only_the_programs_own_code_is_given_back() {
        let part = |from, to| Part { from, to };
        let own = [part(0x1000, 0x2000), part(0x2000, 0x4000)];
        assert_eq!(unwritten(MAPS, "/opt/a b/wharf"), own);
        for (maps, file) in [(MAPS, "/opt/other"), ("", "x"), ("1\nx y z", "x")] {
            assert!(unwritten(maps, file).is_empty(), "{file}");
        }
    }

    #[test]
    fn the_program_goes_on() {
        trim();
        assert_eq!("still there".len(), 11);
    }
}
