//! A plugin's log: its last lines, and what comes, as text or as events.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;
use wharf_core::Code;

use super::Edge;
use super::params::{Asked, Names};
use crate::process::logs::{LogBook, LogLine};
use crate::route::Failure;
use crate::serve::problem::{Answer, Problem};
use crate::serve::sse::{self, KEEP_ALIVE, PULSE};
use crate::telemetry::harmless;

/// Lines without `tail`.
const TAIL: usize = 100;
/// Lines at most.
const MOST: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    follow: Option<String>,
    tail: Option<usize>,
    since: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Text,
    Events,
}

struct Follow {
    ready: VecDeque<LogLine>,
    /// Lines up to this one were sent.
    sent: u64,
    live: broadcast::Receiver<LogLine>,
    shape: Shape,
    ending: CancellationToken,
}

/// `GET /api/v1/plugins/{id}/logs`
pub(super) async fn read(
    State(edge): State<Edge>,
    Names(id): Names<String>,
    Asked(filter): Asked<Filter>,
    headers: HeaderMap,
) -> Answer {
    let book = edge.host.logs(&id).ok_or_else(|| Failure::no_plugin(&id))?;
    let follow = parse_flag(filter.follow.as_deref())?;
    let since = filter.since.as_deref().map(|text| parse_since(text, SystemTime::now())).transpose()?;
    let shape = if sse::wanted(&headers) { Shape::Events } else { Shape::Text };
    let (lines, live) = open(&book, filter.tail.unwrap_or(TAIL).min(MOST), since);
    let body = if follow {
        sse::stream_body(following(lines, live, shape, edge.tasks.ending().clone()))
    } else {
        lines.iter().map(|line| encode(line, shape)).collect::<Vec<_>>().concat().into()
    };
    let kind = match shape {
        Shape::Text => "text/plain; charset=utf-8",
        Shape::Events => "text/event-stream",
    };
    Ok(([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")], body).into_response())
}

/// Joins the feed first and reads the kept lines then: a line between the two comes twice, and is told apart by its number.
fn open(
    book: &LogBook,
    tail: usize,
    since: Option<SystemTime>,
) -> (Vec<LogLine>, broadcast::Receiver<LogLine>) {
    let live = book.subscribe();
    let mut lines = book.tail(tail);
    lines.retain(|line| since.is_none_or(|since| line.at >= since));
    (lines, live)
}

fn following(
    lines: Vec<LogLine>,
    live: broadcast::Receiver<LogLine>,
    shape: Shape,
    ending: CancellationToken,
) -> impl Stream<Item = Bytes> + Send + 'static {
    let sent = lines.last().map_or(0, |line| line.seq);
    stream::unfold(Follow { ready: lines.into(), sent, live, shape, ending }, next)
}

async fn next(mut log: Follow) -> Option<(Bytes, Follow)> {
    if let Some(line) = log.ready.pop_front() {
        return Some((encode(&line, log.shape), log));
    }
    loop {
        let bytes = tokio::select! {
            () = log.ending.cancelled() => return None,
            line = log.live.recv() => match line {
                Ok(line) if line.seq <= log.sent => continue,
                Ok(line) => encode(&line, log.shape),
                Err(RecvError::Lagged(lost)) => lag(lost, log.shape),
                Err(RecvError::Closed) => return None,
            },
            // Text has no comment that a reader would skip.
            () = tokio::time::sleep(KEEP_ALIVE), if log.shape == Shape::Events => PULSE,
        };
        return Some((bytes, log));
    }
}

fn encode(line: &LogLine, shape: Shape) -> Bytes {
    match shape {
        Shape::Text => text_line(line).into(),
        // Plain data: this does not fail.
        Shape::Events => sse::frame("line", Some(&line.seq), &serde_json::to_vec(line).unwrap_or_default()),
    }
}

fn text_line(line: &LogLine) -> String {
    let LogLine { at, instance, generation, stream, text, .. } = line;
    let at = humantime::format_rfc3339_millis(*at);
    format!("{at} {instance}#{generation} {stream} {}\n", harmless(text, &['\t']))
}

fn lag(lost: u64, shape: Shape) -> Bytes {
    match shape {
        Shape::Text => format!("# wharf: {lost} lines lost, the reader was too slow\n").into(),
        Shape::Events => sse::frame("lag", None, json!({"lost": lost}).to_string().as_bytes()),
    }
}

fn parse_flag(text: Option<&str>) -> Result<bool, Problem> {
    match text {
        None | Some("false" | "0") => Ok(false),
        Some("" | "true" | "1") => Ok(true),
        Some(other) => {
            Err(Problem::new(Code::BadRequest, format!("follow={other:?} is neither true nor false")))
        }
    }
}

/// A time (RFC 3339) or how long ago (`10m`).
fn parse_since(text: &str, now: SystemTime) -> Result<SystemTime, Problem> {
    let ago = || humantime::parse_duration(text).ok().and_then(|ago: Duration| now.checked_sub(ago));
    humantime::parse_rfc3339_weak(text).ok().or_else(ago).ok_or_else(|| {
        let detail =
            format!("since={text:?} is neither a time like 2026-01-31T12:00:00Z nor a duration like 10m");
        Problem::new(Code::BadRequest, detail)
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use futures_util::StreamExt;
    use tokio::sync::broadcast;
    use tokio_util::sync::CancellationToken;

    use super::{LogLine, Shape, encode, following, parse_flag, parse_since};

    fn line(seq: u64, text: &str) -> LogLine {
        let at = UNIX_EPOCH + Duration::from_millis(1_500);
        LogLine { seq, at, instance: 0, generation: 2, stream: "stderr", text: text.into() }
    }

    #[test]
    fn a_line_is_told_with_time_place_and_stream() {
        let text = encode(&line(1, "hello\u{1b}[2J\tworld"), Shape::Text);
        assert_eq!(text, "1970-01-01T00:00:01.500Z 0#2 stderr hello\\u{1b}[2J\tworld\n");
        let event = encode(&line(7, "a\r\nevent: x"), Shape::Events);
        assert!(event.starts_with(b"id: 7\nevent: line\ndata: {\"seq\":7,"));
        assert_eq!(event.iter().filter(|b| **b == b'\n').count(), 4);
    }

    #[tokio::test]
    async fn following_sends_each_line_once_and_tells_what_it_lost() {
        let (sender, live) = broadcast::channel(4);
        let ending = CancellationToken::new();
        for seq in 1..=3 {
            sender.send(line(seq, "x")).unwrap();
        }
        let mut log =
            Box::pin(following(vec![line(1, "x"), line(2, "x")], live, Shape::Events, ending.clone()));
        let mut id = async || {
            let frame = log.next().await?;
            let text = String::from_utf8(frame.to_vec()).unwrap();
            Some(text.lines().next().unwrap().to_owned())
        };
        for expected in ["id: 1", "id: 2", "id: 3"] {
            assert_eq!(id().await.as_deref(), Some(expected));
        }
        for seq in 4..=9 {
            sender.send(line(seq, "x")).unwrap();
        }
        for expected in ["event: lag", "id: 6", "id: 7", "id: 8", "id: 9"] {
            assert_eq!(id().await.as_deref(), Some(expected));
        }
        ending.cancel();
        assert_eq!(id().await, None);
    }

    #[test]
    fn parameters_are_read_strictly() {
        for (text, flag) in
            [(None, Some(false)), (Some(""), Some(true)), (Some("1"), Some(true)), (Some("no"), None)]
        {
            assert_eq!(parse_flag(text).ok(), flag, "{text:?}");
        }
        let now = SystemTime::now();
        assert_eq!(parse_since("10m", now).unwrap(), now - Duration::from_secs(600));
        assert_eq!(parse_since("1970-01-01T00:00:01Z", now).unwrap(), UNIX_EPOCH + Duration::from_secs(1));
        for bad in ["", "yesterday", "-1m", "99999999999999999999y"] {
            assert!(parse_since(bad, now).is_err(), "{bad}");
        }
    }
}
