//! What supervision costs, and what it gives: memory at rest, starts side by side, and the way back after a death.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::{Outcome, Sample, Size, millis, proc};
use crate::plugins::{REST, host_with, own_start, until_callable};
use crate::report::Report;
use crate::targets::Line;
use crate::ways::connect;
use crate::wire::{Edge, Payload};

/// A plugin that was ready for this long is started again at once; a little more, to be sure.
const SOUND: Duration = Duration::from_millis(10_200);
/// Restarts after crashes are host-wide one a second after a burst; faster deaths would measure that bound.
const BETWEEN_DEATHS: Duration = Duration::from_millis(1100);
/// No way back takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Resident memory of the host alone, with one plugin and with twenty.
pub(crate) async fn memory(report: &mut Report) -> Outcome<()> {
    for (count, bound) in [(1, 12.0), (20, 15.0)] {
        let host = host_with(count, &[]).await?;
        host.all_ready().await?;
        tokio::time::sleep(REST).await;
        let (resident, proportional) = proc::memory(host.pid)?;
        let megabytes = |kib: f64| kib * 1024.0 / 1e6;
        let section = "memory of the host at rest";
        report.number(section, format!("resident, {count} plugins"), megabytes(resident), "MB");
        report.number(section, format!("proportional, {count} plugins"), megabytes(proportional), "MB");
        let target = format!("memory at rest with {count} plugins at most {bound} MB");
        report.lines.push(Line::at_most(target, megabytes(resident), bound, " MB"));
        host.end().await?;
    }
    Ok(())
}

/// Twenty plugins that take half a second each.
pub(crate) async fn starts(report: &mut Report, size: Size) -> Outcome<()> {
    const COUNT: usize = 20;
    let mut took = Vec::new();
    for _ in 0..size.pick(5, 2) {
        let host = host_with(COUNT, &["--start-after", "500"]).await?;
        took.push(until_callable(&host, COUNT).await?.as_secs_f64());
        host.end().await?;
    }
    let took = Sample::new(took);
    let section = "start";
    report.number(section, "20 plugins of 0.5 s, all callable, median", took.median(), "s");
    report.number(section, "20 plugins of 0.5 s, all callable, longest", took.max(), "s");
    let target = "20 plugins that take 0.5 s to start all callable within 0.6 s";
    report.lines.push(Line::at_most(target, took.median(), 0.6, " s"));
    Ok(())
}

/// `kill -9` of a plugin's main process, then calls in the same session until one is answered. Each death is one plugin's
/// first, under the default policy of restarts.
pub(crate) async fn deaths(report: &mut Report, size: Size) -> Outcome<()> {
    let deaths = size.pick(12, 3);
    let mut own = Vec::new();
    for _ in 0..5 {
        own.push(millis(own_start().await?));
    }
    let own = Sample::new(own).median();
    let host = host_with(deaths, &[]).await?;
    host.all_ready().await?;
    tokio::time::sleep(SOUND).await;
    let mut http = host.connect().await?;
    let (mut times, mut failed) = (Vec::new(), Vec::new());
    for n in 0..deaths {
        let plugin = format!("p{n}");
        let mut caller = connect(&host, Edge::Legacy, &plugin, Payload::Echo(100)).await?;
        caller.open().await?;
        let before = host.pid_of(&mut http, &plugin).await?;
        let start = Instant::now();
        proc::signal(before, Signal::SIGKILL)?;
        let mut failures = 0;
        while let Err(error) = caller.call().await {
            if start.elapsed() > PATIENCE {
                return Err(format!("{plugin} is not answered after its death: {error}").into());
            }
            failures += 1;
            caller.reconnect().await?;
        }
        times.push(millis(start.elapsed()));
        failed.push(f64::from(failures));
        if host.pid_of(&mut http, &plugin).await? == before {
            return Err(format!("{plugin} was answered by a process that was killed").into());
        }
        tokio::time::sleep(BETWEEN_DEATHS).await;
    }
    host.end().await?;
    let (times, failed) = (Sample::new(times), Sample::new(failed));
    let section = "kill -9 of a stdio plugin, to the next good answer in the same session";
    report.number(section, "the plugin's own start", own, "ms");
    report.number(section, format!("median of {deaths}"), times.median(), "ms");
    report.number(section, "longest", times.max(), "ms");
    report.number(section, "calls that failed on the way, most", failed.max(), "");
    let target = "after kill -9 the next good answer within the plugin's own start + 100 ms";
    report.lines.push(Line::at_most(target, times.median(), own + 100.0, " ms"));
    Ok(())
}
