use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use futures_util::stream;
use http::header::CONNECTION;
use http::{HeaderValue, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::look::{Look, MOST};
use super::reply::Reply;
use super::{Handed, Plain, STAND_IN};
use crate::held::Held;
use crate::mcp::modern::testkit::Kit;
use crate::serve::answer::{Outgoing, Tagged};
use crate::serve::auth::{Auth, Via};
use crate::serve::door::{Connection, Door};
use crate::serve::drain::Drain;
use crate::serve::framing::{Verdict, Watched};
use crate::serve::guard::Guard;
use crate::serve::rest;
use crate::tasks::Tasks;

fn posted(more: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /tools/old/echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{more}content-length: {length}\r\n\r\n{body}"
    )
}

/// Serves a connection on which these pieces come, each by itself, until so many answers are there or it is plain no more.
async fn plain(pieces: &[&str], answers: usize) -> Option<Handed<DuplexStream>> {
    let kit = Kit::new().await;
    let (router, hot) = rest::routes(kit.host.clone(), kit.mcp.clone(), Tasks::default());
    let door = Door::new(Guard::default(), Auth::Open, router, Some(hot));
    let (verdict, taker, ends) = (Verdict::default(), Held::default().taker("test"), AtomicBool::default());
    let (drain, (mut near, far)) = (Drain::default(), tokio::io::duplex(1 << 20));
    let came_by = Connection { verdict: &verdict, taker: &taker, is_spare: false };
    let stream = Watched::new(far, Arc::clone(&taker), verdict.clone());
    let served = Plain::new(stream, (&door, Via::Tcp, came_by), &drain, &ends).serve();
    let client = async {
        let mut seen = Vec::new();
        for piece in pieces {
            near.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        while String::from_utf8_lossy(&seen).matches("HTTP/1.1 200").count() < answers {
            assert_ne!(near.read_buf(&mut seen).await.unwrap(), 0, "{}", String::from_utf8_lossy(&seen));
        }
        near.shutdown().await.unwrap();
        near.read_to_end(&mut seen).await.unwrap();
    };
    let both = async {
        tokio::select! {
            served = served => served.unwrap(),
            never = async { client.await; std::future::pending::<Option<_>>().await } => never,
        }
    };
    tokio::time::timeout(Duration::from_secs(60), both).await.unwrap()
}

#[tokio::test]
async fn calls_stay_plain_however_they_are_cut() {
    let call = posted("", r#"{"a":1}"#);
    let traced = posted("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n", "{}");
    let (head, body) = call.split_at(call.len() - 7);
    assert!(body.starts_with('{'));
    let two = [&*call, &traced].concat();
    for (pieces, answers) in [(&[&*call, &call][..], 2), (&[head, body, &call], 2), (&[&two, &traced], 3)] {
        assert!(plain(pieces, answers).await.is_none(), "{pieces:?}");
    }
}

#[tokio::test]
async fn what_is_not_plain_is_handed_over_with_all_that_came_behind_it() {
    let (call, other) = (posted("", "{}"), posted("expect: 100-continue\r\n", "{}"));
    let both = [&*other, &call].concat();
    for pieces in [&[&*call, &both][..], &[&[&*call, &both].concat()]] {
        let mut handed = plain(pieces, usize::MAX).await.unwrap();
        assert!(handed.answer.is_none());
        let mut again = vec![0; both.len()];
        handed.stream.read_exact(&mut again).await.unwrap();
        assert_eq!(String::from_utf8(again).unwrap(), both);
    }
    let streamed = posted("", "{}").replace("/tools/old/echo", "/api/v1/plugins/old/tools/talk/call");
    let streamed = streamed.replace("content-type", "accept: text/event-stream\r\ncontent-type");
    let mut handed = plain(&[&[&*streamed, &call].concat()], usize::MAX).await.unwrap();
    assert_eq!(handed.answer.unwrap().status(), 200);
    let mut again = vec![0; STAND_IN.len() + call.len()];
    handed.stream.read_exact(&mut again).await.unwrap();
    assert_eq!(again, [STAND_IN, call.as_bytes()].concat());
}

#[test]
fn only_what_is_read_in_one_way_is_plain() {
    let call = posted("", "{}");
    let look = Look::of(call.as_bytes()).unwrap();
    assert_eq!((look.head, look.length), (call.len() - 2, call.len()));
    for plain in [
        "Connection: Keep-Alive\r\n",
        "x-request-id: a\r\n",
        "accept: a\r\naccept: b\r\n",
        "mcp-param-x: 1\r\n",
    ] {
        assert!(Look::of(posted(plain, "{}").as_bytes()).is_some(), "{plain:?}");
    }
    for other in [
        "Content-Length: 2\r\n",
        "Transfer-Encoding: identity\r\n",
        "Connection: close\r\n",
        "Connection: keep-alive, upgrade\r\n",
        "Expect: 100-continue\r\n",
        "Upgrade: x\r\n",
        "TE: trailers\r\n",
        "Trailer: x\r\n",
        "Origin: http://localhost\r\n",
        "Sec-Fetch-Site: none\r\n",
        "a b: 1\r\n",
        "a: 1\r\n b\r\n",
        "a: \0\r\n",
    ] {
        assert!(Look::of(posted(other, "{}").as_bytes()).is_none(), "{other:?}");
    }
    let lengths = [
        "content-length: +2",
        "content-length: -2",
        "content-length: 0x2",
        "content-length: 2,2",
        "content-length:",
        "x: y",
        "content-length: 99999999999999999999",
    ];
    for length in lengths {
        assert!(Look::of(call.replace("content-length: 2", length).as_bytes()).is_none(), "{length}");
    }
    let long = call.replace("content-length: 2", &format!("content-length: {MOST}"));
    assert!(Look::of(long.as_bytes()).is_none());
    for (from, to) in [
        ("HTTP/1.1", "HTTP/1.0"),
        ("POST", "PUT"),
        ("/tools/old/echo", "/tools/old/echo?x"),
        ("/tools/old/echo", "/tools/old/e#o"),
        ("/tools/old/echo", "http://localhost/tools/old/echo"),
        ("\r\n\r\n", "\r\n"),
    ] {
        assert!(Look::of(call.replace(from, to).as_bytes()).is_none(), "{to}");
    }
}

#[test]
fn an_answer_is_written_whole_or_not_at_all() {
    let written = |answer: Outgoing| {
        let answer = Tagged { answer, id: HeaderValue::from_static("r-1").into() };
        Reply::of(answer).map(|reply| {
            let text = [&*reply.head, &reply.body].concat();
            (String::from_utf8(text).unwrap(), reply.body.len())
        })
    };
    let (text, apart) = written((StatusCode::ACCEPTED, [("x-a", "1")]).into_response().into()).unwrap();
    assert!(
        text.starts_with(
            "HTTP/1.1 202 Accepted\r\nx-a: 1\r\nx-request-id: r-1\r\ncontent-length: 0\r\ndate: "
        ),
        "{text}"
    );
    assert!(text.ends_with(" GMT\r\n\r\n") && apart == 0, "{text}");
    let (text, apart) = written("short".into_response().into()).unwrap();
    assert!(
        text.contains("\r\ncontent-length: 5\r\n") && text.ends_with("\r\n\r\nshort") && apart == 0,
        "{text}"
    );
    let (text, apart) = written("x".repeat(9000).into_response().into()).unwrap();
    assert!(text.contains("\r\ncontent-length: 9000\r\n") && apart == 9000, "{text}");
    for json in ["{}".to_owned(), "x".repeat(9000)] {
        let as_any = Outgoing::from(Outgoing::Json(json.clone().into()).into_response());
        let [ours, any] = [Outgoing::Json(json.into()), as_any].map(|answer| {
            let (text, apart) = written(answer).unwrap();
            (
                text.lines()
                    .filter(|line| !line.starts_with("date: "))
                    .map(str::to_owned)
                    .collect::<Vec<_>>(),
                apart,
            )
        });
        assert_eq!(ours, any);
    }
    let pieces = || stream::iter(["a", "b"].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece))));
    for other in [
        StatusCode::NO_CONTENT.into_response(),
        StatusCode::NOT_MODIFIED.into_response(),
        StatusCode::SWITCHING_PROTOCOLS.into_response(),
        [(CONNECTION, "close")].into_response(),
        Body::from_stream(pieces()).into_response(),
    ] {
        let status = other.status();
        assert_eq!(written(other.into()).unwrap_err().status(), status);
    }
}
