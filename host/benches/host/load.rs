//! What the host adds to a call: REST through it against the same mock spoken to directly. Both sides take turns in short
//! blocks, so that what else the machine does hits both.

use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, TryStreamExt as _};

use crate::client::Direct;
use crate::common::{Host, Http, Outcome, Sample, Size, micros, proc};
use crate::report::Report;

const PLUGIN: &str = "p0";
/// Callers at the same time, when throughput is measured.
const CALLERS: usize = 32;

/// Both comparisons, on one host and one mock.
pub(crate) async fn measure(report: &mut Report, size: Size) -> Outcome<()> {
    let host = Host::mocks(1, &[]).await?;
    let mut direct = Direct::start().await?;
    host.all_ready().await?;
    latency(report, size, &host, &mut direct).await?;
    throughput(report, size, &host, &mut direct).await?;
    direct.end().await?;
    host.end().await
}

async fn latency(report: &mut Report, size: Size, host: &Host, direct: &mut Direct) -> Outcome<()> {
    const SECTION: &str = "latency, 1 caller, small echo";
    let (blocks, calls) = size.pick((12, 500), (2, 100));
    let mut http = host.connect().await?;
    one_by_one(direct, &mut http, calls).await?;
    let (mut without, mut with, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..blocks {
        let (d, w) = one_by_one(direct, &mut http, calls).await?;
        added.push(Sample::new(w.iter().copied()).median() - Sample::new(d.iter().copied()).median());
        without.extend(d);
        with.extend(w);
    }
    let (without, with, added) = (Sample::new(without), Sample::new(with), Sample::new(added));
    for (name, sample) in [("direct (pipes of the mock)", &without), ("REST through wharf", &with)] {
        report.row(SECTION, format!("{name}, p50"), sample.median(), "us");
        report.row(SECTION, format!("{name}, p99"), sample.quantile(0.99), "us");
    }
    report.row(SECTION, "added p50 (median over blocks)", added.median(), "us");
    report.row(SECTION, "added p50, worst block", added.max(), "us");
    report.row(SECTION, "added p99", with.quantile(0.99) - without.quantile(0.99), "us");
    Ok(())
}

/// A block of calls on either side; each call's time in microseconds.
async fn one_by_one(direct: &mut Direct, http: &mut Http, calls: usize) -> Outcome<(Vec<f64>, Vec<f64>)> {
    let (mut without, mut with) = (Vec::with_capacity(calls), Vec::with_capacity(calls));
    for _ in 0..calls {
        let start = Instant::now();
        direct.echo().await?;
        without.push(micros(start.elapsed()));
    }
    for n in 0..calls {
        let message = format!("m{n}");
        let start = Instant::now();
        http.echo(PLUGIN, &message).await?;
        with.push(micros(start.elapsed()));
    }
    Ok((without, with))
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls")]
async fn throughput(report: &mut Report, size: Size, host: &Host, direct: &mut Direct) -> Outcome<()> {
    const SECTION: &str = "throughput, 32 callers, small echo";
    let (blocks, calls) = size.pick((6, 6400), (2, 640));
    let mut callers = Vec::with_capacity(CALLERS);
    for _ in 0..CALLERS {
        callers.push(host.connect().await?);
    }
    let (mut without, mut with, mut share) = (Vec::new(), Vec::new(), Vec::new());
    let mut cpu = Duration::ZERO;
    all_at_once(&mut callers, calls).await?;
    direct.flood(CALLERS, calls).await?;
    for _ in 0..blocks {
        let start = Instant::now();
        direct.flood(CALLERS, calls).await?;
        let rate = calls as f64 / start.elapsed().as_secs_f64();
        let (start, used) = (Instant::now(), proc::cpu(host.pid)?);
        all_at_once(&mut callers, calls).await?;
        let rest = calls as f64 / start.elapsed().as_secs_f64();
        cpu += proc::cpu(host.pid)?.saturating_sub(used);
        share.push(rest / rate);
        without.push(rate);
        with.push(rest);
    }
    report.row(SECTION, "direct (one pair of pipes)", Sample::new(without).median(), "calls/s");
    report.row(SECTION, "REST through wharf (32 connections)", Sample::new(with).median(), "calls/s");
    report.row(SECTION, "REST / direct", Sample::new(share).median(), "");
    report.row(SECTION, "processor time of the host", micros(cpu) / (blocks * calls) as f64, "us/call");
    Ok(())
}

/// All callers, each one call after the other, `calls` together.
async fn all_at_once(callers: &mut [Http], calls: usize) -> Outcome<()> {
    let each = calls / callers.len();
    let work = callers.iter_mut().enumerate().map(async |(caller, http)| -> Outcome<()> {
        for n in 0..each {
            http.echo(PLUGIN, &format!("m{caller}-{n}")).await?;
        }
        Ok(())
    });
    work.collect::<FuturesUnordered<_>>().try_collect().await
}
