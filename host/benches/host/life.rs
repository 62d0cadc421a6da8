//! What supervision costs: the start of many plugins, memory at rest, and the way back after a death.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::{Host, Http, Outcome, Sample, Size, millis, proc};
use crate::report::Report;

const MANY: usize = 20;
/// How long a mock is made to need for its start.
const SLOW: &str = "500";
/// At rest: this long after the last plugin was ready.
const REST: Duration = Duration::from_secs(2);
/// A plugin that was ready for this long is started again at once; a little more, to be sure.
const SOUND: Duration = Duration::from_millis(10_200);
/// Restarts after crashes are host-wide one a second after a burst; faster deaths would measure that bound.
const BETWEEN_DEATHS: Duration = Duration::from_millis(1100);
/// Between two attempts to call.
const PAUSE: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// From the start of the host to the first answer and to the last plugin ready, for one plugin and for many.
pub(crate) async fn starts(report: &mut Report, size: Size) -> Outcome<()> {
    let rounds = size.pick(5, 1);
    for (section, args) in [
        ("start, plugins that need 0.5 s", &["--start-after", SLOW][..]),
        ("start, plugins that are there at once", &[][..]),
    ] {
        let (mut one, mut many, mut first) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            one.push(start(1, args).await?.1);
            let (answered, ready) = start(MANY, args).await?;
            first.push(answered);
            many.push(ready);
        }
        let (one, many) = (Sample::new(one), Sample::new(many));
        report.row(
            section,
            format!("first call answered, {MANY} plugins"),
            Sample::new(first).median(),
            "ms",
        );
        report.row(section, "ready, 1 plugin", one.median(), "ms");
        report.row(section, format!("all ready, {MANY} plugins"), many.median(), "ms");
        report.row(section, format!("{MANY} plugins / 1 plugin"), many.median() / one.median(), "");
    }
    Ok(())
}

/// Milliseconds to the first answer, and to the last plugin ready.
async fn start(count: usize, args: &[&str]) -> Outcome<(f64, f64)> {
    let host = Host::mocks(count, args).await?;
    let mut http = host.connect().await?;
    until_answered(&mut http, "p0").await?;
    let answered = millis(host.started.elapsed());
    let ready = millis(host.all_ready().await?);
    host.end().await?;
    Ok((answered, ready))
}

/// Memory of the host at rest with none, one and many plugins, and of one shim.
pub(crate) async fn memory(report: &mut Report) -> Outcome<()> {
    const SECTION: &str = "memory at rest";
    for count in [0, 1, MANY] {
        let host = Host::mocks(count, &[]).await?;
        host.all_ready().await?;
        tokio::time::sleep(REST).await;
        let mut row = |name: String, pid| -> Outcome<()> {
            let (resident, proportional) = proc::memory(pid)?;
            report.row(SECTION, format!("{name}, resident"), resident / 1024.0, "MiB");
            report.row(SECTION, format!("{name}, proportional"), proportional / 1024.0, "MiB");
            Ok(())
        };
        row(format!("host, {count} plugins"), host.pid)?;
        if count == MANY {
            let plugin = host.pid_of(&mut host.connect().await?, "p0").await?;
            let shim = proc::parent(plugin)?;
            if proc::parent(shim)? != host.pid {
                return Err(format!("{shim} is not the shim between {} and {plugin}", host.pid).into());
            }
            row("shim".to_owned(), shim)?;
        }
        host.end().await?;
    }
    Ok(())
}

/// `kill -9` of a plugin's main process, then calls until one is answered. Each death is one plugin's first, under the
/// default policy of restarts.
pub(crate) async fn deaths(report: &mut Report, size: Size) -> Outcome<()> {
    const SECTION: &str = "kill -9 of a plugin, to the next good answer";
    let deaths = size.pick(MANY, 3);
    let host = Host::mocks(deaths, &[]).await?;
    host.all_ready().await?;
    tokio::time::sleep(SOUND).await;
    let mut http = host.connect().await?;
    let (mut times, mut failed) = (Vec::new(), Vec::new());
    for n in 0..deaths {
        let plugin = format!("p{n}");
        http.echo(&plugin, "before").await?;
        let before = host.pid_of(&mut http, &plugin).await?;
        let start = Instant::now();
        proc::signal(before, Signal::SIGKILL)?;
        let failures = until_answered(&mut http, &plugin).await?;
        times.push(millis(start.elapsed()));
        failed.push(f64::from(failures));
        if host.pid_of(&mut http, &plugin).await? == before {
            return Err(format!("{plugin} was answered by a process that was killed").into());
        }
        tokio::time::sleep(BETWEEN_DEATHS).await;
    }
    let (times, failed) = (Sample::new(times), Sample::new(failed));
    report.row(SECTION, format!("median of {deaths}"), times.median(), "ms");
    report.row(SECTION, "longest", times.max(), "ms");
    report.row(SECTION, "calls that failed on the way, most", failed.max(), "");
    host.end().await
}

/// Calls until it is answered and counts the calls that were not. A failure counts as one only if it says that it may
/// heal: the plugin is not available, or the call did not or may not have run.
async fn until_answered(http: &mut Http, plugin: &str) -> Outcome<u32> {
    let end = Instant::now() + PATIENCE;
    let mut failures = 0;
    loop {
        let status = http.try_echo(plugin, "after").await?;
        if status == 200 {
            return Ok(failures);
        }
        let problem: serde_json::Value = serde_json::from_slice(http.body())?;
        let heals = ["plugin_unavailable", "not_delivered", "outcome_unknown"];
        if !heals.iter().any(|code| problem["code"] == *code) || Instant::now() > end {
            return Err(format!("{plugin} is not answered: {problem}").into());
        }
        failures += 1;
        tokio::time::sleep(PAUSE).await;
    }
}
