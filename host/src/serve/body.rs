//! Request bodies: bounded in size and time, JSON only. What is inside stays raw.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use wharf_core::Code;

use super::heads::Heads;
use super::problem::Problem;
use crate::deaf::deaf;

/// The longest body.
pub(crate) const LIMIT: usize = 4 * 1024 * 1024;
/// From the end of the head to the end of the body.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Room that is made for a body before it is there. Only what comes of it is ever touched.
const ROOM: usize = 2 << 20;

/// A body of JSON, or none at all. That it is JSON is claimed by its type only: the reader parses.
pub(crate) struct JsonBody(pub(crate) Option<Bytes>);

impl<S: Sync> FromRequest<S> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        json(&Heads::of(&head.headers), body).await.map(Self)
    }
}

/// The body of a request with these headers: JSON, or none at all.
pub(super) async fn json<B>(heads: &Heads<'_>, body: B) -> Result<Option<Bytes>, Problem>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<axum::BoxError>,
{
    let is_json = claims_json(heads)?;
    // Before a byte of it is read, or asked for with `100 Continue`.
    if body.size_hint().lower() > LIMIT as u64 {
        return Err(too_large());
    }
    let bytes = pin!(read(body)).await?;
    match (bytes.is_empty(), is_json) {
        (true, _) => Ok(None),
        (false, true) => Ok(Some(bytes)),
        (false, false) => {
            let detail = "send the body with `Content-Type: application/json`";
            Err(Problem::new(Code::UnsupportedMediaType, detail))
        }
    }
}

/// Whether these headers say that the body is JSON.
pub(super) fn claims_json(heads: &Heads<'_>) -> Result<bool, Problem> {
    // Mostly it is spelled like this.
    if heads.content_type.is("application/json") {
        return Ok(true);
    }
    let kind = heads.content_type.single().map_err(|()| {
        Problem::new(Code::BadRequest, "more than one Content-Type header, or one that is not text")
    })?;
    Ok(kind.is_some_and(is_json))
}

async fn read<B>(body: B) -> Result<Bytes, Problem>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<axum::BoxError>,
{
    let mut body = pin!(body);
    // The way of nearly every call: all of it came with the head, in one piece.
    let first = match deaf(|| body.frame().now_or_never()) {
        Some(None) => return Ok(Bytes::new()),
        Some(Some(frame)) => frame.map_err(|error| broke_off(error.into()))?.into_data().ok(),
        None => None,
    };
    let first = first.unwrap_or_default();
    if first.len() > LIMIT {
        return Err(too_large());
    }
    if body.is_end_stream() {
        return Ok(first);
    }
    // There is more to come: the connection has to hear that there is room for it.
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        Poll::Ready(())
    })
    .await;
    let more = usize::try_from(body.size_hint().lower()).unwrap_or(ROOM).min(ROOM);
    let mut whole = Vec::with_capacity(first.len() + more);
    whole.extend_from_slice(&first);
    drop(first);
    tokio::time::timeout(DEADLINE, rest(body, &mut whole)).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} s", DEADLINE.as_secs());
        Err(Problem::new(Code::BadRequest, detail))
    })?;
    Ok(whole.into())
}

/// What still comes, behind what is there.
async fn rest<B>(mut body: Pin<&mut B>, whole: &mut Vec<u8>) -> Result<(), Problem>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<axum::BoxError>,
{
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| broke_off(error.into()))?.into_data() else { continue };
        if data.len() > LIMIT - whole.len() {
            return Err(too_large());
        }
        whole.extend_from_slice(&data);
    }
    Ok(())
}

fn broke_off(error: axum::BoxError) -> Problem {
    Problem::new(Code::BadRequest, format!("the body broke off: {error}"))
}

fn too_large() -> Problem {
    Problem::new(Code::TooLarge, format!("the body is longer than {LIMIT} bytes"))
}

