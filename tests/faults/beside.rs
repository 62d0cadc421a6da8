//! What all cases share: a healthy plugin beside the bad one, and loads that end.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::Case;
use crate::support::answer::text_of;
use crate::support::host::Setup;
use crate::support::procs::peak_rss;
use crate::support::{Manifest, TestHost, mock};

/// A host with a healthy plugin, `well`, of which every case proves that it was not touched.
pub(crate) struct Beside {
    pub(crate) host: TestHost,
    well: u32,
    rss: u64,
}

impl Beside {
    /// Starts a host with `well` alone, notes how it contains, then adds the bad one.
    pub(crate) async fn with(case: &mut Case, bad: &Manifest) -> Self {
        let beside = Self::start(case, Setup::new()).await;
        beside.host.put("bad", bad);
        beside
    }

    pub(crate) async fn start(case: &mut Case, setup: Setup) -> Self {
        let host = setup.plugin("well", &mock()).start().await;
        case.under(&host).await;
        let well = host.pid_of("well").await;
        let rss = peak_rss(host.pid());
        Self { host, well, rss }
    }

    /// Shows that the healthy plugin answers, and runs in the process in which it was started.
    pub(crate) async fn is_well(&self) {
        assert_eq!(self.host.pid_of("well").await, self.well, "the healthy plugin is not touched");
        let echo = self.host.call("well", "echo", json!({ "message": "well" })).await;
        assert_eq!(text_of(&echo), "well");
    }

    /// How much more memory the host has used at its peak than it had at its start, bytes.
    pub(crate) fn grown(&self) -> u64 {
        peak_rss(self.host.pid()).saturating_sub(self.rss)
    }

    /// Notes the growth and holds it below `bound` bytes.
    pub(crate) fn is_flat(&self, case: &mut Case, bound: u64) {
        let grown = self.grown();
        case.size("host grew by", grown);
        assert!(grown < bound, "the host grew by {} MiB", grown >> 20);
    }

    /// Calls a tool of the bad plugin again and again until it answers; how long that took from `since`.
    pub(crate) async fn good_call(&self, since: Instant) -> Duration {
        let call = async || {
            let answer = self.host.try_call("bad", "echo", json!({ "message": "back" })).await;
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        };
        crate::support::eventually("a call that succeeds", call).await;
        since.elapsed()
    }
}

/// The bytes of all files in a folder.
pub(crate) fn bytes_in(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum()
}
