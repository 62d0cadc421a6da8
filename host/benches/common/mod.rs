//! What the benchmarks of the executable share: starting a host, talking to it, counting.

mod host;
mod http;
pub(crate) mod machine;
mod mcp;
mod others;
pub(crate) mod proc;
mod sample;
pub(crate) mod shipped;

use std::error::Error;

pub(crate) use host::Host;
pub(crate) use http::Http;
pub(crate) use mcp::{Answer, McpHttp};
pub(crate) use others::Others;
pub(crate) use sample::{Sample, micros, millis};
pub(crate) use shipped::wharf;

/// The executable that cargo builds beside the benchmark. It tells where the target folder is.
pub(crate) const BUILT: &str = env!("CARGO_BIN_EXE_wharf");

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Full,
    Quick,
}

impl Size {
    pub(crate) fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}
