use std::io::{self, BufReader, Read, Write};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use super::{Line, Outbox, Pipe, Sink, pump, read_line};

const PATIENCE: Duration = Duration::from_secs(30);

/// All lines of `input`, read in pieces of `piece` bytes.
fn lines(input: &[u8], piece: usize, bound: usize) -> Vec<(Line, Vec<u8>)> {
    let mut input = BufReader::with_capacity(piece, input);
    let mut out = Vec::new();
    loop {
        let mut line = Vec::new();
        match read_line(&mut input, &mut line, bound).unwrap() {
            Line::End => return out,
            kind @ (Line::Whole | Line::TooLong) => out.push((kind, line)),
        }
    }
}

#[test]
fn lines_end_with_lf_crlf_or_the_input() {
    for piece in [1, 2, 3, 100] {
        let found = lines(b"a\r\nbb\n\nc\rd", piece, 10);
        let texts: Vec<_> = found.iter().map(|(_, text)| text.as_slice()).collect();
        assert_eq!(texts, [&b"a"[..], b"bb", b"", b"c\rd"], "pieces of {piece}");
    }
}

#[test]
fn a_line_over_the_bound_is_skipped_and_the_next_one_is_read() {
    for piece in [1, 3, 100] {
        let found = lines(b"12345\n123456\n12345\r\n1234567890\nok", piece, 5);
        let kinds: Vec<_> = found.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            kinds,
            [Line::Whole, Line::TooLong, Line::Whole, Line::TooLong, Line::Whole],
            "pieces of {piece}"
        );
        assert_eq!(found[4].1, b"ok");
    }
}

/// An output that stands still until it is let go.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<Held>, Condvar)>);

#[derive(Default)]
struct Held {
    open: bool,
    written: Vec<u8>,
}

impl Gate {
    fn let_go(&self) {
        self.0.0.lock().unwrap().open = true;
        self.0.1.notify_all();
    }

    fn written(&self) -> Vec<u8> {
        self.0.0.lock().unwrap().written.clone()
    }
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let state = self.0.0.lock().unwrap();
        let (mut state, waited) = self.0.1.wait_timeout_while(state, PATIENCE, |s| !s.open).unwrap();
        assert!(!waited.timed_out(), "nobody let the output go");
        state.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_reader_does_not_wait_for_the_writer() {
    let output = Gate::default();
    let outbox = Outbox::start(output.clone()).unwrap();
    // More than others may queue, while the output stands still.
    let message = vec![b'1'; 1 << 20];
    for _ in 0..20 {
        outbox.push(&message);
    }
    outbox.check().unwrap();
    output.let_go();
    outbox.finish(PATIENCE).unwrap();
    assert_eq!(output.written().len(), 20 * (message.len() + 1));
}

#[test]
fn a_peer_that_never_reads_is_given_up() {
    let output = Gate::default();
    let outbox = Outbox::start(output.clone()).unwrap();
    let message = vec![b'1'; 1 << 20];
    let refused = (0..100).find(|_| {
        outbox.push(&message);
        outbox.check().is_err()
    });
    output.let_go();
    assert!(refused.is_some(), "the queue has no bound");
}

#[test]
fn others_wait_for_room_and_lose_nothing() {
    let output = Gate::default();
    let outbox = Outbox::start(output.clone()).unwrap();
    let message = vec![b'1'; 1 << 20];
    let (pushed, counted) = mpsc::channel();
    let worker = thread::spawn({
        let (outbox, message) = (Arc::clone(&outbox), message.clone());
        move || {
            for n in 0..40 {
                outbox.push(&message);
                pushed.send(n).unwrap();
            }
        }
    });
    // It has filled the queue, and is let go on only by the output.
    for _ in 0..16 {
        counted.recv_timeout(PATIENCE).unwrap();
    }
    output.let_go();
    worker.join().unwrap();
    outbox.finish(PATIENCE).unwrap();
    assert_eq!(output.written().len(), 40 * (message.len() + 1));
}

#[test]
fn a_message_is_one_line_whatever_it_holds() {
    let output = Gate::default();
    output.let_go();
    let outbox = Outbox::start(output.clone()).unwrap();
    outbox.push(b"{\"a\":\r\n1}");
    outbox.finish(PATIENCE).unwrap();
    assert_eq!(output.written(), b"{\"a\":  1}\n");
}

struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_output_that_fails_is_reported() {
    let outbox = Outbox::start(Broken).unwrap();
    outbox.push(b"1");
    assert_eq!(outbox.finish(PATIENCE).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

/// Sends back what it gets, and a last word when it is dropped.
struct Mirror(Sink);

impl Pipe for Mirror {
    fn receive(&self, message: &[u8]) {
        (self.0)(message);
    }

    fn close(&self) {
        (self.0)(b"closed");
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        (self.0)(b"dropped");
    }
}

#[test]
fn a_pump_brings_messages_in_and_out_and_closes_at_the_end_of_input() {
    let output = Gate::default();
    output.let_go();
    let long = io::repeat(b'x').take(super::MAX_LINE as u64 + 1);
    let input = b"one\n\n  \r\n".chain(long).chain(&b"\ntwo"[..]);
    pump(input, output.clone(), |sink| Ok(Mirror(sink))).unwrap();
    let text = String::from_utf8(output.written()).unwrap();
    let seen: Vec<_> = text.lines().collect();
    assert_eq!(seen.len(), 5, "{text}");
    assert_eq!([seen[0], seen[2], seen[3], seen[4]], ["one", "two", "closed", "dropped"]);
    assert!(seen[1].contains("-32600"), "{}", seen[1]);
}
