//! Hosts with some number of plugins, and when each of them can be called.

use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, TryStreamExt as _};

use crate::children::manifest;
use crate::common::{Host, Outcome};
use crate::ways::connect;
use crate::wire::{Edge, Payload};

/// Between two attempts to call.
const PAUSE: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);
/// At rest: this long after the last plugin was ready.
pub(crate) const REST: Duration = Duration::from_secs(3);

/// A host with `p0`, `p1` and so on, each an upstream on its pipes with these further arguments.
pub(crate) async fn host_with(count: usize, args: &[&str]) -> Outcome<Host> {
    let manifest = manifest(&[&["stdio"], args].concat(), "era = \"legacy\"\n")?;
    Host::start((0..count).map(|n| (format!("p{n}"), manifest.clone()))).await
}

/// From the start of a host until each plugin has answered a call.
pub(crate) async fn until_callable(host: &Host, count: usize) -> Outcome<Duration> {
    let calls = (0..count).map(async |n| until_answered(host, &format!("p{n}")).await);
    let work = calls.collect::<FuturesUnordered<_>>().try_collect::<()>();
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| "a plugin is not callable in a minute")??;
    Ok(host.started.elapsed())
}

async fn until_answered(host: &Host, plugin: &str) -> Outcome<()> {
    connect(host, Edge::Facade, plugin, Payload::Echo(100)).await?.until_answered(PAUSE).await
}

/// How long an upstream needs by itself, from its start to its first answer.
pub(crate) async fn own_start() -> Outcome<Duration> {
    let start = Instant::now();
    let talk = crate::wire::Talk::line(Payload::Echo(100));
    let mut pipes = crate::pipes::Pipes::start(talk, 1)?;
    pipes.flood(start, &mut crate::load::Block::default()).await?;
    Ok(start.elapsed())
}
