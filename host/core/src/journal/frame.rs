//! The frame of a record, and the head of a segment.
//!
//! A frame is `mark | length | checksum of what is in it | checksum of the twelve bytes before`. A reader that finds
//! damage looks for the next frame. The mark holds bytes that no UTF-8 text has, so no name, key or answer of somebody
//! else can be taken for one.

use memchr::memmem;

/// Bytes of the frame before the entries of a record.
pub const FRAME: usize = 16;
/// Bytes of the head of a segment.
pub const HEAD: usize = 24;
/// No record is longer; what says so is no record.
pub const MAX_RECORD: usize = 4 << 20;

const MARK: [u8; 4] = [0xff, b'W', b'J', 0xfe];
const MAGIC: [u8; 8] = *b"wharfjnl";
const VERSION: u32 = 1;

/// Why a file is not read as a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It ends within the head: the host was killed as it began it.
    #[error("it ends within its head")]
    Torn,
    /// It is something else, or its head is damaged.
    #[error("its head is not that of a segment")]
    Foreign,
    /// Another version wrote it.
    #[error("it is of version {0}, and this host reads version {VERSION}")]
    Version(u32),
}

/// Makes room for the frame of a record in an empty buffer; entries are put after it, and then it is [`seal`]ed.
pub fn begin(record: &mut Vec<u8>) {
    record.clear();
    record.extend_from_slice(&[0; FRAME]);
}

/// Writes the frame of a record that [`begin`] began. A record without entries, or one that is too long to be read again,
/// is emptied.
pub fn seal(record: &mut Vec<u8>) {
    let Some((frame, entries)) = record.split_at_mut_checked(FRAME) else { return record.clear() };
    if entries.is_empty() || entries.len() > MAX_RECORD {
        return record.clear();
    }
    // It fits: the bound is far below.
    let length = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    let parts = [MARK, length.to_le_bytes(), crc32fast::hash(entries).to_le_bytes()];
    let (said, check) = frame.split_at_mut(12);
    said.copy_from_slice(parts.as_flattened());
    check.copy_from_slice(&crc32fast::hash(said).to_le_bytes());
}

/// The head of a segment that is begun at `at`, milliseconds since 1970.
#[must_use]
pub fn head(at: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let (said, check) = head.split_at_mut(20);
    said.copy_from_slice(&[&MAGIC[..], &VERSION.to_le_bytes(), &at.to_le_bytes()].concat());
    check.copy_from_slice(&crc32fast::hash(said).to_le_bytes());
    head
}

/// When a segment was begun, and its records.
///
/// # Errors
/// If it is not one that can be read.
pub fn read_head(segment: &[u8]) -> Result<(u64, &[u8]), HeadError> {
    let Some((head, records)) = segment.split_at_checked(HEAD) else {
        let is_ours = MAGIC.starts_with(segment) || segment.starts_with(&MAGIC);
        return Err(if is_ours { HeadError::Torn } else { HeadError::Foreign });
    };
    let (magic, rest) = head.split_at(8);
    let check = number(rest.get(12..));
    let whole = head.get(..20).map(crc32fast::hash) == check;
    match number(Some(rest)) {
        Some(VERSION) if magic == MAGIC && whole => {
            let at = rest.get(4..12).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
            Ok((at.unwrap_or_default(), records))
        }
        Some(version) if magic == MAGIC && whole => Err(HeadError::Version(version)),
        _ => Err(HeadError::Foreign),
    }
}

fn number(bytes: Option<&[u8]>) -> Option<u32> {
    bytes?.get(..4)?.try_into().ok().map(u32::from_le_bytes)
}

/// What of the bytes was no whole record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Records, or places between them, that are damaged and were skipped.
    pub corrupt: usize,
    /// Bytes at the end that are the begin of a record and not all of it.
    pub torn: usize,
}

/// Goes through the records of a segment: gives the entries of each that is whole.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    left: &'a [u8],
    scanned: Scanned,
    /// Within a damaged place: it is counted once.
    lost: bool,
}

impl<'a> Records<'a> {
    /// Of the bytes after the head.
    #[must_use]
    pub fn new(records: &'a [u8]) -> Self {
        Self { left: records, scanned: Scanned::default(), lost: false }
    }

    /// What was found besides whole records, so far.
    #[must_use]
    pub fn scanned(&self) -> Scanned {
        self.scanned
    }

    fn damaged(&mut self) {
        self.scanned.corrupt += usize::from(!self.lost);
        self.lost = true;
    }

    /// Goes on at the next mark after the first byte.
    fn look_further(&mut self) {
        self.damaged();
        let rest = self.left.get(1..).unwrap_or_default();
        let next = memmem::find(rest, &MARK).unwrap_or_else(|| rest.len() - partial_mark(rest));
        self.left = rest.get(next..).unwrap_or_default();
    }
}

/// How many bytes at the end may be the begin of a mark.
fn partial_mark(bytes: &[u8]) -> usize {
    (1..MARK.len()).rev().find(|n| MARK.get(..*n).is_some_and(|begin| bytes.ends_with(begin))).unwrap_or(0)
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.left.is_empty() {
            let Some((frame, rest)) = self.left.split_at_checked(FRAME) else {
                if MARK.starts_with(self.left) || self.left.starts_with(&MARK) {
                    self.scanned.torn = self.left.len();
                    self.left = &[];
                } else {
                    self.look_further();
                }
                continue;
            };
            let (said, check) = frame.split_at(12);
            let length = number(said.get(4..)).and_then(|length| usize::try_from(length).ok());
            let is_frame = said.starts_with(&MARK) && number(Some(check)) == Some(crc32fast::hash(said));
            let Some(length) = length.filter(|length| is_frame && (1..=MAX_RECORD).contains(length)) else {
                self.look_further();
                continue;
            };
            let Some((entries, after)) = rest.split_at_checked(length) else {
                // Unless a whole record comes after it, this is where the host was killed.
                if memmem::find(rest, &MARK).is_none() {
                    self.scanned.torn = self.left.len();
                    self.left = &[];
                } else {
                    self.look_further();
                }
                continue;
            };
            if number(said.get(8..)) != Some(crc32fast::hash(entries)) {
                self.look_further();
                continue;
            }
            (self.left, self.lost) = (after, false);
            return Some(entries);
        }
        None
    }
}
