//! Servers that are none, or none to trust, against fakes of them. Real ones are met in the tests of the host's crate.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "this is all test code; a panic is a failure"
)]

#[path = "providers/fake.rs"]
#[allow(dead_code, reason = "shared with the tests of providers, which use all of it")]
mod fake;

use std::time::Duration;

use fake::{Answer, Fake};
use serde_json::json;
use wharf_agent::failure::Failure;
use wharf_agent::mcp::{Address, Server};

/// What comes of connecting to it with a token.
async fn connect(path: &str, answer: fn() -> Answer) -> (Failure, Fake) {
    // Each revision is tried.
    let fake = Fake::start(vec![answer(), answer()]).await;
    let address = Address { url: format!("{}{path}", fake.url), token: Some("secret".to_owned()) };
    let refused = Server::connect(address, Duration::from_secs(30)).await;
    (refused.err().expect("that is no server"), fake)
}

#[tokio::test]
async fn no_server_may_have_the_token_sent_elsewhere() {
    let elsewhere = || Answer::text("event: endpoint\ndata: http://127.0.0.1:1/messages\n\n");
    let (refused, fake) = connect("/sse", elsewhere).await;
    assert!(refused.to_string().contains("sent to another server, http://127.0.0.1:1/messages"), "{refused}");
    assert_eq!(refused.code(), 3);
    let [asked] = fake.requests();
    assert_eq!(asked.header("authorization"), "Bearer secret");
}

#[tokio::test]
async fn a_stream_that_tells_no_address_is_no_server() {
    let (refused, _) = connect("/sse", || Answer::text(": nothing\n\n")).await;
    assert!(refused.to_string().contains("ended before it told where to post"), "{refused}");
    assert_eq!(refused.code(), 3);
}

#[tokio::test]
async fn a_page_for_people_is_no_server() {
    for path in ["/mcp", "/sse"] {
        let (refused, _) = connect(path, || Answer::status(404, json!({ "page": "not here" }))).await;
        assert!(refused.to_string().contains("404"), "{path}: {refused}");
        assert_eq!(refused.code(), 3, "{path}");
        let (refused, _) = connect(path, || Answer::status(403, json!({ "page": "not for you" }))).await;
        assert_eq!(refused.code(), 8, "{path}: {refused}");
    }
}
