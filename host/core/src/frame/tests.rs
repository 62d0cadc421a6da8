use proptest::prelude::*;

use super::{Edges, FrameError, Framer, IDLE_CAPACITY};

type Line = Result<String, FrameError>;

fn drain(framer: &mut Framer, into: &mut Vec<Line>) {
    while let Some(line) = framer.next_line() {
        into.push(line.map(str::to_owned));
    }
}

fn lines(max: usize, pieces: &[&[u8]]) -> Vec<Line> {
    let (mut framer, mut out) = (Framer::new(max), Vec::new());
    for piece in pieces {
        framer.push(piece);
        drain(&mut framer, &mut out);
    }
    out
}

fn ok(line: &str) -> Line {
    Ok(line.to_owned())
}

#[test]
fn line_ends_are_lf_and_crlf_and_blank_lines_are_skipped() {
    assert_eq!(lines(99, &[b"\n{}\r\n\r\n  \n[1]\n{\"a\":1"]), [ok("{}"), ok("[1]")]);
}

#[test]
fn a_line_over_the_bound_is_reported_once_and_the_next_one_is_read() {
    let too_long = Err(FrameError::TooLong { max: 4 });
    assert_eq!(lines(4, &[b"12345678901234\nabcd\n"]), [too_long.clone(), ok("abcd")]);
    assert_eq!(lines(4, &[b"12345", b"6789", b"0\nab", b"cd\r", b"\n"]), [too_long.clone(), ok("abcd")]);
    assert_eq!(lines(4, &[b"abcd\r", b"x\nefgh\n"]), [too_long, ok("efgh")]);
}

#[test]
fn bad_utf8_and_a_byte_order_mark_are_told_apart() {
    assert_eq!(
        lines(99, &[b"ab\xFF\n\xEF\xBB\xBF{}\n{}\n"]),
        [Err(FrameError::NotUtf8 { at: 2 }), Err(FrameError::ByteOrderMark), ok("{}")]
    );
}

#[test]
fn memory_stays_within_the_bound_and_is_given_back() {
    const MAX: usize = 1 << 20;
    let piece = vec![b'x'; 8192];
    let mut framer = Framer::new(MAX);
    let mut reported = 0;
    for _ in 0..1000 {
        framer.push(&piece);
        while let Some(line) = framer.next_line() {
            assert_eq!(line, Err(FrameError::TooLong { max: MAX }));
            reported += 1;
        }
        assert!(framer.capacity() <= MAX + piece.len() + 2, "{}", framer.capacity());
    }
    assert_eq!(reported, 1);
    assert_eq!(framer.unfinished_len(), 0);
    framer.push(b"\n{}\n");
    assert_eq!(framer.next_line(), Some(Ok("{}")));
    assert!(framer.next_line().is_none());
    framer.push(b"{}\n");
    assert!(framer.capacity() <= IDLE_CAPACITY, "{}", framer.capacity());
    assert_eq!(framer.dropped_bytes(), 1000 * 8192);
}

#[test]
fn the_buffer_grows_once_for_a_line_as_long_as_the_last() {
    let (mut framer, piece) = (Framer::new(1 << 20), [b'x'; 16 << 10]);
    let mut grown = |pieces: usize| {
        let mut capacities = vec![framer.room(1).capacity()];
        for _ in 0..pieces {
            framer.push(&piece);
            assert!(framer.next_line().is_none());
            capacities.push(framer.capacity());
        }
        framer.push(b"\n");
        assert_eq!(framer.next_line().map(|line| line.map(str::len)), Some(Ok(pieces * piece.len())));
        assert!(framer.next_line().is_none());
        capacities.dedup();
        capacities.len() - 1
    };
    assert!(grown(40) > 1, "nothing is known of the first");
    assert_eq!((grown(40), grown(39)), (1, 1));
    assert_eq!(grown(1), 0, "what is short has room");
    framer.push(b"{");
    assert!(framer.room(IDLE_CAPACITY).capacity() <= 2 * IDLE_CAPACITY, "the begin of a line is no long one");
}

#[test]
fn an_unfinished_line_is_counted() {
    let mut framer = Framer::new(99);
    framer.push(b"{}\n{\"half");
    assert_eq!(framer.next_line(), Some(Ok("{}")));
    assert!(framer.next_line().is_none());
    assert_eq!(framer.unfinished_len(), 6);
}

