//! What grows with the number of tools and plugins: the cost of a call, the start, the memory.

use std::time::Duration;

use crate::common::{Host, Outcome, Sample, Size, micros, proc};
use crate::load::Callers;
use crate::plugins::{REST, host_with, until_callable};
use crate::report::Report;
use crate::targets::Line;
use crate::ways::connect;
use crate::wire::{Edge, Payload};

const SECTION: &str = "growth";
const CALLERS: usize = 32;
/// What still counts as no growth: blocks of one host differ by as much.
const FLAT: f64 = 1.15;
/// Of the plugins that are slow to start, seconds.
const SLOW: f64 = 0.5;
/// Plugins that a host starts at a time.
const AT_A_TIME: usize = 32;
/// By which a call is made while the numbers grow.
const EDGES: [(&str, Edge); 3] =
    [("REST", Edge::Rest), ("/mcp legacy", Edge::Legacy), ("/mcp modern", Edge::Modern)];

/// Cost per call with few and many tools, and with few and many plugins. The hosts take turns.
pub(crate) async fn cost(report: &mut Report, size: Size) -> Outcome<()> {
    let (plugins, tools) = size.pick((200, 1000), (20, 1000));
    let (rounds, time) = size.pick((7, 300), (2, 60));
    let (many, time) = (tools.to_string(), Duration::from_millis(time));
    let hosts = [
        ("1 plugin of 1 tool".to_owned(), host_with(1, &["--tools", "1"]).await?),
        (format!("1 plugin of {tools} tools"), host_with(1, &["--tools", &many]).await?),
        (format!("{plugins} plugins of 1 tool"), host_with(plugins, &["--tools", "1"]).await?),
    ];
    for (_, host) in &hosts {
        host.all_ready().await?;
    }
    tokio::time::sleep(REST).await;
    instances(report, &hosts[0].1, &hosts[2].1, plugins)?;
    for (name, edge) in EDGES {
        let mut sides = Vec::with_capacity(hosts.len());
        for (_, host) in &hosts {
            sides.push(Side { callers: Some(callers(host, edge).await?), pid: host.pid, cpu: Vec::new() });
        }
        for _ in 0..=rounds {
            for side in &mut sides {
                side.run(time).await?;
            }
        }
        // The first round warms all up.
        let costs: Vec<Sample> =
            sides.into_iter().map(|side| Sample::new(side.cpu.into_iter().skip(1))).collect();
        let base = costs.first().map_or(f64::NAN, Sample::median);
        for ((what, _), cost) in hosts.iter().zip(&costs) {
            report.number(SECTION, format!("CPU per call, {name}, {what}"), cost.median(), "us");
            let ratio = cost.median() / base;
            report.number(SECTION, format!("CPU per call against the first, {name}, {what}"), ratio, "");
            let target = format!("CPU per call flat (at most {FLAT} times); {name}, {what}");
            report.lines.push(Line::at_most(target, ratio, FLAT, ""));
        }
    }
    for (_, host) in hosts {
        host.end().await?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a count of plugins")]
fn instances(report: &mut Report, few: &Host, many: &Host, count: usize) -> Outcome<()> {
    let (few, many) = (proc::memory(few.pid)?.0, proc::memory(many.pid)?.0);
    report.number(SECTION, format!("memory of the host with {count} plugins"), many / 1024.0, "MiB");
    let each = (many - few) / (count - 1) as f64;
    report.number(SECTION, "memory of the host for each further plugin at rest", each, "KiB");
    Ok(())
}

struct Side {
    callers: Option<Callers>,
    pid: u32,
    /// Microseconds per call, of each block.
    cpu: Vec<f64>,
}

impl Side {
    #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
    async fn run(&mut self, time: Duration) -> Outcome<()> {
        let callers = self.callers.take().ok_or("no callers")?.opened().await?;
        let before = proc::busy(self.pid)?;
        let (callers, block) = callers.block(time).await?;
        let used = proc::busy(self.pid)?.saturating_sub(before);
        self.cpu.push(micros(used) / block.took.len() as f64);
        self.callers = Some(callers);
        match block.first_error {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

async fn callers(host: &Host, edge: Edge) -> Outcome<Callers> {
    let mut callers = Vec::with_capacity(CALLERS);
    for _ in 0..CALLERS {
        callers.push(connect(host, edge, "p0", Payload::Echo(100)).await?);
    }
    Ok(Callers::Http(callers))
}

/// Many plugins, from the start of the host until all have answered.
#[expect(clippy::cast_precision_loss, reason = "a count of plugins")]
pub(crate) async fn start(report: &mut Report, size: Size) -> Outcome<()> {
    let count = size.pick(100, 30);
    let host = host_with(count, &[]).await?;
    let took = until_callable(&host, count).await?;
    report.number(SECTION, format!("{count} plugins, all callable"), took.as_secs_f64(), "s");
    host.end().await?;
    let host = host_with(count, &["--start-after", "500"]).await?;
    let took = until_callable(&host, count).await?.as_secs_f64();
    report.number(SECTION, format!("{count} plugins of {SLOW} s, all callable"), took, "s");
    let bound = count.div_ceil(AT_A_TIME) as f64 * SLOW + 0.5;
    let target =
        format!("{count} plugins of {SLOW} s, {AT_A_TIME} started at a time, all callable within {bound} s");
    report.lines.push(Line::at_most(target, took, bound, " s"));
    host.end().await
}
