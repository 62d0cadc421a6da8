//! The official conformance suite, with the host in the middle and with the host as the client.
//!
//! What runs: the suite against the fixture alone; against one host for each era and dialect of its plugin, at both
//! revisions and on both endpoints; what a few tools answer, compared byte for byte; the suite's client side. The table
//! in the README is generated from these runs.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic, and tells on stderr what a host said before it failed"
)]

#[path = "../e2e/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the end-to-end tests, which use all of it")]
mod support;

mod cells;
mod client;
mod content;
mod driver;
mod fixture;
mod peer;
mod suite;
mod table;

use cells::Row;

/// The fixture passes by itself: otherwise nothing that is seen through the host means anything.
#[tokio::test]
async fn the_fixture_passes_without_a_host() {
    assert_passed(cells::direct().await);
}

#[tokio::test]
async fn every_cell_passes_through_the_host() {
    assert_passed(cells::through_the_host().await);
}

#[tokio::test]
async fn the_host_passes_as_a_client() {
    assert_passed(client::measured().await);
}

/// Names every check that failed, with its cell and its scenario.
#[track_caller]
fn assert_passed(rows: &[Row]) {
    let failed: Vec<String> = rows.iter().flat_map(Row::failures).collect();
    assert!(failed.is_empty(), "{} checks failed:\n{}", failed.len(), failed.join("\n"));
}
