//! Direct calls over the pipes of a child: so many open at a time, all that one read made possible written at once.

use std::collections::HashMap;
use std::time::Instant;

use memchr::memchr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::children;
use crate::common::Outcome;
use crate::load::Block;
use crate::wire::{Talk, id_of};

pub(crate) struct Pipes {
    stdin: ChildStdin,
    stdout: ChildStdout,
    talk: Talk,
    at_a_time: usize,
    open: HashMap<u64, Instant>,
    out: Vec<u8>,
    input: Vec<u8>,
    _child: Child,
}

impl Pipes {
    pub(crate) fn start(talk: Talk, at_a_time: usize) -> Outcome<Self> {
        let (child, stdin, stdout) = children::piped(&["upstream", "stdio"])?;
        let (open, out, input) = (HashMap::new(), Vec::new(), Vec::with_capacity(256 << 10));
        Ok(Self { stdin, stdout, talk, at_a_time, open, out, input, _child: child })
    }

    /// Calls until `end`, then waits for those that are open.
    pub(crate) async fn flood(&mut self, end: Instant, block: &mut Block) -> Outcome<()> {
        for _ in 0..self.at_a_time {
            self.ask();
        }
        let (mut written, mut seen) = (0, 0);
        while !self.open.is_empty() {
            // Both at once: whoever only writes blocks a child that only writes.
            tokio::select! {
                wrote = self.stdin.write(self.out.get(written..).unwrap_or_default()), if written < self.out.len() => {
                    written += wrote?;
                    if written == self.out.len() {
                        self.out.clear();
                        written = 0;
                    }
                }
                read = self.stdout.read_buf(&mut self.input) => {
                    if read? == 0 {
                        return Err("the upstream has ended".into());
                    }
                    seen = self.answers(seen, end, block);
                }
            }
        }
        Ok(())
    }

    fn ask(&mut self) {
        let (number, request) = self.talk.ask();
        self.out.extend_from_slice(request);
        self.open.insert(number, Instant::now());
    }

    /// Takes the whole lines and asks again for each; how much of what is left is known to hold no end of a line.
    fn answers(&mut self, mut seen: usize, end: Instant, block: &mut Block) -> usize {
        let (mut begin, now) = (0, Instant::now());
        let mut again = 0;
        while let Some(length) = self.input.get(seen..).and_then(|rest| memchr(b'\n', rest)) {
            let line = self.input.get(begin..seen + length).unwrap_or_default();
            let number = id_of(line);
            match number.and_then(|number| Some((number, self.open.remove(&number)?))) {
                Some((number, start)) if self.talk.is_right(line, number) => block.good(now - start),
                _ => block.bad(format!("not the answer: {}", String::from_utf8_lossy(line))),
            }
            again += usize::from(now < end);
            seen += length + 1;
            begin = seen;
        }
        self.input.drain(..begin);
        for _ in 0..again {
            self.ask();
        }
        self.input.len()
    }
}
