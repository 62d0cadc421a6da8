use std::time::Duration;

use proptest::prelude::*;

use super::{Event, Parser, SseError};

type Out = Result<Event, SseError>;

fn run(max: usize, pieces: &[&[u8]]) -> (Vec<Out>, Parser) {
    let (mut parser, mut out) = (Parser::new(max), Vec::new());
    for piece in pieces {
        parser.push(piece);
        while let Some(event) = parser.next_event() {
            out.push(event);
        }
    }
    (out, parser)
}

fn events(stream: &str) -> Vec<Out> {
    run(999, &[stream.as_bytes()]).0
}

fn data(data: &str) -> Out {
    Ok(Event { kind: None, data: data.to_owned() })
}

fn named(kind: &str, data: &str) -> Out {
    Ok(Event { kind: Some(kind.to_owned()), data: data.to_owned() })
}

#[test]
fn the_standards_own_examples() {
    assert_eq!(events("data: YHOO\ndata: +2\ndata: 10\n\n"), [data("YHOO\n+2\n10")]);
    assert_eq!(
        events(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n"),
        [data("first event"), data("second event")]
    );
    assert_eq!(events("data\n\ndata\ndata\n\ndata:"), [data(""), data("\n")]);
    assert_eq!(events("data:test\n\ndata: test\n\n"), [data("test"), data("test")]);
}

#[test]
fn six_legal_inputs_on_which_parsers_stumble() {
    assert_eq!(events("\u{feff}data: a\n\n"), [data("a")]);
    assert_eq!(events("foo: x\ndata: a\n\n"), [data("a")]);
    assert_eq!(events("data\n\n"), [data("")]);
    assert_eq!(events("event: a\nevent: b\ndata: 1\n\n"), [named("b", "1")]);
    assert_eq!(events("retry: soon\ndata: a\n\n"), [data("a")]);
    assert_eq!(events("data: a\r\rdata: b\r\n\r\n"), [data("a"), data("b")]);
}

#[test]
fn a_mark_inside_the_stream_is_no_mark() {
    assert_eq!(events("data: a\n\n\u{feff}data: b\n\n"), [data("a")]);
}

#[test]
fn an_event_ended_by_cr_comes_out_at_once() {
    let (out, _) = run(99, &[b"data: a\r\r"]);
    assert_eq!(out, [data("a")]);
    let (out, _) = run(99, &[b"data: a\r", b"\n\r", b"\ndata: b\r\n", b"\r"]);
    assert_eq!(out, [data("a"), data("b")]);
}

#[test]
fn ids_stay_until_changed_and_one_with_nul_is_ignored() {
    assert_eq!(run(99, &[b"id: 7\ndata: a\n\ndata: b\n\n"]).1.last_event_id(), "7");
    assert_eq!(run(99, &[b"id: 7\n\nid: 8\0\n\n"]).1.last_event_id(), "7");
    assert_eq!(run(99, &[b"id: 7\n\nid\n\n"]).1.last_event_id(), "");
    assert_eq!(
        run(99, &[b"id: 7\n\nid: 8\n"]).1.last_event_id(),
        "7",
        "an unfinished block counts for nothing"
    );
}

#[test]
fn retry_is_digits_only_and_bounded() {
    assert_eq!(run(99, &[b"retry: 1500\n\n"]).1.retry(), Some(Duration::from_millis(1500)));
    assert_eq!(run(99, &[b"retry: -1\nretry: 1.5\nretry\nretry: 0x1\n\n"]).1.retry(), None);
    assert_eq!(run(99, &[b"retry: 99999999999999999999999\n\n"]).1.retry(), Some(Duration::from_secs(86400)));
}

#[test]
fn an_event_over_the_bound_is_dropped_and_the_next_one_is_read() {
    let too_large = Err(SseError::TooLarge { max: 20 });
    let long = "x".repeat(99);
    let one_line = format!("event: e\ndata: {long}\nid: 3\n\ndata: b\n\n");
    let many_lines = format!("{}\ndata: b\n\n", "data: 123456\n".repeat(9));
    for stream in [&one_line, &many_lines] {
        let single: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        for pieces in [&single[..], &[stream.as_bytes()]] {
            let (out, parser) = run(20, pieces);
            assert_eq!(out, [too_large.clone(), data("b")], "{stream}");
            assert_eq!(parser.last_event_id(), "", "fields of a dropped event count for nothing");
        }
    }
}

#[test]
fn a_stream_without_line_ends_is_not_held() {
    let mut parser = Parser::new(1 << 20);
    let piece = vec![b'x'; 8192];
    let mut errors = 0;
    for _ in 0..1000 {
        parser.push(&piece);
        while let Some(event) = parser.next_event() {
            assert!(event.is_err());
            errors += 1;
        }
        assert!(parser.capacity() <= 3 << 20, "{}", parser.capacity());
    }
    assert_eq!(errors, 1);
}

#[test]
fn data_that_is_not_utf8_is_an_error_and_not_changed_in_silence() {
    assert_eq!(run(99, &[b"data: \xFF\n\ndata: a\n\n"]).0, [Err(SseError::NotUtf8), data("a")]);
}

/// What the parser must give, said in the simplest way: lines by the standard's rule, then fields.
fn model(stream: &[u8]) -> Vec<Out> {
    let text = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let text = String::from_utf8(text.to_vec()).expect("the soup is ASCII but for the mark");
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = Vec::new();
    let (mut kind, mut lines): (Option<String>, Vec<String>) = (None, Vec::new());
    let mut all: Vec<&str> = text.split('\n').collect();
    all.pop();
    for line in all {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" if line.is_empty() => {
                if !lines.is_empty() {
                    out.push(Ok(Event { kind: kind.clone(), data: lines.join("\n") }));
                }
                (kind, lines) = (None, Vec::new());
            }
            "data" => lines.push(value.to_owned()),
            "event" => kind = (!value.is_empty()).then(|| value.to_owned()),
            _ => {}
        }
    }
    out
}

fn soup() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "\n", "\n", "\r", "\r\n", "\n\n", "data", "data:", "data: ", "event:", "event", "id:", "retry:", ":",
        " ", "a", "7",
    ]);
    (any::<bool>(), prop::collection::vec(word, 0..40)).prop_map(|(mark, words)| {
        let mut out = if mark { b"\xEF\xBB\xBF".to_vec() } else { Vec::new() };
        out.extend(words.concat().bytes());
        out
    })
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_events(stream in soup(), size in 1usize..9) {
        let expected = model(&stream);
        let pieces: Vec<&[u8]> = stream.chunks(size).collect();
        prop_assert_eq!(&run(9999, &[&stream]).0, &expected);
        prop_assert_eq!(&run(9999, &pieces).0, &expected);
    }

    #[test]
    fn a_bound_cuts_at_the_same_event_however_the_bytes_come(stream in soup(), size in 1usize..9, max in 0usize..6) {
        let pieces: Vec<&[u8]> = stream.chunks(size).collect();
        prop_assert_eq!(run(max, &[&stream]).0, run(max, &pieces).0);
    }

    #[test]
    fn no_bytes_make_it_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        run(8, &pieces);
    }
}
