//! The calls: for each payload and number of callers all ways take turns in short blocks, several rounds, so that what
//! else the machine does hits all. A ratio is the median over the rounds of the ratio to the block of the same round.
//!
//! All of that three times over, each time with processes of its own: a slow minute, or a process that was unlucky with its
//! threads, then spoils at most a third of the cells that it meets, and the whole of none.

use std::time::Duration;

use crate::common::{Others, Outcome, Sample, Size, micros, proc};
use crate::load::{Block, Callers};
use crate::report::Report;
use crate::ways::{Field, Over, Through, WAYS, Way};
use crate::wire::Payload;

/// A payload and a number of callers.
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    payload: Payload,
    pub(crate) callers: usize,
    /// Of the manifests: none, or what lets all callers in at once.
    limits: &'static str,
}

const fn cell(name: &'static str, payload: Payload, callers: usize) -> Cell {
    Cell { name, payload, callers, limits: "" }
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

pub(crate) const CELLS: [Cell; 12] = [
    cell("echo 100 B, c1", Payload::Echo(100), 1),
    cell("echo 100 B, c32", Payload::Echo(100), 32),
    cell("echo 100 B, c256", Payload::Echo(100), 256),
    Cell {
        limits: "[limits]\nconcurrency = 256\n",
        ..cell("echo 100 B, c256 at once", Payload::Echo(100), 256)
    },
    cell("blob 10 KiB, c1", Payload::Blob(10 * KIB), 1),
    cell("blob 10 KiB, c32", Payload::Blob(10 * KIB), 32),
    cell("echo 10 KiB, c1", Payload::Echo(10 * KIB), 1),
    cell("echo 10 KiB, c32", Payload::Echo(10 * KIB), 32),
    cell("blob 1 MiB, c1", Payload::Blob(MIB), 1),
    cell("blob 1 MiB, c4", Payload::Blob(MIB), 4),
    cell("echo 1 MiB, c1", Payload::Echo(MIB), 1),
    cell("echo 1 MiB, c4", Payload::Echo(MIB), 4),
];

/// What one way gave in one round. Microseconds; not a number where there is none.
#[derive(Clone, Copy)]
struct Round {
    rate: f64,
    p50: f64,
    p99: f64,
    /// Of the process measured, per call.
    cpu: f64,
}

/// A row of the table.
pub(crate) struct Row {
    pub(crate) way: Way,
    pub(crate) cell: &'static str,
    pub(crate) callers: usize,
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) calls: usize,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) cpu: f64,
    /// MiB, at the end of the last round.
    pub(crate) rss: f64,
    /// Of a hop: to the direct call over HTTP. Of the host: to the hop over the same.
    pub(crate) versus: Versus,
}

/// A way against another, medians over the rounds.
#[derive(Clone, Copy)]
pub(crate) struct Versus {
    pub(crate) rate: f64,
    pub(crate) p99: f64,
    pub(crate) cpu: f64,
    /// Microseconds more at the median.
    pub(crate) added: f64,
}

/// A cell under measurement.
pub(crate) struct Series {
    cell: &'static Cell,
    tracks: Vec<Track>,
    /// Of the machine by others, a share for each pass.
    taken: Vec<f64>,
}

/// A way under measurement.
struct Track {
    way: Way,
    /// Of the pass that goes on.
    callers: Option<Callers>,
    /// Nanoseconds.
    took: Vec<u32>,
    rounds: Vec<Round>,
    /// How many rounds and times there were when the pass began.
    before: (usize, usize),
    errors: u64,
    first_error: Option<String>,
    rss: f64,
}

impl Cell {
    /// The name of this part of the benchmark.
    pub(crate) fn part(&self) -> String {
        format!("calls {}", self.name)
    }
}

impl Series {
    pub(crate) fn new(cell: &'static Cell) -> Self {
        Self { cell, tracks: WAYS.map(Track::new).into(), taken: Vec::new() }
    }

    pub(crate) fn part(&self) -> String {
        self.cell.part()
    }

    /// Some rounds of all ways, through processes that are started for them. One that breaks off leaves no times of its calls,
    /// and its errors.
    pub(crate) async fn pass(&mut self, size: Size) -> Outcome<()> {
        let field = Field::start(self.cell.limits).await?;
        let before = Others::now()?;
        self.tracks.iter_mut().for_each(|track| track.before = (track.rounds.len(), track.took.len()));
        let rounds = self.rounds(&field, size).await;
        let taken = rounds.and_then(|()| before.since());
        for track in &mut self.tracks {
            track.callers = None;
            if taken.is_err() {
                track.rounds.truncate(track.before.0);
                track.took.truncate(track.before.1);
            }
        }
        self.taken.push(taken?);
        field.end().await
    }

