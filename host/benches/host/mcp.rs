//! What the MCP endpoint adds to a call, in both eras, and what a session that does nothing costs.

use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, TryStreamExt as _};

use crate::client::Direct;
use crate::common::{Host, McpHttp, Outcome, Sample, Size, micros, proc};
use crate::report::Report;

/// Callers at the same time, when throughput is measured.
const CALLERS: usize = 32;
/// Idle sessions whose memory is measured.
const SESSIONS: usize = 2000;

/// The clients of one era, and what their rows are called.
struct Side {
    modern: bool,
    one: &'static str,
    many: &'static str,
}

const SIDES: [Side; 2] = [
    Side {
        modern: true,
        one: "/mcp, modern client, 1 caller, small echo",
        many: "/mcp, modern clients, 32 callers, small echo",
    },
    Side {
        modern: false,
        one: "/mcp, legacy client, 1 caller, small echo",
        many: "/mcp, legacy clients, 32 callers, small echo",
    },
];

/// Both eras on one host against the pipes of a mock, then the sessions.
pub(crate) async fn measure(report: &mut Report, size: Size) -> Outcome<()> {
    let host = Host::mocks(1, &[]).await?;
    let mut direct = Direct::start().await?;
    host.all_ready().await?;
    for side in &SIDES {
        latency(report, size, &host, &mut direct, side).await?;
        throughput(report, size, &host, side).await?;
    }
    direct.end().await?;
    sessions(report, size, &host).await?;
    host.end().await
}

async fn client(host: &Host, modern: bool) -> Outcome<McpHttp> {
    let http = host.connect().await?;
    if modern { Ok(McpHttp::modern(http, "/mcp")) } else { McpHttp::legacy(http, "/mcp").await }
}

async fn latency(
    report: &mut Report,
    size: Size,
    host: &Host,
    direct: &mut Direct,
    side: &Side,
) -> Outcome<()> {
    let (blocks, calls) = size.pick((12, 500), (2, 100));
    let mut mcp = client(host, side.modern).await?;
    let (mut without, mut with, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for block in 0..=blocks {
        let (mut d, mut w) = (Vec::with_capacity(calls), Vec::with_capacity(calls));
        for _ in 0..calls {
            let start = Instant::now();
            direct.echo().await?;
            d.push(micros(start.elapsed()));
        }
        for _ in 0..calls {
            let start = Instant::now();
            mcp.echo().await?;
            w.push(micros(start.elapsed()));
        }
        // The first block warms both up.
        if block > 0 {
            added.push(Sample::new(w.iter().copied()).median() - Sample::new(d.iter().copied()).median());
            without.extend(d);
            with.extend(w);
        }
    }
    let (without, with) = (Sample::new(without), Sample::new(with));
    for (name, sample) in [("direct (pipes of the mock)", &without), ("through wharf", &with)] {
        report.row(side.one, format!("{name}, p50"), sample.median(), "us");
        report.row(side.one, format!("{name}, p99"), sample.quantile(0.99), "us");
    }
    report.row(side.one, "added p50 (median over blocks)", Sample::new(added).median(), "us");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls")]
async fn throughput(report: &mut Report, size: Size, host: &Host, side: &Side) -> Outcome<()> {
    let (blocks, calls) = size.pick((6, 6400), (2, 640));
    let mut callers = Vec::with_capacity(CALLERS);
    for _ in 0..CALLERS {
        callers.push(client(host, side.modern).await?);
    }
    let (mut rates, mut cpu) = (Vec::new(), Duration::ZERO);
    for block in 0..=blocks {
        let (start, used) = (Instant::now(), proc::cpu(host.pid)?);
        let work = callers.iter_mut().map(async |mcp| -> Outcome<()> {
            for _ in 0..calls / CALLERS {
                mcp.echo().await?;
            }
            Ok(())
        });
        work.collect::<FuturesUnordered<_>>().try_collect::<()>().await?;
        if block > 0 {
            rates.push(calls as f64 / start.elapsed().as_secs_f64());
            cpu += proc::cpu(host.pid)?.saturating_sub(used);
        }
    }
    report.row(side.many, "calls", Sample::new(rates).median(), "calls/s");
    report.row(side.many, "processor time of the host", micros(cpu) / (blocks * calls) as f64, "us/call");
    Ok(())
}

/// Opens sessions that then do nothing, each by a connection that is closed again.
#[expect(clippy::cast_precision_loss, reason = "counts of sessions")]
async fn sessions(report: &mut Report, size: Size, host: &Host) -> Outcome<()> {
    const SECTION: &str = "idle sessions of legacy clients";
    let count = size.pick(SESSIONS, 200);
    let (before, _) = proc::memory(host.pid)?;
    for _ in 0..count {
        drop(client(host, false).await?);
    }
    let (after, _) = proc::memory(host.pid)?;
    let each = (after - before) / count as f64;
    report.row(SECTION, "memory of the host before (RSS)", before / 1024.0, "MiB");
    report.row(SECTION, "each session adds", each, "KiB");
    // 100 MB are 97,656 KiB.
    report.row(
        SECTION,
        "sessions that fit in 100 MB beside it (a host takes 4096)",
        (97_656.0 - before) / each.max(0.001),
        "",
    );
    Ok(())
}
