//! Measures what a call through the host costs against the bare hop, the practical limit of anything that stands between a
//! caller and a tool. Prints a table, the targets and whether they are met, and writes `target/bench-gateway.json`.
//!
//! `cargo bench -p wharf --bench gateway`, with `-- --quick` for a run of under a minute that only shows that all works,
//! `-- --only TEXT` for the parts with that in their names; without, it takes twenty minutes once all is built. Measures the
//! executable as it is shipped, which it builds first; or the one that `WHARF_BENCH_EXE` names. `WHARF_BLESS=1` writes
//! `host/benches/RESULTS.md`.
//! Without `--bench` (which cargo adds) nothing runs, so that `cargo test --benches` stays fast.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports on the terminal")]
#![allow(clippy::disallowed_methods, reason = "the hop and the upstream are no parts of the host")]
#![allow(clippy::indexing_slicing, reason = "serde_json's index gives null for what is not there")]

#[path = "../common/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with another benchmark")]
mod common;

mod calls;
mod children;
mod connection;
mod growth;
mod held;
mod hop;
mod load;
mod pipes;
mod plugins;
mod report;
mod state;
mod targets;
mod upstream;
mod ways;
mod wire;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use common::{Outcome, Size, shipped};
use report::Report;

/// This ends what hangs.
const BUDGET: Duration = Duration::from_secs(3600);

/// What the committed page begins with.
const RESULTS: &str = include_str!("results.md");

/// What is measured beside the calls.
const PARTS: [&str; 7] = [
    "state memory",
    "state sessions",
    "state streams",
    "state starts",
    "state deaths",
    "growth starts",
    "growth cost",
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.split_first() {
        Some((role, rest)) if role == "upstream" => upstream::serve(rest),
        Some((role, rest)) if role == "hop" => hop::serve(rest),
        _ => run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the benchmark failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Outcome<()> {
    let given = |flag: &str| args.iter().any(|arg| arg == flag);
    if given("--list") || given("--test") || !(given("--bench") || given("--quick")) {
        return Ok(());
    }
    let size = if given("--quick") { Size::Quick } else { Size::Full };
    let only = args.iter().skip_while(|arg| *arg != "--only").nth(1).map_or("", String::as_str);
    let said: Vec<&str> = args.iter().map(String::as_str).filter(|arg| *arg != "--bench").collect();
    let mut command = "cargo bench -p wharf --bench gateway".to_owned();
    if !said.is_empty() {
        command = format!("{command} -- {}", said.join(" "));
    }
    shipped::build()?;
    let mut report = Report::of_this_machine(size == Size::Quick, command);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(BUDGET, measure(&mut report, size, only)).await })?;
    report.fact("load average at the end", common::machine::load());
    println!("{}", report.page());
    let path = shipped::target().join("bench-gateway.json");
    report.write(&path)?;
    println!("written to {}", path.display());
    if std::env::var_os("WHARF_BLESS").is_some_and(|value| value == "1") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/RESULTS.md");
        std::fs::write(&path, format!("{RESULTS}{}", report.page()))?;
        println!("written to {}", path.display());
    }
    if report.failed() { Err("not all could be measured".into()) } else { Ok(()) }
}

/// All parts whose names have `only` in them. One that fails is told, and the others go on.
async fn measure(report: &mut Report, size: Size, only: &str) {
    let chosen = |part: &&str| part.contains(only);
    let cells = calls::CELLS.iter().filter(|cell| chosen(&&*cell.part()));
    let mut cells: Vec<_> = cells.map(calls::Series::new).collect();
    let passes = size.pick(3, 1);
    for pass in 1..=passes {
        for cell in &mut cells {
            eprintln!("{}, {pass} of {passes} ..", cell.part());
            let done = cell.pass(size).await;
            report.done(&format!("{}, {pass} of {passes}", cell.part()), done);
        }
    }
    cells.iter().for_each(|cell| cell.report(report));
    report.void = targets::void(&report.rows);
    report.lines.extend(targets::of_calls(&report.rows));
    for part in PARTS.into_iter().filter(chosen) {
        eprintln!("{part} ..");
        let done = match part {
            "state memory" => state::memory(report).await,
            "state sessions" => held::sessions(report, size).await,
            "state streams" => held::streams(report, size).await,
            "state starts" => state::starts(report, size).await,
            "state deaths" => state::deaths(report, size).await,
            "growth starts" => growth::start(report, size).await,
            _ => growth::cost(report, size).await,
        };
        report.done(part, done);
    }
}