    async fn rounds(&mut self, field: &Field, size: Size) -> Outcome<()> {
        let (rounds, time) = size.pick((5, 400), (2, 60));
        for track in &mut self.tracks {
            track.callers = Some(field.callers(&track.way, self.cell.payload, self.cell.callers).await?);
        }
        for track in &mut self.tracks {
            let (block, _) = track.run(field, Duration::from_millis(time / 2)).await?;
            track.count_errors(block.errors, block.first_error);
        }
        for _ in 0..rounds {
            for track in &mut self.tracks {
                let (block, used) = track.run(field, Duration::from_millis(time)).await?;
                track.add(block, used);
            }
            // Who comes first is another one in each round.
            self.tracks.rotate_left(5);
        }
        Ok(())
    }

    /// What all passes gave together; nothing if each failed.
    #[expect(clippy::cast_precision_loss, reason = "a handful of passes")]
    pub(crate) fn report(&self, report: &mut Report) {
        if self.taken.is_empty() {
            return;
        }
        let base = |way: &Way| {
            let wanted = match way.through {
                Through::Nothing => return None,
                Through::Hop => (Through::Nothing, Over::Http),
                Through::Host { .. } => (Through::Hop, way.over),
            };
            self.tracks.iter().find(|track| (track.way.through, track.way.over) == wanted)
        };
        report.rows.extend(WAYS.iter().filter_map(|way| {
            let track = self.tracks.iter().find(|track| track.way.name == way.name)?;
            Some(track.row(self.cell, base(way)))
        }));
        let taken = self.taken.iter().sum::<f64>() / self.taken.len() as f64;
        report.number("of the machine, taken by others", self.cell.name, taken * 100.0, "%");
    }
}

impl Track {
    fn new(way: Way) -> Self {
        let (took, rounds) = (Vec::new(), Vec::new());
        let (errors, first_error) = (0, None);
        Self { way, callers: None, took, rounds, before: (0, 0), errors, first_error, rss: f64::NAN }
    }

    /// Calls for so long; what they gave, and what they cost the process measured.
    async fn run(&mut self, field: &Field, time: Duration) -> Outcome<(Block, Option<Duration>)> {
        let callers = self.callers.take().ok_or("no callers")?;
        let callers = callers.opened().await.map_err(|error| format!("{}: {error}", self.way.name))?;
        let pid = field.pid(&self.way);
        let before = pid.map(proc::busy).transpose()?;
        let done = callers.block(time).await;
        let (callers, block) = done.map_err(|error| format!("{}: {error}", self.way.name))?;
        let used = match (pid, before) {
            (Some(pid), Some(before)) => Some(proc::busy(pid)?.saturating_sub(before)),
            _ => None,
        };
        self.callers = Some(callers);
        if let Some(pid) = pid {
            self.rss = proc::memory(pid)?.0 / 1024.0;
        }
        Ok((block, used))
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of calls")]
    fn add(&mut self, block: Block, used: Option<Duration>) {
        let calls = block.took.len() as f64;
        let took = sample(&block.took);
        self.rounds.push(Round {
            rate: calls / block.elapsed.as_secs_f64(),
            p50: took.median(),
            p99: took.quantile(0.99),
            cpu: used.map_or(f64::NAN, |used| micros(used) / calls),
        });
        self.took.extend(block.took);
        self.count_errors(block.errors, block.first_error);
    }

    fn count_errors(&mut self, errors: u64, first: Option<String>) {
        self.errors += errors;
        self.first_error = self.first_error.take().or(first);
    }

    fn row(&self, cell: &Cell, base: Option<&Self>) -> Row {
        let took = sample(&self.took);
        let median = |of: fn(&Round) -> f64| Sample::new(self.rounds.iter().map(of)).median();
        let against = |of: fn(&Round, &Round) -> f64| {
            let others = base.map(|base| &*base.rounds).unwrap_or_default();
            Sample::new(self.rounds.iter().zip(others).map(|(ours, theirs)| of(ours, theirs))).median()
        };
        Row {
            way: self.way,
            cell: cell.name,
            callers: cell.callers,
            rate: median(|round| round.rate),
            p50: took.median(),
            p99: took.quantile(0.99),
            p999: took.quantile(0.999),
            calls: self.took.len(),
            errors: self.errors,
            first_error: self.first_error.clone(),
            cpu: median(|round| round.cpu),
            rss: self.rss,
            versus: Versus {
                rate: against(|ours, theirs| ours.rate / theirs.rate),
                p99: against(|ours, theirs| ours.p99 / theirs.p99),
                cpu: against(|ours, theirs| ours.cpu / theirs.cpu),
                added: against(|ours, theirs| ours.p50 - theirs.p50),
            },
        }
    }
}

/// Microseconds.
fn sample(nanos: &[u32]) -> Sample {
    Sample::new(nanos.iter().map(|nanos| f64::from(*nanos) / 1e3))
}
