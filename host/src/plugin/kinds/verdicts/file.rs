//! The file of the verdicts: who was found to speak how, and when. It holds hashes, never a command or an address.
//!
//! It must not know how long a verdict holds.

use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wharf_plugin_api::Era;

use super::{Fingerprint, Verdict};

/// Far above what is written.
const MAX_BYTES: u64 = 1 << 20;

/// Where the verdicts of a host are kept.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    /// Held while it is written: the last to write it writes the latest.
    writing: Mutex<()>,
}

/// A verdict in the file.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The fingerprint in hexadecimal digits: a number of 64 bits is none that every reader of JSON can hold.
    server: String,
    era: Era,
    /// Seconds since 1970.
    since: u64,
}

impl File {
    /// Reads what is there, newest first. What cannot be read is told, and is as good as nothing.
    pub(super) fn load(state: &Path) -> (Self, Vec<(Fingerprint, Verdict)>) {
        let path = state.join("eras.json");
        let mut kept = read(&path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "what is known of how servers speak cannot be read; they are asked anew");
            Vec::new()
        });
        kept.sort_by_key(|(_, verdict)| std::cmp::Reverse(verdict.since));
        (Self { path, writing: Mutex::default() }, kept)
    }

    /// Writes what `all` says then. A failure is told: the servers are asked anew after a restart.
    pub(super) fn save(&self, all: impl FnOnce() -> Vec<(Fingerprint, Verdict)>) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = all();
        all.sort_by_key(|(server, verdict)| (verdict.since, server.0));
        if let Err(error) = write(&self.path, &all) {
            tracing::warn!(path = %self.path.display(), %error, "what is known of how servers speak cannot be kept");
        }
    }
}

fn read(path: &Path) -> std::io::Result<Vec<(Fingerprint, Verdict)>> {
    let mut bytes = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => drop(file.take(MAX_BYTES).read_to_end(&mut bytes)?),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let lines: Vec<Line> = serde_json::from_slice(&bytes)?;
    let verdict = |line: Line| {
        let server = u64::from_str_radix(&line.server, 16).map_err(std::io::Error::other)?;
        Ok((Fingerprint(server), Verdict { era: line.era, since: Duration::from_secs(line.since) }))
    };
    lines.into_iter().map(verdict).collect()
}

/// Whoever reads it meanwhile, or after a crash, finds the old one or the new one.
fn write(path: &Path, all: &[(Fingerprint, Verdict)]) -> std::io::Result<()> {
    let line = |(server, verdict): &(Fingerprint, Verdict)| Line {
        server: format!("{:016x}", server.0),
        era: verdict.era,
        since: verdict.since.as_secs(),
    };
    let temporary = path.with_extension("json.tmp");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(&serde_json::to_vec_pretty(&all.iter().map(line).collect::<Vec<_>>())?)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wharf_plugin_api::Era;

    use super::super::{Fingerprint, MOST, Verdict, Verdicts};
    use super::{File, write};

    #[test]
    fn a_file_that_is_none_is_as_good_as_nothing_and_is_written_over() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("eras.json");
        let bad = [
            "",
            "{",
            "{}",
            "[7]",
            r#"[{"server":"x","era":"legacy","since":1}]"#,
            r#"[{"server":"1","era":"stone","since":1}]"#,
        ];
        for text in bad {
            std::fs::write(&path, text).unwrap();
            assert!(File::load(state.path()).1.is_empty(), "{text}");
        }
        let verdicts = Verdicts::load(state.path());
        verdicts.put(Fingerprint(7), Era::Modern);
        verdicts.save();
        assert_eq!(Verdicts::load(state.path()).get(Fingerprint(7)), Some(Era::Modern));
        let names: Vec<_> =
            std::fs::read_dir(state.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["eras.json"], "nothing else is left");
    }

    #[test]
    fn of_too_many_the_newest_are_taken_and_none_of_tomorrow() {
        let state = tempfile::tempdir().unwrap();
        let since = |seconds| Verdict { era: Era::Modern, since: Duration::from_secs(seconds) };
        let mut all: Vec<_> = (0..=MOST as u64).map(|n| (Fingerprint(n), since(n))).collect();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        all.push((Fingerprint(u64::MAX), since(now + 3600)));
        write(&state.path().join("eras.json"), &all).unwrap();
        let verdicts = Verdicts::load(state.path());
        assert_eq!(verdicts.get(Fingerprint(0)), None);
        assert_eq!(verdicts.get(Fingerprint(1)), Some(Era::Modern));
        assert_eq!(verdicts.get(Fingerprint(MOST as u64)), Some(Era::Modern));
        assert_eq!(verdicts.get(Fingerprint(u64::MAX)), None);
    }
}
