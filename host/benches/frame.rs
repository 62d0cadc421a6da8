//! What reading costs: lines and events, by the size of a message and in pieces as a pipe gives them.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use wharf_core::frame::{DEFAULT_MAX, Framer};
use wharf_core::sse::Parser;

/// Bytes of one message.
const SIZES: [usize; 3] = [100, 10 << 10, 1 << 20];
/// What one read gives.
const PIECE: usize = 64 << 10;

fn main() {
    divan::main();
}

/// About 2 MiB of messages of `size`, each between `before` and `after`.
fn stream(size: usize, before: &str, after: &str) -> Vec<u8> {
    let message = format!(
        r#"{before}{{"jsonrpc":"2.0","id":1,"result":"{}"}}{after}"#,
        "x".repeat(size.saturating_sub(40))
    );
    message.repeat((2 << 20) / size + 1).into_bytes()
}

#[divan::bench(args = SIZES)]
fn lines(bencher: Bencher<'_, '_>, size: usize) {
    let stream = stream(size, "", "\n");
    bencher.counter(BytesCount::new(stream.len())).bench_local(|| {
        let mut framer = Framer::new(DEFAULT_MAX);
        let mut bytes = 0;
        for piece in stream.chunks(PIECE) {
            framer.push(piece);
            while let Some(line) = framer.next_line() {
                bytes += line.map_or(0, str::len);
            }
        }
        black_box(bytes)
    });
}

#[divan::bench(args = SIZES)]
fn events(bencher: Bencher<'_, '_>, size: usize) {
    let stream = stream(size, "event: message\ndata: ", "\n\n");
    bencher.counter(BytesCount::new(stream.len())).bench_local(|| {
        let mut parser = Parser::new(DEFAULT_MAX);
        let mut bytes = 0;
        for piece in stream.chunks(PIECE) {
            parser.push(piece);
            while let Some(event) = parser.next_event() {
                bytes += event.map_or(0, |event| event.data.len());
            }
        }
        black_box(bytes)
    });
}