fn is_json(kind: &str) -> bool {
    kind.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{Future, poll_fn};
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use axum::body::Body;
    use axum::extract::FromRequest;
    use bytes::Bytes;
    use futures_util::stream;
    use http::Request;
    use http_body_util::Full;
    use hyper::body::Incoming;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use wharf_core::Code;

    use super::{DEADLINE, JsonBody, LIMIT};
    use crate::deaf::Ear;
    use crate::serve::heads::Heads;
    use crate::tasks::Tasks;

    async fn extract(kind: Option<&str>, body: Body) -> Result<Option<Bytes>, Code> {
        let mut request = Request::builder();
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        JsonBody::from_request(request.body(body).unwrap(), &()).await.map(|b| b.0).map_err(|p| p.code())
    }

    #[tokio::test]
    async fn a_body_must_be_json_by_its_type() {
        let json = Some("application/json");
        assert_eq!(extract(json, "{}".into()).await, Ok(Some("{}".into())));
        assert_eq!(
            extract(Some("Application/JSON; charset=utf-8"), "{}".into()).await,
            Ok(Some("{}".into()))
        );
        assert_eq!(extract(None, Body::empty()).await, Ok(None));
        assert_eq!(extract(json, Body::empty()).await, Ok(None));
        for kind in
            [None, Some("text/plain"), Some("application/jsonx"), Some("application/x-www-form-urlencoded")]
        {
            assert_eq!(extract(kind, "{}".into()).await, Err(Code::UnsupportedMediaType), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn a_body_is_bounded() {
        let json = Some("application/json");
        assert!(extract(json, vec![b' '; LIMIT].into()).await.is_ok());
        assert_eq!(extract(json, vec![b' '; LIMIT + 1].into()).await, Err(Code::TooLarge));
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_put_together_and_bounded_as_a_whole() {
        let json = Some("application/json");
        let pieces = |sizes: &[usize]| {
            let pieces: Vec<_> =
                sizes.iter().map(|size| Ok::<_, std::io::Error>(vec![b'1'; *size])).collect();
            Body::from_stream(stream::iter(pieces))
        };
        assert_eq!(extract(json, pieces(&[0, 2, 3])).await, Ok(Some("11111".into())));
        let half = LIMIT / 2;
        assert_eq!(extract(json, pieces(&[half, half])).await.unwrap().unwrap().len(), LIMIT);
        assert_eq!(extract(json, pieces(&[half, half, 1])).await, Err(Code::TooLarge));
        let broken = [Ok("1"), Err(std::io::Error::other("gone"))];
        assert_eq!(extract(json, Body::from_stream(stream::iter(broken))).await, Err(Code::BadRequest));
    }

    /// Sends this to a connection, and returns how often its task was polled until it had answered.
    async fn polls(is_deaf: bool, parts: &[&str]) -> usize {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let service = service_fn(|request: Request<Incoming>| async {
            let (head, body) = request.into_parts();
            let body = super::json(&Heads::of(&head.headers), body).await.ok().flatten().unwrap_or_default();
            Ok::<_, Infallible>(http::Response::new(Full::new(body)))
        });
        let mut connection = http1::Builder::new().serve_connection(TokioIo::new(server), service);
        let (polls, mut ear) = (Arc::new(AtomicUsize::new(0)), Ear::default());
        let counted = Arc::clone(&polls);
        Tasks::default().spawn(
            tracing::Span::none(),
            poll_fn(move |cx| {
                counted.fetch_add(1, Ordering::Relaxed);
                let connection = Pin::new(&mut connection);
                if is_deaf { connection.poll(&mut ear.context(cx)) } else { connection.poll(cx) }
            }),
        );
        let mut answer = Vec::new();
        for part in parts {
            client.write_all(part.as_bytes()).await.unwrap();
            // No more comes before it waits for it: time passes only then.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while !answer.ends_with(b"\r\n\r\n[1,2]") {
            let read = tokio::time::timeout(DEADLINE, client.read_buf(&mut answer)).await;
            assert!(read.unwrap().unwrap() > 0, "{answer:?}");
        }
        polls.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_not_woken_for_a_body_that_it_has_read_and_reads_on_where_there_is_more() {
        let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
        let whole = format!("{head}content-length: 5\r\n\r\n[1,2]");
        assert_eq!(polls(true, &[&whole]).await + 1, polls(false, &[&whole]).await);
        let sized = format!("{head}content-length: 5\r\n\r\n");
        let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n3\r\n[1,\r\n");
        let asks = format!("{head}expect: 100-continue\r\ncontent-length: 5\r\n\r\n");
        for parts in [&[&*sized, "[1,", "2]"], &[&chunked, "", "2\r\n2]\r\n0\r\n\r\n"], &[&asks, "", "[1,2]"]]
        {
            polls(true, parts).await;
            polls(true, &[&parts.concat()]).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let endless = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(extract(Some("application/json"), endless).await, Err(Code::BadRequest));
    }
}