/// The edges of `line`, dropped in pieces of `piece` bytes.
fn dropped(line: &str, piece: usize) -> Edges {
    let mut framer = Framer::new(8);
    for piece in format!("{line}\n").as_bytes().chunks(piece) {
        framer.push(piece);
        while framer.next_line().is_some() {}
    }
    assert!(framer.next_line().is_none());
    framer.take_dropped().expect("it was dropped").0
}

#[test]
fn the_ends_of_a_dropped_line_tell_whose_answer_it_was() {
    let x = "x".repeat(500);
    for (line, id) in [
        (format!(r#"{{"jsonrpc":"2.0","id":12,"result":{{"a":"{x}"}}}}"#), Some(12)),
        (format!(r#"{{ "jsonrpc": "2.0", "id": 12, "error": {{"a":"{x}"}} }}"#), Some(12)),
        (format!(r#"{{"id":12,"jsonrpc":"2.0","result":"{x}"}}"#), Some(12)),
        (format!(r#"{{"result":{{"id":3,"a":"{x}"}},"jsonrpc":"2.0","id":12}}"#), Some(12)),
        (format!(r#"{{"jsonrpc":"2.0","result":"{x}","id":12}}"#), Some(12)),
        (format!(r#"{{"result":"{x}","id":12,"jsonrpc":"2.0"}}"#), Some(12)),
        (format!(r#"{{"jsonrpc":"2.0","id":12,"method":"m","params":"{x}"}}"#), None),
        (format!(r#"{{"jsonrpc":"2.0","id":"12","result":"{x}"}}"#), None),
        (format!(r#"{{"jsonrpc":"2.0","method":"m","params":"{x}","id":12}}"#), None),
        (format!(r#"{{"jsonrpc":"2.0","result":{{"a":"{x}","id":12}}}}"#), None),
        (format!(r#"{{"jsonrpc":"2.0","result":"{x}","a,\"id":12}}"#), None),
        (format!(r#"{{"jsonrpc":"2.0","result":"{x},\"id\":12}}"#), None),
        (x.clone(), None),
    ] {
        for piece in [1, 7, 9999] {
            assert_eq!(dropped(&line, piece).answers(), id, "{line}");
        }
    }
}

/// What the framer must give, said in the simplest way.
fn model(max: usize, bytes: &[u8]) -> Vec<Line> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        let line = &rest[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        rest = &rest[end + 1..];
        if line.len() > max {
            out.push(Err(FrameError::TooLong { max }));
        } else if line.starts_with(b"\xEF\xBB\xBF") {
            out.push(Err(FrameError::ByteOrderMark));
        } else if !line.trim_ascii().is_empty() {
            out.push(match String::from_utf8(line.to_vec()) {
                Ok(line) => Ok(line),
                Err(error) => Err(FrameError::NotUtf8 { at: error.utf8_error().valid_up_to() }),
            });
        }
    }
    let tail = rest.len() > max + 1 || (rest.len() == max + 1 && !rest.ends_with(b"\r"));
    if tail {
        out.push(Err(FrameError::TooLong { max }));
    }
    out
}

/// Bytes in which line ends, marks and bad bytes are frequent.
fn soup() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let byte = prop_oneof![
        3 => Just(b'\n'), 2 => Just(b'\r'), 4 => Just(b'a'), 1 => Just(b' '), 1 => Just(0xFFu8),
        1 => Just(0xEFu8), 1 => Just(0xBBu8), 1 => Just(0xBFu8),
    ];
    prop::collection::vec(prop::collection::vec(byte, 0..12), 0..12)
}

proptest! {
    #[test]
    fn the_ends_of_a_dropped_line_are_the_same_however_it_is_cut(line in "[a-z]{9,400}", piece in 1usize..300) {
        prop_assert_eq!(dropped(&line, piece), dropped(&line, 9999));
    }

    #[test]
    fn any_split_of_the_bytes_gives_the_same_lines(pieces in soup(), max in 1usize..8) {
        let whole = pieces.concat();
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let single: Vec<&[u8]> = whole.chunks(1).collect();
        let expected = model(max, &whole);
        prop_assert_eq!(&lines(max, &[&whole]), &expected);
        prop_assert_eq!(&lines(max, &pieces), &expected);
        prop_assert_eq!(&lines(max, &single), &expected);
    }
}
