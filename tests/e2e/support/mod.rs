//! What all end-to-end tests share: a host under test, its manifests, a client, real servers, and a look at `/proc`.

pub(crate) mod answer;
mod api;
pub(crate) mod command;
pub(crate) mod fake;
pub(crate) mod host;
pub(crate) mod ledger;
pub(crate) mod manifest;
pub(crate) mod mcp;
pub(crate) mod metrics;
pub(crate) mod mockproc;
pub(crate) mod pipe;
pub(crate) mod procs;
pub(crate) mod servers;
pub(crate) mod sse;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use answer::Answer;
pub(crate) use host::TestHost;
pub(crate) use manifest::{Manifest, mock};

/// The bound of every wait. Generous: it ends a test that would hang, it measures nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The executable under test.
pub(crate) const WHARF: &str = env!("CARGO_BIN_EXE_wharf");

/// The folder into which cargo builds: `target/debug` as a rule.
pub(crate) fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a test has an executable");
    test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST").to_owned()
}

/// Waits until `look` gives something, or fails with what it was waiting for.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = tokio::time::Instant::now() + PATIENCE;
    let mut tick = tokio::time::interval(Duration::from_millis(25));
    loop {
        tick.tick().await;
        match look().await {
            Ok(found) => return found,
            Err(last) if tokio::time::Instant::now() > end => {
                panic!("waited for {what} in vain; last: {last}")
            }
            Err(_) => {}
        }
    }
}
