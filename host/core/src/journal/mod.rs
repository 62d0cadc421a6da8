//! What the host writes down of its calls, as bytes: how an entry looks, how a record of entries is framed so that a torn or
//! corrupt one is told from a whole one, what a segment says at its start, and what a reader makes of it all.
//!
//! A segment is a head and then records. A record is one write: a frame with a checksum, and in it entries. Nothing here
//! knows files. What is read may be any bytes at all: a host that was killed has written half a record, a disk gave back
//! others than were written, a newer version wrote what we do not know.

mod carry;
mod entry;
mod frame;
mod replay;
#[cfg(test)]
mod tests;

pub use carry::{Kept, NewestKeys, kept};
pub use entry::{Answer, Entry, Keyed, MAX_ANSWER, MAX_TEXT, Outcome, Sent, Settled, entries};
pub use frame::{FRAME, HEAD, HeadError, MAX_RECORD, Records, Scanned, begin, head, read_head, seal};
pub use replay::{KeyState, RecoveredCall, RecoveredKey, Recovery, Replay};
