//! What must hold for any input: shared by the fuzz targets and by the replay of their corpus.

#![allow(dead_code, reason = "each target uses one of these")]

use serde_json::Value;
use serde_json::value::RawValue;
use wharf_core::frame::{FrameError, Framer};
use wharf_core::splice;
use wharf_core::sse::{Event, Parser, SseError};

/// Lines do not depend on how the bytes are cut, and the buffer stays within its bound.
pub(crate) fn frame(input: &[u8]) {
    let Some((first, stream)) = input.split_first() else { return };
    let max = usize::from(*first) + 1;
    let piece = usize::from(*first % 7) + 2;
    let expected = lines(max, [stream].into_iter());
    assert_eq!(lines(max, stream.chunks(piece)), expected);
    assert_eq!(lines(max, stream.chunks(1)), expected);
}

/// Events do not depend on how the bytes are cut.
pub(crate) fn sse(input: &[u8]) {
    let Some((first, stream)) = input.split_first() else { return };
    let max = usize::from(*first);
    let piece = usize::from(*first % 7) + 2;
    let expected = events(max, [stream].into_iter());
    assert_eq!(events(max, stream.chunks(piece)), expected);
    assert_eq!(events(max, stream.chunks(1)), expected);
}

/// An edit gives JSON that differs from what was there in the edited place alone.
pub(crate) fn splice(input: &[u8]) {
    let Ok(raw) = serde_json::from_slice::<&RawValue>(input) else { return };
    let Some(edited) = splice::with_meta_progress_token(Some(raw), 7) else { panic!("no edit") };
    // Some raw values are no tree, e.g. numbers beyond every float: there is nothing to compare with.
    let (Ok(mut tree), Ok(edited)) = (parse(raw), parse(&edited)) else { return };
    if let Value::Object(object) = &mut tree {
        let meta = object.entry("_meta").or_insert(Value::Null);
        if meta.is_null() {
            *meta = Value::Object(serde_json::Map::new());
        }
        if let Value::Object(meta) = meta {
            meta.insert("progressToken".to_owned(), 7.into());
        }
    }
    assert_eq!(edited, tree);
    assert_eq!(splice::items(raw.get().as_bytes(), usize::MAX).is_some(), tree.is_array());
}

fn parse(raw: &RawValue) -> serde_json::Result<Value> {
    serde_json::from_str(raw.get())
}

fn lines<'a>(max: usize, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Result<String, FrameError>> {
    let (mut framer, mut out) = (Framer::new(max), Vec::new());
    for piece in pieces {
        framer.push(piece);
        while let Some(line) = framer.next_line() {
            assert!(line.is_ok_and(|line| line.len() <= max && !line.contains('\n')) || line.is_err());
            out.push(line.map(str::to_owned));
        }
        assert!(framer.unfinished_len() <= max + 1);
    }
    out
}

fn events<'a>(max: usize, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Result<Event, SseError>> {
    let (mut parser, mut out) = (Parser::new(max), Vec::new());
    for piece in pieces {
        parser.push(piece);
        while let Some(event) = parser.next_event() {
            out.push(event);
        }
    }
    out
}
