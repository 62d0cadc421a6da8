//! Messages as lines on a pair of byte streams: what the author's server and the native worker have in common.
//!
//! The thread that reads never waits for a write. A peer that writes before it reads would otherwise wait for us while we
//! wait for it. So all that goes out passes an [`Outbox`] with a thread of its own.
//!
//! What is not here: what a message means. Only its end and its length are looked at.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::time::Duration;

mod outbox;

pub use outbox::Outbox;

/// The longest line that is read, without its end.
pub const MAX_LINE: usize = 16 << 20;

/// How long the last answers may take to be written, once the input has ended.
const LAST_WRITES: Duration = Duration::from_secs(10);

/// Where messages go. May be called from any thread; copies what it is given.
pub type Sink = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Something that takes messages, one at a time or several at once, and answers through the [`Sink`] it was opened with.
pub trait Pipe: Send + Sync {
    /// Takes one message. Returns soon: work that takes time goes on elsewhere.
    fn receive(&self, message: &[u8]);

    /// Lets what is in flight end, within a bound of its own.
    fn close(&self);
}

/// What [`read_line`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line; it may be empty.
    Whole,
    /// A line over the bound, read to its end and thrown away.
    TooLong,
    /// The input has ended.
    End,
}

/// Reads one line into `line`, without its end (`\n` or `\r\n`). A last line without an end counts.
///
/// # Errors
/// If the input fails.
pub fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>, bound: usize) -> io::Result<Line> {
    line.clear();
    let (mut any, mut too_long) = (false, false);
    loop {
        let (used, ended) = {
            let available = match input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                break;
            }
            let (text, ended) = match available.iter().position(|byte| *byte == b'\n') {
                Some(at) => (available.get(..at).unwrap_or_default(), true),
                None => (available, false),
            };
            // One more than the bound, for the `\r` of `\r\n`.
            too_long |= line.len() + text.len() > bound + 1;
            if !too_long {
                line.extend_from_slice(text);
            }
            (text.len() + usize::from(ended), ended)
        };
        any = true;
        input.consume(used);
        if ended {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    if !any {
        return Ok(Line::End);
    }
    if too_long || line.len() > bound {
        line.clear();
        return Ok(Line::TooLong);
    }
    Ok(Line::Whole)
}

/// Opens a pipe and pumps lines into it until the input ends; then closes it and writes what is left to write.
///
/// # Errors
/// If the pipe does not open, the input or the output fails, or the peer sends without reading.
pub fn pump<P: Pipe>(
    input: impl Read,
    output: impl Write + Send + 'static,
    open: impl FnOnce(Sink) -> io::Result<P>,
) -> io::Result<()> {
    let outbox = Outbox::start(output)?;
    let out = Arc::clone(&outbox);
    let pipe = open(Arc::new(move |message: &[u8]| out.push(message)))?;
    let read = read_all(&mut BufReader::with_capacity(64 << 10, input), &pipe, &outbox);
    pipe.close();
    // A pipe may close for good when it is dropped, and what it says then is still written.
    drop(pipe);
    read.and(outbox.finish(LAST_WRITES))
}

fn read_all(input: &mut impl BufRead, pipe: &impl Pipe, outbox: &Outbox) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        match read_line(input, &mut line, MAX_LINE)? {
            Line::End => return Ok(()),
            // The id of what is thrown away is not known, so the answer has none.
            Line::TooLong => outbox.push(
                br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"the message is longer than 16 MiB"}}"#,
            ),
            Line::Whole if line.iter().all(u8::is_ascii_whitespace) => {}
            Line::Whole => pipe.receive(&line),
        }
        outbox.check()?;
        if line.capacity() > 1 << 20 {
            line = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests;
