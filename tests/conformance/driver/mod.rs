//! The program that the suite starts as the client under test: it starts `wharf stdio` with one plugin, the suite's
//! server, and uses it over standard input and output as a simple client would. It has no duties of HTTP itself.
//!
//! It is this test's executable, called again by the suite with the server's URL as its last argument.

mod pipe;
mod script;

use std::time::Duration;

use serde_json::Value;

use crate::fixture::Era;
use crate::suite::Revision;
use pipe::Pipe;

/// The suite gives a client thirty seconds in all, and leaves behind what has not ended by then.
const BOUND: Duration = Duration::from_secs(25);

/// The test below, by its full name.
pub(crate) const NAME: &str = "driver::as_the_suite_starts_it";

/// What the test harness prints when it went well.
pub(crate) const DONE: &str = "test result: ok. 1 passed";

#[tokio::test]
#[ignore = "started by the suite, which gives it a server"]
async fn as_the_suite_starts_it() {
    let scenario = std::env::var("MCP_CONFORMANCE_SCENARIO").expect("the suite names the scenario");
    if scenario.starts_with("auth/") {
        return;
    }
    let version = std::env::var("MCP_CONFORMANCE_PROTOCOL_VERSION").expect("the suite names the revision");
    let era = if version == Revision::Modern.date() { Era::Modern } else { Era::Legacy };
    let context: Value = std::env::var("MCP_CONFORMANCE_CONTEXT")
        .map_or(Value::Null, |text| serde_json::from_str(&text).expect("the context is JSON"));
    let url = std::env::args().next_back().filter(|last| last.starts_with("http"));
    let url = url.expect("the suite appends the server's URL");
    let whole = async {
        let mut client = Pipe::open(&url, era).await;
        script::perform(&mut client, &scenario, &context).await;
        client.close().await;
    };
    tokio::time::timeout(BOUND, whole)
        .await
        .unwrap_or_else(|_| panic!("{scenario} is not done after {BOUND:?}"));
}
