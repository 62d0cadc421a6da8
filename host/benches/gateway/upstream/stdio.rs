//! On its pipes: all whole lines that one read brought are answered by one write.

use std::io::{Read as _, Write as _};

use memchr::memchr;

use super::Server;
use crate::common::Outcome;

const CHUNK: usize = 256 << 10;

pub(super) fn serve(mut server: Server) -> Outcome<()> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let (mut buffer, mut out) = (vec![0; CHUNK], Vec::new());
    // What of the buffer is filled, and up to where it is known to hold no end of a line.
    let (mut filled, mut seen) = (0, 0);
    loop {
        if filled == buffer.len() {
            buffer.resize(buffer.len() * 2, 0);
        }
        let read = input.read(buffer.get_mut(filled..).unwrap_or_default())?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let mut begin = 0;
        while let Some(length) = buffer.get(seen..filled).and_then(|rest| memchr(b'\n', rest)) {
            if server.answer(buffer.get(begin..seen + length).unwrap_or_default(), &mut out) {
                out.push(b'\n');
            }
            seen += length + 1;
            begin = seen;
        }
        buffer.copy_within(begin..filled, 0);
        filled -= begin;
        seen = filled;
        if !out.is_empty() {
            // Past the buffer of the standard library, which would cut it at its last line.
            output.write_all(&out)?;
            output.flush()?;
            out.clear();
        }
    }
}
