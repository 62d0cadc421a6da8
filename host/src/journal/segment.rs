//! One file of the journal, and the folder of them.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use nix::fcntl::{FallocateFlags, fallocate};
use wharf_core::journal::{HEAD, head};

use super::millis;

/// The ending of their names.
const ENDING: &str = "journal";
/// One that cannot be read is put aside under this name; there is one such, the last.
const ASIDE: &str = "unreadable";
/// A new one must have room for this much, bytes: else a full disk would look well after each try.
const ROOM: i64 = 64 << 10;
/// No more of one is read, bytes; none is written larger.
pub(super) const MAX_READ: u64 = 16 << 20;

/// A segment that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<File>,
    pub(super) begun: SystemTime,
    /// Whole records end here.
    pub(super) length: u64,
}

/// One that lies in the folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    /// They are counted, oldest first.
    pub(super) number: u64,
    pub(super) path: PathBuf,
}

impl Segment {
    /// Begins the segment of this number.
    pub(super) fn begin(folder: &Path, number: u64) -> io::Result<Self> {
        crate::process::private_dir(folder)?;
        let path = folder.join(format!("{number:016x}.{ENDING}"));
        let begun = SystemTime::now();
        let file = File::options().append(true).create_new(true).mode(0o600).open(&path)?;
        let written = match fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, ROOM) {
            // A file system that cannot promise room is written to all the same.
            Ok(()) | Err(nix::Error::EOPNOTSUPP | nix::Error::ENOSYS | nix::Error::EINTR) => {
                (&file).write_all(&head(millis(begun)))
            }
            Err(error) => Err(error.into()),
        };
        match written {
            Ok(()) => Ok(Self { file: Arc::new(file), begun, length: HEAD as u64 }),
            Err(error) => {
                fs::remove_file(&path).ok();
                Err(error)
            }
        }
    }

    /// Writes a record at its end. If not all of it could be written, none of it is there, unless that fails as well: then a
    /// reader finds a torn end.
    pub(super) fn write(&mut self, record: &[u8]) -> io::Result<()> {
        let written = (&*self.file).write_all(record);
        match written {
            Ok(()) => self.length += record.len() as u64,
            Err(_) => {
                self.file.set_len(self.length).ok();
            }
        }
        written
    }
}

impl Found {
    /// All of a folder, oldest first.
    pub(super) fn all(folder: &Path) -> io::Result<Vec<Self>> {
        let mut all: Vec<Self> =
            fs::read_dir(folder)?.flatten().filter_map(|file| Self::of(file.path())).collect();
        all.sort();
        Ok(all)
    }

    fn of(path: PathBuf) -> Option<Self> {
        let is_ours = path.extension().is_some_and(|ending| ending == ENDING);
        let number = u64::from_str_radix(path.file_stem()?.to_str()?, 16).ok()?;
        is_ours.then_some(Self { number, path })
    }

    /// Takes it out of the journal, as it cannot be read.
    pub(super) fn put_aside(&self, why: &io::Error) {
        let to = self.path.with_file_name(ASIDE);
        let (path, aside) = (self.path.display(), to.display());
        match fs::rename(&self.path, &to) {
            Ok(()) => {
                tracing::error!(%why, %path, %aside, "a file of the journal cannot be read and is put aside; what only it says is lost");
            }
            Err(error) => {
                tracing::error!(%why, %error, %path, "a file of the journal can neither be read nor put aside");
            }
        }
    }

    /// All that is in it.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(&self.path)?.take(MAX_READ).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
