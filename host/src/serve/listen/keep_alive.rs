//! A client that is gone without a word is found out, also where nothing is ever sent to it: a log that is followed and
//! silent.

use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;

/// Silence on a connection after which the client's system is asked whether it lives, how often, and how many times in vain.
const SILENCE: Duration = Duration::from_secs(60);
const PROBE: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;
/// How long what was sent may stay without an acknowledgement of the client's system, or wait for room there: while it does,
/// no probe is sent. As long as a pipe waits for its reader.
const UNACKNOWLEDGED: Duration = Duration::from_secs(300);

/// Has the system ask after the client of this connection.
pub(super) fn keep_alive(stream: &TcpStream) -> nix::Result<()> {
    let seconds = |span: Duration| u32::try_from(span.as_secs()).unwrap_or(u32::MAX);
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &seconds(SILENCE))?;
    setsockopt(stream, sockopt::TcpKeepInterval, &seconds(PROBE))?;
    setsockopt(stream, sockopt::TcpKeepCount, &PROBES)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &(seconds(UNACKNOWLEDGED) * 1000))
}
